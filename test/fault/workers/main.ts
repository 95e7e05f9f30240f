/**
 * `npm run build && node dist/test/fault/workers/main.js [--rounds 100] [--seed N]`: the kill test of brokers and workers in its
 * long form. Exit code 0: the account is right; 1: it is not.
 */
import { parseArgs } from 'node:util'
import { formatWorkersAccount, runWorkers } from './run.ts'

const { values } = parseArgs({
  options: { rounds: { type: 'string', default: '100' }, seed: { type: 'string' } },
})
const seed = Number(values.seed ?? Date.now() % 1_000_000_000)
const report = (line: string): void => void process.stdout.write(`${line}\n`)
report(`killing brokers and workers: ${values.rounds} rounds, seed ${seed}`)
const account = await runWorkers({ seed, rounds: Number(values.rounds), report })
report(formatWorkersAccount(account))
process.exitCode = account.violations.length > 0 ? 1 : 0
