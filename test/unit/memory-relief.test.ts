/** What gives way when memory is short, in a broker that is told so: docs/limits.md, Memory. */
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FairShare } from '../../src/connection/fair-share.ts'
import { Flusher } from '../../src/connection/flusher.ts'
import { ClockedBroker } from '../support/clocked-broker.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawPublish } from '../support/raw-packets.ts'

const MIB = 1024 * 1024
let broker: ClockedBroker
const clients: RawClient[] = []
const announced: number[] = []

beforeEach(async () => {
  // The process as a whole is far below it, and half of it is the budget.
  broker = await ClockedBroker.start({ store: 'memory', limits: { memoryBytesMax: 4096 * MIB } })
  announced.length = 0
  broker.events.on('memoryShort', ({ level }) => void announced.push(level))
})
afterEach(async () => {
  for (const client of clients.splice(0)) client.reset()
  await broker.stop()
})

async function open(clientId: string, more: object = {}): Promise<RawClient> {
  const client = await RawClient.connected(broker.target, { clientId, ...more })
  clients.push(client)
  return client
}

/** As if other clients held this share of the budget; returns how to end that. */
function hold(share: number): () => void {
  const { memory } = broker.core
  const bytes = memory.budgetBytes * share
  memory.add(bytes)
  return () => memory.add(-bytes)
}

/** A reader that reads nothing, and enough for it that the operating system takes no more. */
async function freeze(clientId: string, publisher: RawClient, qos = 0): Promise<RawClient> {
  const reader = await open(clientId)
  await reader.subscribe([`to/${clientId}`, qos])
  reader.freeze()
  const frame = encodeRawPublish({ topic: `to/${clientId}`, payload: Buffer.alloc(50_000) })
  while ((broker.core.sessions.find(clientId)!.link?.out.waitingBytes ?? 0) < 100_000) {
    // Little at a time: the broker would wait for a reader that has much unsent, and time stands still here.
    for (let i = 0; i < 2; i++) if (!publisher.send(frame)) await publisher.drained()
    await publisher.ping()
  }
  return reader
}

const drops = (clientId: string) => broker.core.sessions.find(clientId)!.drops

test('level 1: a slow reader loses QoS 0 messages before its own limit, counted as memory; others lose nothing', async () => {
  const publisher = await open('publisher')
  await freeze('frozen', publisher)
  const reader = await open('reader')
  await reader.subscribe('to/frozen')
  let received = 0
  reader.onPacket = (packet) => packet.type === 'publish' && ++received > 0
  expect(drops('frozen')).toBe(null)
  const release = hold(0.6)
  for (let i = 0; i < 50; i++) publisher.startPublish({ topic: 'to/frozen', payload: 'x' })
  await publisher.ping()
  expect(drops('frozen')).toMatchObject({ memory: 50, outbound_full: 0 })
  await expect.poll(() => received).toBe(50)
  release()
  publisher.startPublish({ topic: 'to/frozen', payload: 'x' })
  await publisher.ping()
  expect(drops('frozen')).toMatchObject({ memory: 50 })
  expect(announced).toEqual([1, 0])
})

test('level 1: QoS 1 messages for a slow reader wait and come when it reads', async () => {
  const publisher = await open('publisher')
  const frozen = await freeze('frozen', publisher, 1)
  const release = hold(0.6)
  for (let i = 0; i < 50; i++) await publisher.publish({ topic: 'to/frozen', qos: 1, payload: String(i) })
  expect(broker.core.sessions.find('frozen')!.pendingCount).toBe(50)
  const came: string[] = []
  frozen.onPacket = (packet) => {
    if (packet.type === 'publish' && packet.qos === 1) came.push(packet.payload.toString())
    return packet.type === 'publish'
  }
  frozen.thaw()
  await expect.poll(() => came).toEqual(Array.from({ length: 50 }, (_, i) => String(i)))
  release()
})

