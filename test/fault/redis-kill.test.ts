/** The kill test over Redis: the broker's process is killed, and in the second test Redis too. */
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

  const run = async (disturb: () => Promise<void>): Promise<void> => {
    const seed = Number(process.env.FAULT_SEED ?? Date.now() % 1_000_000_000)
    const rounds: string[] = []
    const report = (line: string): void => {
      rounds.push(line)
      void disturb()
    }
    const account = await runKillTest({ seed, rounds: 3, store: 'redis', redisUrl: redis.url, report })
    const story = `${formatAccount(account)}\n${rounds.join('\n')}\nreplay with FAULT_SEED=${seed}`
    expect(account.violations, story).toEqual([])
    expect(account.acknowledged, story).toBeGreaterThan(100)
  }

  test('rounds of kill -9 of the broker lose, repeat and reorder nothing', () => run(async () => {}), 60_000)

  test('nor do rounds in which Redis is killed too', async () => {
    await run(async () => {
      await redis.kill('SIGKILL')
      await redis.start()
    })
  }, 60_000)
})
