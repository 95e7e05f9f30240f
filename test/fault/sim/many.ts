/** Many seeds of the simulation, one after the other. */
import { simulate } from './run.ts'

export interface ManyResult {
  readonly seeds: number
  readonly failed: { seed: number; violations: string[] }[]
  /** What happened in all of them together. */
  readonly totals: Record<string, number>
}

/** Runs `count` seeds from `from`; ends early when `failuresMax` of them have failed. */
export async function simulateMany(
  from: number,
  count: number,
  { failuresMax = 3, steps = 160, progress = (_seed: number): void => {} } = {},
): Promise<ManyResult> {
  const failed: ManyResult['failed'] = []
  const totals: Record<string, number> = {}
  let seeds = 0
  for (let seed = from; seed < from + count && failed.length < failuresMax; seed++) {
    const { violations, counts } = await simulate({ seed, steps })
    seeds++
    for (const [name, n] of Object.entries(counts)) totals[name] = (totals[name] ?? 0) + n
    if (violations.length > 0) failed.push({ seed, violations })
    progress(seed)
  }
  return { seeds, failed, totals }
}

/** The first violation of each failed seed, with what led to it. */
export function storyOf({ failed }: ManyResult): string {
  return failed
    .map(
      ({ seed, violations }) =>
        `seed ${seed}: ${violations.length} violations; npm run fault -- sim --from ${seed}\n${violations[0]}`,
    )
    .join('\n')
}