test('level 2: frozen readers are closed, those that hold most first, until enough is free; one that reads is not', async () => {
  const publisher = await open('publisher')
  for (const id of ['small', 'large', 'medium']) await freeze(id, publisher)
  const more = (id: string, frames: number) => {
    const frame = encodeRawPublish({ topic: `to/${id}`, payload: Buffer.alloc(50_000) })
    for (let i = 0; i < frames; i++) publisher.send(frame)
  }
  more('medium', 6)
  more('large', 12)
  await publisher.ping()
  const reader = await open('reader')
  await reader.subscribe('to/+')
  const release = hold(0.76)
  // Memory counts, not bytes: an output buffer is held whole.
  const held = (id: string) => broker.core.sessions.find(id)!.link!.out.heldBytes
  const byHeld = ['small', 'large', 'medium'].sort((a, b) => held(b) - held(a))
  const closed: string[] = []
  broker.events.on('slowReader', ({ clientId, disconnected }) => {
    if (!disconnected) return
    closed.push(clientId)
    // Two are enough.
    if (closed.length === 2) release()
  })
  broker.clock.advance(700)
  expect(closed, 'for a second a reader is only slow').toEqual([])
  broker.clock.advance(700)
  expect(closed).toEqual(byHeld.slice(0, 2))
  await reader.ping()
  broker.clock.advance(5000)
  expect(closed).toHaveLength(2)
  expect(announced).toEqual([2, 0])
})

test('level 3: a publisher whose messages have to wait is not read until there is room; others are', async () => {
  const publisher = await open('publisher')
  await freeze('frozen', publisher, 1)
  const healthy = await open('healthy')
  await healthy.subscribe('healthy')
  const release = hold(0.92)
  const culprit = await open('culprit')
  culprit.startPublish({ topic: 'to/frozen', qos: 1, payload: Buffer.alloc(1000) })
  await culprit.expect('puback')
  culprit.startPublish({ topic: 'to/frozen', qos: 1, payload: Buffer.alloc(1000) })
  await culprit.expectNothing(100, 'puback')
  const other = await open('other')
  for (let i = 0; i < 5; i++) await other.publish({ topic: 'healthy', qos: 1, payload: String(i) })
  await healthy.expectPublishes(5)
  release()
  broker.clock.advance(1)
  await culprit.expect('puback')
})

test('level 4: new clients are refused and told, one that replaces its own connection is not; then all are welcome', async () => {
  const first = await open('first')
  const release = hold(1)
  const refused = await RawClient.open(broker.target)
  expect((await refused.connect({ version: 5, clientId: 'new' })).code).toBe(0x97)
  const second = await open('first')
  await first.expectClosed()
  await second.ping()
  release()
  await open('new')
  expect(announced).toEqual([4, 0])
})

test('a packet that does not come to its end counts, and its connection is closed when there are no frozen readers', async () => {
  const { memory } = broker.core
  const slow = await open('slow')
  const quick = await open('quick')
  const packet = encodeRawPublish({ topic: 't', payload: Buffer.alloc(200_000) })
  slow.send(packet.subarray(0, 150_000))
  quick.send(packet)
  await quick.ping()
  await expect.poll(() => memory.heldBytes).toBe(150_000)
  hold(0.8)
  broker.clock.advance(1)
  await slow.expectClosed()
  await quick.ping()
})

test('a publisher with many subscribers gives way to others when it has had its share of a turn', async () => {
  const flusher = new Flusher()
  const share = new FairShare()
  const story: string[] = []
  const connection = { hold: () => void story.push('hold'), release: () => void story.push('release') }
  for (let i = 0; i < 8191; i++) share.spent(1, 100, connection, flusher)
  expect(story).toEqual([])
  share.spent(1, 100, connection, flusher)
  share.spent(10_000, 100, connection, flusher)
  expect(story).toEqual(['hold'])
  await new Promise((resolve) => setImmediate(resolve))
  expect(story).toEqual(['hold', 'release'])
  // Bytes count too, in pieces of 4 KiB; a new turn begins anew.
  share.spent(100, 400_000, connection, flusher)
  flusher.turn++
  share.spent(1, 100, connection, flusher)
  share.spent(80, 400_000, connection, flusher)
  expect(story.filter((word) => word === 'hold')).toHaveLength(2)
})
