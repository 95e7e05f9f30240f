import { simulateMany, storyOf } from '../sim/many.ts'
import type { FaultOptions } from './options.ts'

/** `npm run fault -- sim [--seeds 1000] [--from S] [--steps 160] [--minutes M]` */
export async function simMode({ seed, seeds, from = seed, steps, minutes, report }: FaultOptions): Promise<boolean> {
  const until = performance.now() + minutes * 60_000
  for (let first = from; ; first += seeds) {
    const progress = (now: number): void => {
      if ((now - first + 1) % 500 === 0) report(`${now - first + 1} seeds`)
    }
    const result = await simulateMany(first, seeds, { steps, progress })
    report(`seeds ${first} to ${first + result.seeds - 1}: ${result.failed.length} failed`)
    report(
      Object.entries(result.totals)
        .map(([name, count]) => `${count} ${name}`)
        .join(', '),
    )
    if (result.failed.length > 0) {
      report(storyOf(result))
      return false
    }
    if (performance.now() >= until) return true
  }
}
