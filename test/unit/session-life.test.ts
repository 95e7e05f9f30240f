/** Sessions that last and end: over restarts, with every Client Identifier there may be, and with much waiting. */
import fc from 'fast-check'
import { afterEach, describe, expect, test } from 'vitest'
import type { Chunk, Store } from '../../src/store.ts'
import { ClockedBroker } from '../support/clocked-broker.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawPublish } from '../support/raw-packets.ts'

const SECOND = 1000
let broker: ClockedBroker
afterEach(() => broker.stop())

const lasting = (seconds: number) => ({ properties: { sessionExpiryInterval: seconds } })

describe('time goes on while the broker is down', () => {
  test('a session whose time was over is gone at the start, with what waited; the others are there [v5 MQTT-4.1.0-2]', async () => {
    broker = await ClockedBroker.start()
    for (const [id, seconds] of [
      ['short', 600],
      ['long', 6000],
    ] as const) {
      const client = await broker.connect(id, lasting(seconds))
      await client.subscribe(['waiting', 1])
      await client.disconnect()
    }
    const publisher = await broker.connect('publisher')
    await publisher.publish({ topic: 'waiting', qos: 1, payload: 'x' })
    await publisher.disconnect()
    broker.clock.advance(300 * SECOND)
    const expired: object[] = []
    broker.events.on('sessionExpired', (event) => void expired.push(event))
    await broker.restart(() => broker.clock.advance(400 * SECOND))
    expect(expired).toEqual([{ clientId: 'short', messages: 1 }])
    expect(await broker.present('short')).toBe(false)
    const long = await broker.connect('long', lasting(6000))
    expect((await long.receive()).payload.toString()).toBe('x')
    await long.disconnect()
  })

  test('clients of MQTT 3.1.1 have limits.sessionExpirySecondsMax, and MQTT 5 no more', async () => {
    broker = await ClockedBroker.start({ limits: { sessionExpirySecondsMax: 100 } })
    const old = await RawClient.connected(broker.target, { clientId: 'old', clean: false })
    const greedy = await broker.connect('greedy', lasting(0xffffffff))
    await Promise.all([old.disconnect(), greedy.disconnect()])
    broker.clock.advance(50 * SECOND)
    await broker.restart(() => broker.clock.advance(40 * SECOND))
    expect(await broker.present('old', 4)).toBe(true)
    broker.clock.advance(15 * SECOND)
    expect(await broker.present('greedy')).toBe(false)
    broker.clock.advance(90 * SECOND)
    expect(await broker.present('old', 4)).toBe(false)
  })

  test('a will delay runs on: what was due meanwhile is published at the start, the rest in its time, each once', async () => {
    broker = await ClockedBroker.start()
    for (const delay of [100, 1000]) {
      const will = { topic: `wills/${delay}`, qos: 1, retain: true, properties: { willDelayInterval: delay } }
      await (await broker.connect(`delay-${delay}`, { ...lasting(5000), will })).drop()
    }
    const published: string[] = []
    broker.events.on('willPublished', ({ topic }) => void published.push(topic))
    await broker.restart(() => broker.clock.advance(500 * SECOND))
    expect(published).toEqual(['wills/100'])
    await broker.restart(() => broker.clock.advance(100 * SECOND))
    broker.clock.advance(500 * SECOND)
    expect(published).toEqual(['wills/100', 'wills/1000'])
    await broker.restart(() => broker.clock.advance(1000 * SECOND))
    expect(published).toHaveLength(2)
  })
})

test('a backlog is read as the client takes it, within its window, never as a whole', async () => {
  broker = await ClockedBroker.start({ limits: { inflightMax: 10 } })
  const reads: number[] = []
  broker.wrap = (store) => watchReads(store, (chunk) => reads.push(chunk.count))
  await broker.restart(() => {})
  const reader = await broker.connect('reader', lasting(1000))
  await reader.subscribe(['backlog', 1])
  await reader.disconnect()
  const publisher = await broker.connect('publisher')
  const total = 30_000
  let acknowledged = 0
  publisher.onPacket = (packet) => packet.type === 'puback' && ++acknowledged > 0
  for (let sent = 0; sent < total; ) {
    const burst = Math.min(500, total - sent)
    const packets = Array.from({ length: burst }, (_, i) =>
      encodeRawPublish({ topic: 'backlog', qos: 1, packetId: i + 1, payload: String(sent + i) }, 5),
    )
    publisher.send(...packets)
    sent += burst
    while (acknowledged < sent) await new Promise((resolve) => setTimeout(resolve, 1))
  }
  await publisher.disconnect()
  const again = await RawClient.open(broker.target)
  let received = 0
  again.onPacket = (packet) => {
    if (packet.type !== 'publish') return false
    expect(packet.payload.toString()).toBe(String(received++))
    if (received > 100) again.ack('puback', packet.packetId)
    return true
  }
  await again.connect({ clientId: 'reader', version: 5, clean: false, ...lasting(1000) })
  await again.expectNothing(100)
  // The window holds ten, and one chunk had to be read for them.
  expect(received).toBe(10)
  expect(reads.length).toBeLessThanOrEqual(2)
  expect(Math.max(...reads)).toBeLessThanOrEqual(1024)
  for (let id = 0; id < 10; id++) again.ack('puback', (id % 65_535) + 2)
  await expect.poll(() => received).toBe(20)
  again.reset()
})

