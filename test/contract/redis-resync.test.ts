/** Finding out what was applied, while commits go on failing. */
import { createHash } from 'node:crypto'
import { afterAll, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { breakConnection, connectRedis, type RedisClient } from '../../src/base/redis-connection.ts'
import { sync } from '../../src/stores/redis/scripts.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { openStore } from './redis-harness.ts'

const syncHash = createHash('sha1').update(sync).digest('hex')

type Call = (...args: unknown[]) => Promise<unknown>

describe.skipIf(!hasRedis)('after a lost connection to Redis', async () => {
  if (!hasRedis) return
  const redis = await RedisProcess.start({ appendfsync: 'no' })
  afterAll(() => redis.stop())

  it('goes on although commits were refused while it asked what was applied', async () => {
    let client: RedisClient | null = null
    let letGo = (): void => {}
    let asked = (): void => {}
    let held: Promise<void> | null = null
    let ahead = 0
    const asking = new Promise<void>((resolve) => {
      asked = resolve
    })
    const store = await openStore(redis, {
      commitTimeoutMs: 2000,
      clock: { ...systemClock, monotonic: () => systemClock.monotonic() + ahead },
      connect: (settings, name) => {
        client = connectRedis(settings, name)
        const call = client.callBuffer.bind(client) as unknown as Call
        const through: Call = async (...args) => {
          if (args[1] === syncHash && held !== null) {
            asked()
            await held
          }
          return call(...args)
        }
        client.callBuffer = through as never
        return client
      },
    })
    const lane = store.lane('s/x')
    const put = (): Promise<void> => {
      store.append(Buffer.from('m'), [{ lane, tag: 0, extra: null }])
      return store.commit()
    }
    held = new Promise((resolve) => {
      letGo = resolve
    })
    breakConnection(client!)
    await asking
    ahead = 60_000
    for (let i = 0; i < 3; i++) await expect(put()).rejects.toMatchObject({ code: 'store_unavailable' })
    held = null
    letGo()
    for (let tries = 0; ; tries++) {
      const stored = await put().then(
        () => true,
        () => false,
      )
      if (stored) break
      expect(tries, 'commits refused after Redis answered').toBeLessThan(200)
      await new Promise((resolve) => setTimeout(resolve, 10))
    }
    expect(await redis.admin.xlen('sluicemq:lane:s/x')).toBe(1)
    await store.close()
  })
})
