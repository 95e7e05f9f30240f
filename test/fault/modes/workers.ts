import { formatWorkersAccount, runWorkers } from '../workers/run.ts'
import type { FaultOptions } from './options.ts'

/** `npm run fault -- workers [--rounds 100] [--seed N]` */
export async function workersMode({ seed, rounds, report }: FaultOptions): Promise<boolean> {
  report(`killing brokers and workers: ${rounds} rounds, seed ${seed}`)
  const account = await runWorkers({ seed, rounds, report })
  report(formatWorkersAccount(account))
  return account.violations.length === 0
}
