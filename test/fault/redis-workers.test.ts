import { expect, test } from 'vitest'
import { hasRedis } from '../support/redis-process.ts'
import { runRedisWorkers } from './redis-workers/run.ts'

const rounds = Number(process.env['FAULT_ROUNDS'] ?? 5)

test.skipIf(!hasRedis)(
  'workers that know only Redis lose nothing and share nothing while nodes, Redis and workers are killed',
  async () => {
    const seed = Number(process.env['FAULT_SEED'] ?? Date.now() % 1_000_000_000)
    const lines: string[] = []
    const account = await runRedisWorkers({ seed, rounds, report: (line) => lines.push(line) })
    const { violations, ...counts } = account
    const told = `${JSON.stringify(counts)}\n${lines.join('\n')}\nreplay with FAULT_SEED=${seed}`
    console.log(told)
    expect(violations.slice(0, 10), told).toEqual([])
    expect(account.left, told).toBe(0)
    expect(account.acknowledged, told).toBeGreaterThan(100)
    expect(account.deadLettered, told).toBeGreaterThan(0)
  },
  180_000 + rounds * 10_000,
)
