/** The kill test over Redis: the broker's process is killed and another one goes on where it was. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { runKillTest } from './kill.ts'
import { formatAccount } from './ledger.ts'

describe.skipIf(!hasRedis)('over Redis with appendfsync always', () => {
  let redis: RedisProcess
  beforeEach(async () => {
    redis = await RedisProcess.start({ appendfsync: 'always' })
  })
  afterEach(() => redis.stop())

  const run = async (): Promise<void> => {
    const seed = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000_000)
    const rounds: string[] = []
    const report = (line: string): void => void rounds.push(line)
    const account = await runKillTest({ seed, rounds: 3, store: 'redis', redisUrl: redis.url, report })
    const story = `${formatAccount(account)}\n${rounds.join('\n')}\nreplay with FAULT_SEED=${seed}`
    expect(account.violations, story).toEqual([])
    expect(account.acknowledged, story).toBeGreaterThan(100)
  }

  test('rounds of kill -9 of the broker lose, repeat and reorder nothing', run, 120_000)
})
