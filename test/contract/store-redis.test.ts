import { afterAll, describe } from 'vitest'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { redisHarness } from './redis-harness.ts'
import { storeContract } from './store-contract.ts'

describe.skipIf(!hasRedis)('over Redis', async () => {
  if (!hasRedis) return
  const redis = await RedisProcess.start({ appendfsync: 'no' })
  afterAll(() => redis.stop())
  storeContract('redis', redisHarness(redis))
})
