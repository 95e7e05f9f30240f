import { type KillOptions, runKillTest } from '../kill.ts'
import { formatAccount } from '../ledger.ts'
import type { FaultOptions } from './options.ts'

/**
 * `npm run fault -- kill [--rounds 20] [--seed N] [--store lmdb|redis] [--redis-url URL] [--nodes N] [--minutes M] [--protocol 3,4,5]`:
 * with `--store redis` and no URL there are two nodes (`--nodes`) over a Redis of their own, killed one at a time or all at once;
 * with `--minutes` it goes on in runs of `--rounds` rounds, each with its own account and the next seed.
 */
export async function killMode(options: FaultOptions, style: KillOptions['style'] = 'kill'): Promise<boolean> {
  const until = performance.now() + options.minutes * 60_000
  for (let { seed } = options; ; seed++) {
    options.report(`${style}: ${options.rounds} rounds, store ${options.store}, ${options.nodes} nodes, seed ${seed}`)
    const account = await runKillTest({ ...options, seed, style })
    options.report(formatAccount(account))
    if (account.violations.length > 0) return false
    if (performance.now() >= until) return true
  }
}

/** `npm run fault -- restart-loop`: lives of a tenth of a second, ended by SIGKILL, by SIGTERM and while they begin. */
export const restartLoopMode = (options: FaultOptions): Promise<boolean> => killMode(options, 'restart-loop')

/** `npm run fault -- flapping`: clients that come and go, and a kill now and then. */
export const flappingMode = (options: FaultOptions): Promise<boolean> => killMode(options, 'flapping')
