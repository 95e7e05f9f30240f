/** What replies of Redis say that come together, and are looked at in another order. */
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import { connectRedis } from '../../src/base/redis-connection.ts'
import type { RedisStore } from '../../src/stores/redis/store.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { openStore } from './redis-harness.ts'
import { body, target } from './store-contract.ts'

type Call = (...args: unknown[]) => Promise<unknown>

/** Keeps replies back, to let them arrive at once. */
class Arrivals {
  #held: (() => void)[] | null = null

  hold(): void {
    this.#held = []
  }

  get count(): number {
    return this.#held?.length ?? 0
  }

  /** In the order in which Redis gave them. */
  release(): void {
    const held = this.#held ?? []
    this.#held = null
    for (const arrive of held) arrive()
  }

  readonly connect: typeof connectRedis = (settings, name) => {
    const client = connectRedis(settings, name)
    const call = client.callBuffer.bind(client) as unknown as Call
    const through: Call = (...args) =>
      new Promise((resolve, reject) => {
        call(...args).then((reply) => {
          if (this.#held === null) resolve(reply)
          else this.#held.push(() => resolve(reply))
        }, reject)
      })
    client.callBuffer = through as unknown as typeof client.callBuffer
    return client
  }
}

describe.skipIf(!hasRedis)('how much waits in a lane', () => {
  let redis: RedisProcess
  const arrivals = new Arrivals()
  let keeper: RedisStore
  let other: RedisStore

  beforeEach(async () => {
    redis ??= await RedisProcess.start({ appendfsync: 'no' })
    await redis.admin.flushall()
    keeper = await openStore(redis, { connect: arrivals.connect })
    other = await openStore(redis)
  })
  afterEach(async () => {
    arrivals.release()
    await keeper.close()
    await other.close()
  })
  afterAll(() => redis?.stop())

  it('is what the later of two replies says, though the one who waits for it goes on first', async () => {
    const lane = keeper.lane('s/a')
    keeper.append(body('1'), [target(lane)])
    keeper.append(body('2'), [target(lane)])
    await keeper.commit()
    await keeper.read(lane, 1)
    // Of these the keeper hears by reading them.
    for (let i = 3; i <= 5; i++) other.append(body(String(i)), [target(other.lane('s/a'))])
    await other.commit()
    arrivals.hold()
    const page = keeper.read(lane, 3)
    await expect.poll(() => arrivals.count).toBe(1)
    keeper.settle(lane, 1)
    keeper.settle(lane, 2)
    const settled = keeper.commit()
    await expect.poll(() => arrivals.count).toBe(2)
    arrivals.release()
    await Promise.all([page, settled])
    expect((await page)?.count).toBe(3)
    expect(lane.waiting).toBe(3)
  })
})
