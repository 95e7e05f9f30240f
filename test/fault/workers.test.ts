/** Killing brokers and workers, in its short form; `npm run fault -- workers` is the long one. */
import { expect, test } from 'vitest'
import { formatWorkersAccount, runWorkers } from './workers/run.ts'

test('brokers and workers that are killed lose nothing, and what devices send again reaches workers once', async () => {
  const seed = Number(process.env['FAULT_SEED'] ?? Date.now() % 1_000_000_000)
  const rounds: string[] = []
  const account = await runWorkers({ seed, rounds: 6, report: (line) => rounds.push(line) })
  const story = `${formatWorkersAccount(account)}\n${rounds.join('\n')}\nreplay with FAULT_SEED=${seed}`
  expect(account.violations, story).toEqual([])
  expect(account.acknowledged, story).toBeGreaterThan(100)
  expect(account.deadLettered, story).toBeGreaterThan(0)
}, 90_000)
