/** The work queues over Redis Streams: the same contract as over LMDB. */
import { afterAll, describe } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { RedisClient } from '../../src/base/redis-connection.ts'
import { messageCodec } from '../../src/router/message-codec.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { queueContract, type StoreHarness } from './queue-contract.ts'
import { queueControlContract } from './queue-control-contract.ts'
import { type CrashHarness, queueHistories } from './queue-history.ts'
import { queueModel } from './queue-model.ts'
import { queueOrderContract } from './queue-order-contract.ts'
import { queueRoomContract } from './queue-room-contract.ts'
import { openStore, RedisFaults } from './redis-harness.ts'

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

  const crashing = (): CrashHarness => {
    const inner = harness()
    let faults = new RedisFaults()
    let clients: RedisClient[] = []
    return {
      async open(clock) {
        if (clients.length === 0) await redis.flush()
        faults = new RedisFaults()
        return openStore(redis, {
          clock: { ...systemClock, now: () => clock.now() },
          codec: messageCodec,
          connect: (settings, name) => {
            const client = faults.connect(settings, name)
            clients.push(client)
            return client
          },
        })
      },
      async crash() {
        faults.cut()
        for (const client of clients) client.disconnect()
        clients = clients.slice(0, 1)
      },
      dispose: () => inner.dispose(),
    }
  }

  queueContract('the Redis store', harness)
  queueModel('the Redis store', 25, harness)
  queueOrderContract('the Redis store', harness)
  queueControlContract('the Redis store', harness)
  queueRoomContract('the Redis store', harness)
  queueHistories('the Redis store', 150, crashing)
})
