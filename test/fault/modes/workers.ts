import { formatWorkersAccount, runWorkers } from '../workers/run.ts'
import type { FaultOptions } from './options.ts'

/** `npm run fault -- workers [--rounds 100] [--seed N] [--store redis]`: with Redis, there are two nodes. */
export async function workersMode({ seed, rounds, store, report }: FaultOptions): Promise<boolean> {
  const nodes = store === 'redis' ? 2 : 1
  report(`killing brokers and workers: ${rounds} rounds, ${nodes === 1 ? 'one node' : `${nodes} nodes`}, seed ${seed}`)
  const account = await runWorkers({ seed, rounds, nodes, report })
  report(formatWorkersAccount(account))
  return account.violations.length === 0
}
