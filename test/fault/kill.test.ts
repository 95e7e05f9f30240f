/** The kill test in its short form; `npm run fault` is the long one. */
import { expect, test } from 'vitest'
import { runKillTest } from './kill.ts'
import { formatAccount } from './ledger.ts'

test('an acknowledgement is a receipt: eight rounds of kill -9 lose, repeat and reorder nothing', async () => {
  const seed = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000_000)
  const rounds: string[] = []
  const account = await runKillTest({ seed, rounds: 8, report: (line) => rounds.push(line) })
  const story = `${formatAccount(account)}\n${rounds.join('\n')}\nreplay with FAULT_SEED=${seed}`
  expect(account.violations, story).toEqual([])
  expect(account.acknowledged, story).toBeGreaterThan(500)
  expect(account.refused, story).toBe(0)
  expect(account.sent, story).toBe(account.acknowledged)
}, 120_000)
