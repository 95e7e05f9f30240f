import { crashPoints } from '../points/points.ts'
import type { FaultOptions } from './options.ts'

/** `npm run fault -- points [--protocol 3,4,5]`: a crash at every commit and every turn of one script. */
export async function pointsMode({ versions, report }: FaultOptions): Promise<boolean> {
  const { runs, commits, turns, violations } = await crashPoints({ versions, turnStep: 1 })
  report(`${runs} runs; a script of ${commits} commits and ${turns} turns; ${violations.length} violations`)
  for (const violation of violations) report(violation)
  return violations.length === 0
}