function watchReads(store: Store, seen: (chunk: Chunk) => void): Store {
  return new Proxy(store, {
    get(target, key) {
      const value = Reflect.get(target, key, target) as unknown
      if (typeof value !== 'function') return value
      if (key !== 'read') return value.bind(target)
      return async (...args: Parameters<Store['read']>) => {
        const chunk = await target.read(...args)
        if (chunk !== null) seen(chunk)
        return chunk
      }
    },
  })
}

describe('Client Identifiers', () => {
  /** Characters of every length in UTF-8, and those that are special somewhere: in paths, URLs, keys, JSON, sorting. */
  const characters = fc.oneof(
    { weight: 4, arbitrary: fc.integer({ min: 0x20, max: 0x7e }) },
    {
      weight: 2,
      arbitrary: fc.constantFrom(0x2f, 0x25, 0x2b, 0x23, 0x24, 0x22, 0x5c, 0x2e, 0xfeff, 0x2028, 0x202e, 0xa0),
    },
    { weight: 2, arbitrary: fc.integer({ min: 0xa0, max: 0xd7ff }) },
    { weight: 1, arbitrary: fc.integer({ min: 0xe000, max: 0xfdcf }) },
    { weight: 2, arbitrary: fc.integer({ min: 0x10000, max: 0x1fffd }) },
  )
  const short = fc.array(characters, { minLength: 1, maxLength: 40 }).map((points) => String.fromCodePoint(...points))
  /** The same text again and again, up to so many bytes. */
  const long = fc.tuple(short, fc.constantFrom(481, 2047, 65_534, 65_535)).map(([text, bytes]) => {
    const times = Math.floor(bytes / Buffer.byteLength(text))
    const whole = text.repeat(times)
    return whole + 'x'.repeat(bytes - Buffer.byteLength(whole))
  })

  test('every legal one has its session, over a restart, apart from all others [v5 MQTT-3.1.3-4] [v3 MQTT-3.1.3-4]', async () => {
    const seed = Math.floor(Math.random() * 1e9)
    const random = fc.sample(fc.oneof({ weight: 3, arbitrary: short }, { weight: 1, arbitrary: long }), {
      seed,
      numRuns: 60,
    })
    // Those that could be taken for one another.
    const near = [
      '\ufeffid',
      'id',
      'id ',
      ' id',
      'ID',
      'id/',
      'é',
      'e\u0301',
      '__proto__',
      'constructor',
      '..',
      '%2e',
      '𐀀',
    ]
    const longest = 'l'.repeat(65_534)
    const ids = [...new Set([...random, ...near, `${longest}a`, `${longest}b`])]
    broker = await ClockedBroker.start()
    for (const [i, id] of ids.entries()) {
      const client = await RawClient.connected(broker.target, { clientId: id, clean: false })
      await client.subscribe([`id/${i}`, 1])
      await client.disconnect()
    }
    const publisher = await broker.connect('the publisher')
    for (const i of ids.keys()) await publisher.publish({ topic: `id/${i}`, qos: 1, payload: String(i) })
    await publisher.disconnect()
    await broker.restart(() => {})
    for (const [i, id] of ids.entries()) {
      const client = await RawClient.open(broker.target)
      const story = `seed ${seed}, ${JSON.stringify(id.slice(0, 100))}`
      expect(await client.connect({ clientId: id, clean: false }), story).toMatchObject({
        sessionPresent: true,
        code: 0,
      })
      expect((await client.receive()).payload.toString(), story).toBe(String(i))
      await client.disconnect()
    }
  }, 30_000)

  test.each([
    ['U+0000', Buffer.from('a\0b')],
    ['a surrogate', Buffer.from([0xed, 0xa0, 0x80])],
    ['an overlong form', Buffer.from([0xc0, 0xaf])],
    ['beyond U+10FFFF', Buffer.from([0xf4, 0x90, 0x80, 0x80])],
    ['a sequence cut short', Buffer.from([0x61, 0xe2, 0x82])],
  ])('%s is refused [v5 MQTT-1.5.4-1] [v5 MQTT-1.5.4-2]', async (_, clientId) => {
    broker = await ClockedBroker.start()
    const client = await RawClient.open(broker.target)
    await client.connect({ clientId, version: 5 }).catch(() => {})
    await client.expectClosed()
  })
})
