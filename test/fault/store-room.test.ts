/**
 * The room of the store runs out: first it is said, then publishes that would be kept are refused, while acknowledgements go
 * on and make room; and everything flows again without a restart.
 */
import { afterEach, describe, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { StoreRoom } from '../../src/router/store-room.ts'
import type { Store, StoreRoomFacts } from '../../src/store.ts'
import { Events } from '../../src/telemetry/events.ts'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import type { RawConnect } from '../support/raw-packets.ts'

const MIB = 1024 * 1024
const kept = (clientId: string): RawConnect => ({
  clientId,
  version: 5,
  clean: false,
  properties: { sessionExpiryInterval: 3600 },
})

describe('the level of the room', () => {
  const clock = { now: () => 0, monotonic: () => 0, after: () => () => {} } satisfies Clock
  const limits = { storeBytesMax: 1000, diskFreeBytesLow: 5000, diskFreeBytesMin: 2000 }

  async function levels(...facts: [usedBytes: number, diskFreeBytes: number | null][]): Promise<number[]> {
    let now: StoreRoomFacts = { usedBytes: 0, diskFreeBytes: null }
    const events = new Events()
    const told: number[] = []
    events.on('storeRoom', ({ level }) => told.push(level))
    const room = new StoreRoom({ room: async () => now } as Store, limits, clock, events)
    await room.start()
    const seen: number[] = []
    for (const [usedBytes, diskFreeBytes] of facts) {
      now = { usedBytes, diskFreeBytes }
      await room.look()
      seen.push(room.level)
      expect(room.shortage === null).toBe(room.level < 2)
    }
    expect(told).toEqual([0, ...seen].filter((level, i, all) => i > 0 && level !== all[i - 1]))
    return seen
  }

  test('rises at the limits of the store and falls when it is five percent better', async () => {
    expect(
      await levels(
        [849, null],
        [850, null],
        [999, null],
        [1000, null],
        [951, null],
        [949, null],
        [808, null],
        [807, null],
      ),
    ).toEqual([0, 1, 1, 2, 2, 1, 1, 0])
  })

  test('rises when the disk gets full, for whatever reason, and falls five percent later', async () => {
    expect(await levels([0, 5000], [0, 4999], [0, 2000], [0, 1999], [0, 2100], [0, 2101], [0, 5251])).toEqual([
      0, 1, 1, 2, 1, 1, 0,
    ])
  })
})

let broker: InlineBroker | null = null
afterEach(() => broker?.stop())

/** The room is looked at twice a second: a fast disk would take hundreds of messages beyond the limit until then. */
const untilLookedAt = (bytes: number): Promise<void> =>
  new Promise((resolve) => setTimeout(resolve, bytes > 4 * MIB ? 20 : 0))

/** Publishes with QoS 1; the reason code of the PUBACK. */
async function publish(client: RawClient, topic: string, bytes: number, retain = false): Promise<number> {
  const packetId = client.startPublish({ topic, payload: Buffer.alloc(bytes, 'x'), qos: 1, retain })
  return (await client.expect('puback', (packet) => packet.packetId === packetId)).code
}

test('at limits.storeBytesMax what would be kept is refused with 0x97, what is not goes on, and acknowledgements make room again', async () => {
  const started = await startBroker({ store: 'lmdb', limits: { storeBytesMax: 4 * MIB } })
  broker = started
  const told: number[] = []
  started.events.on('storeRoom', ({ level }) => told.push(level))
  const health = async () => (await fetch(`${started.http}/health/ready`)).status
  const reader = await RawClient.connected(started.mqtt, kept('reader'))
  await reader.subscribe(['kept/#', 1])
  await reader.disconnect()
  const live = await RawClient.connected(started.mqtt, { version: 5 })
  await live.subscribe(['live/#', 1])
  const client = await RawClient.connected(started.mqtt, { version: 5 })
  expect(await publish(client, 'r/before', 10, true)).toBeLessThan(0x80)
  let taken = 0
  for (let code = 0; code !== 0x97; ) {
    code = await publish(client, 'kept/x', 100_000)
    if (code === 0) taken++
    expect([0, 0x97]).toContain(code)
    expect(taken).toBeLessThan(500)
    await untilLookedAt(taken * 100_000)
  }
  expect(taken).toBeGreaterThan(20)
  expect(await health()).toBe(503)
  expect(told.at(-1)).toBe(2)
  // What is not kept, and what makes room.
  expect(await publish(client, 'live/x', 10)).toBe(0)
  await live.receive()
  expect(await publish(client, 'r/after', 10, true)).toBe(0x97)
  client.startPublish({ topic: 'live/x', payload: 'qos 0, retained in vain', retain: true })
  expect((await live.receive()).payload.toString()).toBe('qos 0, retained in vain')
  expect(await publish(client, 'r/before', 0, true)).toBeLessThan(0x80)
  const old = await RawClient.connected(started.mqtt, { version: 4 })
  old.startPublish({ topic: 'kept/x', qos: 1 })
  await old.expectClosed()
  expect(old.takeAll('puback')).toEqual([])
  // The reader takes what was accepted, all of it.
  const back = await RawClient.connected(started.mqtt, kept('reader'))
  back.autoAck = true
  await back.expectPublishes(taken)
  await expect.poll(() => told.at(-1)).toBe(0)
  expect(await health()).toBe(200)
  expect(await publish(client, 'kept/x', 10)).toBe(0)
  expect((await back.receive()).payload.length).toBe(10)
  await back.expectNothing(50, 'publish')
})

test('at limits.storeBytesMax messages over HTTP are refused with 507, while workers go on and make room again', async () => {
  const bridge = [{ topicFilter: 'jobs/#', queue: 'jobs' }]
  const started = await startBroker({ store: 'lmdb', limits: { storeBytesMax: 4 * MIB }, bridge })
  broker = started
  const post = async (action: string, body: object): Promise<{ status: number; body: Record<string, unknown> }> => {
    const init = { method: 'POST', body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }
    const answer = await fetch(`${started.http}/api/v1/queues/jobs/${action}`, init)
    return { status: answer.status, body: (await answer.json()) as Record<string, unknown> }
  }
  const messages = [{ payload: 'x'.repeat(100_000) }]
  let taken = 0
  let answer = await post('messages', { messages })
  for (; answer.status === 201; answer = await post('messages', { messages })) {
    expect(++taken).toBeLessThan(500)
    await untilLookedAt(taken * 100_000)
  }
  expect(taken).toBeGreaterThan(20)
  expect([answer.status, answer.body]).toMatchObject([507, { error: { code: 'store_full' } }])
  // What was taken is all there, and handed out.
  let worked = 0
  let ack: string[] | undefined
  for (;;) {
    const pulled = await post('pull', { max: 10, ...(ack !== undefined && { ack }) })
    ack = (pulled.body['messages'] as { receipt: string }[]).map(({ receipt }) => receipt)
    if (ack.length === 0) break
    worked += ack.length
  }
  expect(worked).toBe(taken)
  await expect.poll(async () => (await post('messages', { messages })).status, { timeout: 10_000 }).toBe(201)
})

test('at limits.storeBytesMax a replay waits, says why, and goes on as workers make room', async () => {
  const bridge = [{ topicFilter: 'jobs/#', queue: 'jobs' }]
  const queues = { jobs: { retention: { ms: 3_600_000 } } }
  const started = await startBroker({ store: 'lmdb', limits: { storeBytesMax: 4 * MIB }, bridge, queues })
  broker = started
  const api = async <T>(path: string, body?: object): Promise<T> => {
    const headers = { 'content-type': 'application/json' }
    const init = body === undefined ? {} : { method: 'POST', body: JSON.stringify(body), headers }
    return (await (await fetch(`${started.http}/api/v1/${path}`, init)).json()) as T
  }
  /** Takes and acknowledges what there is. */
  const work = async (): Promise<number> => {
    let worked = 0
    for (let ack: string[] | undefined; ; worked += ack.length) {
      const asked = { max: 10, ...(ack !== undefined && { ack }) }
      const { messages } = await api<{ messages: { receipt: string }[] }>('queues/jobs/pull', asked)
      ack = messages.map(({ receipt }) => receipt)
      if (ack.length === 0) return worked
    }
  }
  const count = 25
  const messages = [{ payload: 'x'.repeat(100_000) }]
  for (let i = 0; i < count; i++) await api('queues/jobs/messages', { messages })
  expect(await work()).toBe(count)
  // They are kept, and once more they are more than there is room for.
  const { id } = await api<{ id: string }>('queues/jobs/replay', {})
  const job = () => api<{ state: string; count: number; waitsFor?: string }>(`queue-jobs/${id}`)
  await expect.poll(job, { timeout: 10_000 }).toMatchObject({
    state: 'running',
    waitsFor: expect.stringContaining('limits.storeBytesMax'),
  })
  const used = /^sluicemq_store_used_bytes (\S+)/m.exec(await (await fetch(`${started.http}/metrics`)).text())!
  expect(Number(used[1])).toBeGreaterThan(3.5 * MIB)
  // By one batch at most.
  expect(Number(used[1])).toBeLessThan(5.5 * MIB)
  const { count: copied } = await job()
  expect(copied).toBeGreaterThan(0)
  expect(copied).toBeLessThan(count)
  let worked = 0
  for (let tries = 0; tries < 200 && worked < count; tries++) {
    worked += await work()
    await api(`queue-jobs/${id}?waitMs=100`)
  }
  expect(worked).toBe(count)
  await expect.poll(job, { timeout: 10_000 }).toMatchObject({ state: 'done', count })
  expect(await job()).not.toHaveProperty('waitsFor')
}, 60_000)
