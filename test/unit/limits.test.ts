/** Limits that have a name: what happens when each is reached. docs/limits.md says the same in words. */
import { afterEach, describe, expect, test } from 'vitest'
import type { ClientInfo } from '../../src/admin/client-info.ts'
import { configSchema } from '../../src/config/schema.ts'
import { networkOf } from '../../src/connection/gate.ts'
import { LimitsBook } from '../../src/connection/limits-book.ts'
import { TokenBucket } from '../../src/connection/token-bucket.ts'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import { encodeRawPublish, type RawConnect } from '../support/raw-packets.ts'

let broker: InlineBroker
const clients: RawClient[] = []
afterEach(async () => {
  for (const client of clients.splice(0)) client.reset()
  await broker?.stop()
})

async function dial(options: RawConnect = {}): Promise<{ client: RawClient; code: number }> {
  const client = await RawClient.open(broker.mqtt)
  clients.push(client)
  const { code } = await client.connect(options)
  return { client, code }
}

async function open(options: RawConnect = {}): Promise<RawClient> {
  const { client, code } = await dial(options)
  expect(code).toBe(0)
  return client
}

/** Counts who is let in where `atOnce` may come at any time and `perSecond` more with time. */
class Arrivals {
  readonly #begun = performance.now()
  readonly #atOnce: number
  readonly #perSecond: number
  #taken = 0
  constructor(atOnce: number, perSecond: number) {
    this.#atOnce = atOnce
    this.#perSecond = perSecond
  }
  /** Connects until one is refused. Returns the reason code of the refusal. */
  async refusal(connect: () => Promise<{ code: number }>): Promise<number> {
    for (;;) {
      const { code } = await connect()
      if (code === 0) this.#taken++
      expect(this.#taken).toBeLessThanOrEqual(
        this.#atOnce + (this.#perSecond * (performance.now() - this.#begun)) / 1000,
      )
      if (code === 0) continue
      expect(this.#taken).toBeGreaterThanOrEqual(this.#atOnce)
      return code
    }
  }
}

describe('connections', () => {
  test('are counted from accept, also those that say nothing, and the client that is one too many hears why', async () => {
    broker = await startBroker({ limits: { connectionsMax: 3 } })
    const silent = await RawClient.open(broker.mqtt)
    clients.push(silent)
    const first = await open({ clientId: 'first' })
    await open({ clientId: 'second' })
    expect((await dial({ version: 5 })).code).toBe(0x88)
    expect((await dial()).code).toBe(3)
    // Its own old connection makes room for the new one.
    await open({ clientId: 'first' })
    await first.closed
    silent.reset()
    await expect.poll(async () => (await dial({ clientId: 'third' })).code).toBe(0)
  })

  test('far beyond the limit are closed unheard, and the broker goes on', async () => {
    broker = await startBroker({ limits: { connectionsMax: 1 } })
    const first = await open({ clientId: 'first' })
    const more = await Promise.all(Array.from({ length: 80 }, () => RawClient.open(broker.mqtt)))
    clients.push(...more)
    // 64 are waited for, so that they can be told.
    await expect.poll(() => more.filter((client) => client.isClosed).length).toBe(80 - 64)
    await first.ping()
  })

  test('of one address, listener and user have limits of their own', async () => {
    broker = await startBroker({
      limits: { connectionsPerAddressMax: 5 },
      limitOverrides: [
        { listener: 'ws', limits: { connectionsPerListenerMax: 1 } },
        { user: 'dev*', limits: { connectionsPerUserMax: 1 } },
      ],
    })
    clients.push(await RawClient.connected(broker.ws))
    await expect(RawClient.connected(broker.ws)).rejects.toThrow(/CONNECT was refused/)
    const device = await open({ clientId: 'd', userName: 'device' })
    expect((await dial({ version: 5, userName: 'device' })).code).toBe(0x97)
    await open({ clientId: 'd', userName: 'device' })
    await device.closed
    await open({ userName: 'other' })
    await open({ userName: 'other' })
    await open()
    expect((await dial({ version: 5 })).code).toBe(0x88)
  })

  test('come at a limited rate: more are told to come later, and those refused cost nothing', async () => {
    broker = await startBroker({ limits: { connectsPerSecondMax: 2 } })
    const arrivals = new Arrivals(4, 2)
    expect(await arrivals.refusal(() => dial({ version: 5 }))).toBe(0x9f)
    expect(await arrivals.refusal(() => dial())).toBe(3)
    await expect.poll(async () => (await dial({ version: 5 })).code, { interval: 100 }).toBe(0)
  })

  test('of one address come at a limited rate', async () => {
    broker = await startBroker({ limits: { connectsPerSecondPerAddressMax: 1 } })
    expect(await new Arrivals(2, 1).refusal(() => dial({ version: 5 }))).toBe(0x9f)
  })
})

test('of IPv6 the first 64 bits count as one address', () => {
  const networks = ['2001:db8:1:2:3:4:5:6', '2001:DB8:1:2::9', '2001:db8:1:2::', '2001:db8:1::9', '::1', 'fe80::1%eth0']
  expect(networks.map(networkOf)).toEqual([
    '2001:db8:1:2::',
    '2001:db8:1:2::',
    '2001:db8:1:2::',
    '2001:db8:1:0::',
    '0:0:0:0::',
    'fe80:0:0:0::',
  ])
  expect([networkOf('192.0.2.1'), networkOf('::ffff:192.0.2.1'), networkOf('')]).toEqual(['192.0.2.1', '192.0.2.1', ''])
})

describe('limits of users and listeners', () => {
  test('apply from CONNACK on: packet size, receive maximum, topics, subscriptions', async () => {
    broker = await startBroker({
      limits: { topicLevelsMax: 3 },
      limitOverrides: [
        {
          user: 'small',
          limits: { packetBytesMax: 1000, receiveMaximum: 7, topicLevelsMax: 2, subscriptionsPerSessionMax: 1 },
        },
        { user: 'deep', limits: { topicLevelsMax: 5 } },
      ],
    })
    const small = await RawClient.open(broker.mqtt)
    clients.push(small)
    const connack = await small.connect({ version: 5, userName: 'small' })
    expect(connack.properties).toMatchObject({ maximumPacketSize: 1000, receiveMaximum: 7 })
    expect((await small.subscribe('a', 'a/b/c', 'b')).codes).toEqual([0, 0x8f, 0x97])
    small.startPublish({ topic: 'x', payload: Buffer.alloc(1100) })
    expect(await small.expect('disconnect')).toMatchObject({ code: 0x95 })
    const other = await open({ version: 5, userName: 'small' })
    other.startPublish({ topic: 'a/b/c' })
    expect(await other.expect('disconnect')).toMatchObject({ code: 0x90 })
    const usual = await open({ version: 5, clientId: 'usual' })
    await usual.publish({ topic: 'a/b/c', qos: 1, payload: Buffer.alloc(1100) })
    usual.startPublish({ topic: 'a/b/c/d' })
    expect(await usual.expect('disconnect')).toMatchObject({ code: 0x90 })
    const deep = await open({ version: 5, userName: 'deep' })
    await deep.publish({ topic: 'a/b/c/d/e', qos: 1 })
  })

  test('are chosen by all entries that fit, the later over the earlier; clients they fit alike share one object', () => {
    const { limits, limitOverrides } = configSchema.parse({
      limitOverrides: [
        { listener: 'tls', limits: { inflightMax: 10, packetBytesMax: 100 } },
        { user: 'a.*c', limits: { inflightMax: 20 } },
      ],
    })
    const book = new LimitsBook(limits, limitOverrides)
    expect(book.of('tcp', undefined)).toEqual(limits)
    expect(book.of('tls', 'x')).toEqual({ ...limits, inflightMax: 10, packetBytesMax: 100 })
    expect(book.of('tls', 'a.bc')).toEqual({ ...limits, inflightMax: 20, packetBytesMax: 100 })
    expect(book.of('tcp', 'a.c').inflightMax).toBe(20)
    expect(book.of('tcp', 'a.\nc').inflightMax).toBe(20)
    expect(book.of('tcp', 'abc').inflightMax).toBe(limits.inflightMax)
    expect(book.of('tls', 'a.bc')).toBe(book.of('tls', 'a.xyzc'))
    expect(book.highest('packetBytesMax')).toBe(limits.packetBytesMax)
  })
})

describe('publish rate', () => {
  test.each(['messages', 'bytes'] as const)(
    'a client that is faster in %s is slowed down, and nothing is dropped',
    async (what) => {
      const limits = what === 'messages' ? { publishesPerSecondMax: 200 } : { publishBytesPerSecondMax: 200 * 112 }
      broker = await startBroker({ limitOverrides: [{ user: 'fast', limits }] })
      const [reader, fast, other] = [await open(), await open({ userName: 'fast' }), await open()]
      await reader.subscribe('rate/#')
      let received = 0
      reader.onPacket = (packet) => packet.type === 'publish' && packet.topic === 'rate/fast' && ++received > 0
      const frame = encodeRawPublish({ topic: 'rate/fast', payload: Buffer.alloc(99) })
      const begun = performance.now()
      fast.send(Buffer.concat(Array.from({ length: 400 }, () => frame)))
      await other.publish({ topic: 'rate/other', qos: 1 })
      // 200 at once, and what became due since.
      const due = (performance.now() - begun) / 5
      expect(received).toBeLessThanOrEqual(220 + due)
      await expect.poll(() => received).toBe(400)
      // 200 at once, 200 at 200 a second.
      expect(performance.now() - begun).toBeGreaterThan(900)
    },
  )

  test('a token bucket gives what is due over time, and its capacity at once', () => {
    const bucket = new TokenBucket(10, 5, 0)
    expect([1, 2, 3, 4, 5, 6].map(() => bucket.takeOne(0))).toEqual([true, true, true, true, true, false])
    expect(bucket.takeOne(99)).toBe(false)
    expect(bucket.takeOne(100)).toBe(true)
    expect(bucket.overdraw(10, 100)).toBe(1000)
    expect(bucket.overdraw(0, 600)).toBe(500)
    expect(bucket.overdraw(0, 1100)).toBe(0)
    // A clock that goes back gives nothing and takes nothing.
    expect(bucket.takeOne(50)).toBe(false)
    expect(bucket.overdraw(5, 1_000_000)).toBe(0)
    expect(bucket.overdraw(1, 1_000_000)).toBe(100)
  })
})

describe('a session that is full', () => {
  const limits = { sessionQueuedMessagesMax: 4, inflightMax: 2 }
  const kinds = [
    { kind: 'clean', clean: true },
    { kind: 'persistent', clean: false },
  ]

  /** A reader that does not acknowledge, and ten messages for it; returns what it has and gets in the end. */
  async function fill(clean: boolean, qos: number): Promise<{ reader: RawClient; publisher: RawClient }> {
    const reader = await open({ clientId: 'reader', clean })
    await reader.subscribe(['full', 2])
    const publisher = await open({ clientId: 'publisher', version: 5 })
    for (let i = 0; i < 10; i++) await publisher.publish({ topic: 'full', qos, payload: String(i) })
    return { reader, publisher }
  }

  async function readAll(reader: RawClient): Promise<string[]> {
    const payloads: string[] = []
    reader.onPacket = (packet) => {
      if (packet.type === 'publish') payloads.push(packet.payload.toString())
      return false
    }
    reader.autoAck = true
    payloads.push(...reader.takeAll('publish').map(({ payload }) => payload.toString()))
    await expect
      .poll(async () => {
        const { queued, inflight } = (await (await fetch(`${broker.http}/api/v1/clients/reader`)).json()) as {
          queued: number
          inflight: number
        }
        return queued + inflight
      })
      .toBe(0)
    return payloads
  }

  /** Messages that the reader did not get because its session was full. */
  async function fullDrops(): Promise<number> {
    const { dropped } = (await (await fetch(`${broker.http}/api/v1/clients/reader`)).json()) as ClientInfo
    return dropped.session_full
  }

  test.each(kinds)('drop-new: the $kind session keeps the oldest', async ({ clean }) => {
    broker = await startBroker({ limits })
    const { reader } = await fill(clean, 1)
    // In flight: 0 and 1. A persistent session counts them among what is queued.
    expect(await readAll(reader)).toEqual(clean ? ['0', '1', '2', '3', '4', '5'] : ['0', '1', '2', '3'])
  })

  test.each(kinds)('drop-oldest: the $kind session keeps the newest, and what is in flight', async ({ clean }) => {
    broker = await startBroker({ limits: { ...limits, sessionFullPolicy: 'drop-oldest' } })
    const { reader } = await fill(clean, 2)
    const inflight = await reader.expectPublishes(2)
    expect(inflight.map(({ payload }) => payload.toString())).toEqual(['0', '1'])
    await expect.poll(fullDrops).toBe(clean ? 4 : 6)
    const rest = readAll(reader)
    for (const { packetId } of inflight) reader.ack('pubrec', packetId)
    expect(await rest).toEqual(clean ? ['6', '7', '8', '9'] : ['8', '9'])
  })

  test('drop-oldest: a persistent session without its client keeps the newest, and what was in flight', async () => {
    broker = await startBroker({ limits: { ...limits, sessionFullPolicy: 'drop-oldest' } })
    const { reader, publisher } = await fill(false, 1)
    await expect.poll(fullDrops).toBe(6)
    reader.reset()
    await reader.closed
    for (let i = 10; i < 15; i++) await publisher.publish({ topic: 'full', qos: 1, payload: String(i) })
    await expect.poll(fullDrops).toBe(11)
    const again = await open({ clientId: 'reader', clean: false })
    expect(await readAll(again)).toEqual(['0', '1', '13', '14'])
  })

  test.each(kinds)('disconnect: the client of a $kind session is told why and closed', async ({ clean }) => {
    broker = await startBroker({ limits: { ...limits, sessionFullPolicy: 'disconnect' } })
    const reader = await open({
      clientId: 'reader',
      clean,
      version: 5,
      properties: { sessionExpiryInterval: clean ? 0 : 100 },
    })
    await reader.subscribe(['full', 1])
    const publisher = await open({ clientId: 'publisher' })
    for (let i = 0; i < 10; i++) await publisher.publish({ topic: 'full', qos: 1, payload: String(i) })
    expect(await reader.expect('disconnect')).toMatchObject({ code: 0x97 })
    await reader.closed
  })

  test.each(kinds.flatMap((kind) => [1, 2].map((qos) => ({ ...kind, qos }))))(
    'refuse: the publisher hears 0x97 and nobody gets a part, QoS $qos, $kind session',
    async ({ clean, qos }) => {
      broker = await startBroker({ limits: { ...limits, sessionFullPolicy: 'refuse' } })
      const other = await open({ clientId: 'other' })
      await other.subscribe(['full', 0])
      let seen = 0
      other.onPacket = (packet) => packet.type === 'publish' && ++seen > 0
      const reader = await open({ clientId: 'reader', clean })
      await reader.subscribe(['full', 2])
      const publisher = await open({ clientId: 'publisher', version: 5 })
      const answers: number[] = []
      for (let i = 0; i < 10; i++) {
        const packetId = publisher.startPublish({ topic: 'full', qos, retain: i === 9, payload: String(i) })
        const answer = await publisher.expect(qos === 1 ? 'puback' : 'pubrec', (packet) => packet.packetId === packetId)
        answers.push(answer.code)
        if (qos === 2 && answer.code < 0x80) publisher.send(Buffer.from([0x62, 2, packetId >> 8, packetId & 255]))
      }
      const taken = clean ? 6 : 4
      expect(answers).toEqual(Array.from({ length: 10 }, (_, i) => (i < taken ? 0 : 0x97)))
      await other.ping()
      expect(seen).toBe(taken)
      // Nothing half-stored: the retained message of a refused PUBLISH is not there.
      const late = await open({ clientId: 'late' })
      await late.subscribe('full')
      await late.ping()
      expect(late.takeAll('publish')).toEqual([])
      // There is room again: the same Packet Identifier is welcome.
      expect(await readAll(reader)).toHaveLength(taken)
      const old = await open({ clientId: 'old' })
      await old.publish({ topic: 'full', qos, payload: 'again' })
    },
  )

  test('refuse: before MQTT 5 the acknowledgement is withheld and the connection closed', async () => {
    broker = await startBroker({ limits: { ...limits, sessionFullPolicy: 'refuse' } })
    await fill(false, 1).catch(() => {})
    const old = await open({ clientId: 'old' })
    old.startPublish({ topic: 'full', qos: 1 })
    await old.closed
    expect(old.takeAll('puback')).toEqual([])
  })

  test('refuse: a refusal leaves after the acknowledgements of the packets before it [v5 MQTT-4.6.0-2]', async () => {
    broker = await startBroker({ limits: { ...limits, sessionFullPolicy: 'refuse' } })
    const keeper = await open({ clientId: 'keeper', clean: false })
    await keeper.subscribe(['kept', 1])
    const { publisher } = await fill(false, 1).catch(() => ({ publisher: clients.at(-1)! }))
    const order: number[] = []
    publisher.onPacket = (packet) => packet.type === 'puback' && order.push(packet.packetId) > 0
    publisher.send(
      encodeRawPublish({ topic: 'kept', qos: 1, packetId: 101 }, 5),
      encodeRawPublish({ topic: 'full', qos: 1, packetId: 102 }, 5),
      encodeRawPublish({ topic: 'kept', qos: 1, packetId: 103 }, 5),
    )
    await expect.poll(() => order).toEqual([101, 102, 103])
  })

  test('a shared subscription gives its message to a member that has room', async () => {
    broker = await startBroker({ limits: { ...limits, sessionQueuedMessagesMax: 5 } })
    for (const clientId of ['one', 'two']) {
      const member = await open({ clientId, clean: false })
      await member.subscribe(['$share/group/shared', 1])
      await member.disconnect()
    }
    const publisher = await open()
    // All for one of them, as long as both are away: by hash of the topic.
    for (let i = 0; i < 10; i++) await publisher.publish({ topic: 'shared', qos: 1 })
    const counts = await Promise.all(
      ['one', 'two'].map(async (id) => {
        const info = (await (await fetch(`${broker.http}/api/v1/clients/${id}`)).json()) as { queued: number }
        return info.queued
      }),
    )
    expect(counts).toEqual([5, 5])
  })
})

describe('retained messages beyond their limit', () => {
  test.each([
    { what: 'number', limits: { retainedMessagesMax: 2 } },
    { what: 'bytes', limits: { retainedBytesMax: 400 } },
  ])('$what: QoS 1 is refused, QoS 0 delivered and not kept, known topics may change', async ({ limits }) => {
    broker = await startBroker({ limits })
    const reader = await open()
    await reader.subscribe('r/#')
    const publisher = await open({ version: 5 })
    const payload = Buffer.alloc(100)
    await publisher.publish({ topic: 'r/1', qos: 1, retain: true, payload })
    await publisher.publish({ topic: 'r/2', qos: 1, retain: true, payload })
    const packetId = publisher.startPublish({ topic: 'r/3', qos: 1, retain: true, payload })
    expect(await publisher.expect('puback')).toMatchObject({ packetId, code: 0x97 })
    publisher.startPublish({ topic: 'r/4', retain: true, payload })
    await publisher.publish({ topic: 'r/1', qos: 1, retain: true, payload: 'new' })
    const topics: string[] = []
    for (let i = 0; i < 4; i++) topics.push((await reader.expect('publish')).topic)
    expect(topics).toEqual(['r/1', 'r/2', 'r/4', 'r/1'])
    const late = await open()
    await late.subscribe('r/#')
    await late.ping()
    const kept = late.takeAll('publish').map(({ topic, payload }) => `${topic} ${payload.length}`)
    expect(kept.sort()).toEqual(['r/1 3', 'r/2 100'])
    const old = await open()
    old.startPublish({ topic: 'r/3', qos: 1, retain: true, payload: Buffer.alloc(300) })
    await old.closed
  })
})
