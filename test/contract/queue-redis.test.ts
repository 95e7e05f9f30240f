/** The work queues over Redis Streams: the same contract as over LMDB. */
import { afterAll, describe } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { messageCodec } from '../../src/router/message-codec.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { queueContract, type StoreHarness } from './queue-contract.ts'
import { queueControlContract } from './queue-control-contract.ts'
import { queueModel } from './queue-model.ts'
import { queueOrderContract } from './queue-order-contract.ts'
import { openStore } from './redis-harness.ts'

describe.skipIf(!hasRedis)('over Redis', async () => {
  if (!hasRedis) return
  const redis = await RedisProcess.start({ appendfsync: 'no' })
  afterAll(() => redis.stop())

  /** Emptied when the harness opens its first store. */
  const harness = (): StoreHarness => {
    let empty = false
    return {
      async open(clock) {
        if (!empty) await redis.flush()
        empty = true
        // The queues' time stands still or leaps; that of the connection does not.
        return openStore(redis, { clock: { ...systemClock, now: () => clock.now() }, codec: messageCodec })
      },
      async dispose() {},
    }
  }

  queueContract('the Redis store', harness)
  queueModel('the Redis store', 25, harness)
  queueOrderContract('the Redis store', harness)
  queueControlContract('the Redis store', harness)
})
