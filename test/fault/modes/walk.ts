import { walk } from '../walk/walk.ts'
import type { FaultOptions } from './options.ts'

/** `npm run fault -- walk [--protocol 3,4,5]`: the n-th store call of every operation fails, for n = 1, 2, 3 … */
export async function walkMode({ versions, report }: FaultOptions): Promise<boolean> {
  const { runs, failed, violations } = await walk({ versions })
  const calls = Object.entries(failed).map(([kind, count]) => `${count} ${kind}`)
  report(`${runs} runs; calls that failed: ${calls.join(', ')}; ${violations.length} violations`)
  for (const violation of violations) report(violation)
  return violations.length === 0
}
