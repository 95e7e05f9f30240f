/** Stored sessions that hold more than they may while no node serves them: who publishes gives up the oldest, and no more than that. */
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { RawClient } from '../support/raw-client.ts'
import { type Node, startNode } from '../support/redis-nodes.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

const BYTES_MAX = 10_000
const MESSAGES_MAX = 20

const limits = {
  sessionFullPolicy: 'drop-oldest',
  sessionQueuedBytesMax: BYTES_MAX,
  sessionQueuedMessagesMax: MESSAGES_MAX,
}

describe.skipIf(!hasRedis)('a session that no node serves is over its limits', () => {
  let redis: RedisProcess
  let a: Node
  let b: Node
  let writer: RawClient

  beforeAll(async () => {
    redis = await RedisProcess.start()
  })
  afterAll(() => redis.stop())
  beforeEach(async () => {
    await redis.flush()
    a = await startNode(redis.url, 'a', { limits } as never)
    b = await startNode(redis.url, 'b', { limits } as never)
    const reader = await RawClient.connected(b.mqtt, { clientId: 'reader', clean: false })
    await reader.subscribe(['t', 1])
    await reader.disconnect()
    writer = await RawClient.connected(a.mqtt, { clientId: 'writer' })
    await expect.poll(() => a.broker.core.sessions.find('reader')?.node).toBeNull()
  })
  afterEach(async () => {
    writer.reset()
    await Promise.all([a.stop(), b.stop()])
  })

  /** Dropped on node a for a full session. */
  const dropped = (): number => a.broker.core.counters.dropped.session_full

  /** What the reader gets when it comes back on the other node. */
  async function kept(last: string): Promise<string[]> {
    const reader = await RawClient.connected(b.mqtt, { clientId: 'reader', clean: false })
    reader.autoAck = true
    const got: string[] = []
    do got.push((await reader.expect('publish')).payload.toString().slice(0, 4))
    while (got.at(-1) !== last)
    reader.reset()
    return got
  }

  const text = (n: number, length: number): string => `m${String(n).padStart(3, '0')}`.padEnd(length, '.')

  test.each([
    ['one after the other', false],
    ['all at once', true],
  ])('messages %s: those go that are too much for its bytes, and none beyond', async (_name, atOnce) => {
    // Nine are less than it may hold, the tenth is beyond: what follows goes in and the oldest go out.
    const small = Array.from({ length: 10 }, (_, i) => text(i, 1000))
    if (atOnce) {
      const ids = small.map((payload) => writer.startPublish({ topic: 't', payload, qos: 1 }))
      for (const id of ids) await writer.expect('puback', ({ packetId }) => packetId === id)
    } else for (const payload of small) await writer.publish({ topic: 't', payload, qos: 1 })
    expect(dropped()).toBe(0)
    await writer.publish({ topic: 't', payload: text(10, 2500), qos: 1 })
    // 2,500 and seven of 1,000, with some bytes for topic and origin of each.
    await expect.poll(dropped).toBeGreaterThanOrEqual(3)
    expect(await kept('m010')).toEqual(['m003', 'm004', 'm005', 'm006', 'm007', 'm008', 'm009', 'm010'])
    expect(dropped()).toBe(3)
  })

  test('the same while the node that served it still lets go of it', async () => {
    const shared = a.broker.core.store.shared!
    const certain = shared.certain.bind(shared)
    let letGo = (): void => {}
    const held = new Promise<void>((resolve) => {
      letGo = resolve
    })
    shared.certain = () => held.then(certain)
    const reader = await RawClient.connected(a.mqtt, { clientId: 'reader', clean: false })
    await reader.disconnect()
    const session = a.broker.core.sessions.find('reader')!
    await expect.poll(() => session.owner).toBeNull()
    for (let i = 0; i < 10; i++) await writer.publish({ topic: 't', payload: text(i, 1000), qos: 1 })
    expect(dropped()).toBe(0)
    await writer.publish({ topic: 't', payload: text(10, 2500), qos: 1 })
    await expect.poll(dropped).toBeGreaterThanOrEqual(3)
    letGo()
    expect(await kept('m010')).toEqual(['m003', 'm004', 'm005', 'm006', 'm007', 'm008', 'm009', 'm010'])
    expect(dropped()).toBe(3)
  })

  test('those go that are too many, and none beyond', async () => {
    const all = Array.from({ length: MESSAGES_MAX + 3 }, (_, i) => text(i, 10))
    for (const payload of all) await writer.publish({ topic: 't', payload, qos: 1 })
    await expect.poll(dropped).toBeGreaterThanOrEqual(3)
    expect(await kept('m022')).toEqual(all.slice(3).map((payload) => payload.slice(0, 4)))
    expect(dropped()).toBe(3)
  })
})
