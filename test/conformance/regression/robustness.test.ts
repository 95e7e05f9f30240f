/** Floods, failures and permissions: facts about stock Aedes 34-37 and 46-47, and what we do instead. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedBroker, embedBroker } from '../../support/broker-inline.ts'
import { RawClient } from '../../support/raw-client.ts'
import { encodeRawPublish, type RawConnect, varint } from '../../support/raw-packets.ts'

const packetBytesMax = 100_000

let broker: EmbeddedBroker
beforeAll(async () => {
  broker = await embedBroker({ limits: { packetBytesMax, inflightMax: 100 } })
})
afterAll(() => broker?.stop())
afterEach(() => broker.faults.heal())

const open = (clientId: string, clean = true) => RawClient.connected(broker.mqtt, { clientId, clean })

describe('packet size', () => {
  const head = (type: number, length: number) => Buffer.concat([Buffer.from([type << 4]), varint(length)])

  test('aedes#34: a CONNECT that announces 256 MiB ends the connection before its body is taken', async () => {
    const client = await RawClient.open(broker.mqtt)
    client.send(head(1, 268_435_455))
    await client.expectClosed()
  })

  test('aedes#34: so does a PUBLISH of one byte too many; one at the limit passes', async () => {
    const client = await open('r34')
    await client.subscribe('r34')
    const room = packetBytesMax - 4 - 2 - 3
    client.startPublish({ topic: 'r34', payload: Buffer.alloc(room) })
    expect((await client.receive()).payload.length).toBe(room)
    client.send(head(3, packetBytesMax - 3))
    await client.expectClosed()
  })

  test('aedes#34: a Remaining Length of five bytes ends the connection [v3 2.2.3]', async () => {
    const client = await open('r34-five')
    client.send(Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01]))
    await client.expectClosed()
  })
})

describe('a broken store', () => {
  test('aedes#35: while the store fails, clients with wills come, die and leave, and the process lives', async () => {
    const before = await RawClient.connected(broker.mqtt, {
      clientId: 'r35',
      clean: false,
      will: { topic: 'r35/will', payload: 'x', qos: 1, retain: true },
    })
    const wrong: unknown[] = []
    const note = (error: unknown) => wrong.push(error)
    process.on('unhandledRejection', note)
    broker.faults.failing = true
    try {
      before.reset()
      for (let i = 0; i < 5; i++) {
        const client = await RawClient.open(broker.mqtt)
        const will = { topic: 'r35/will', payload: String(i), qos: 1 }
        await client.connect({ clientId: `r35-${i}`, clean: i % 2 === 0, will }).catch(() => {})
        if (!client.isClosed) await client.subscribe(['r35/+', 1]).catch(() => {})
        if (i % 2 === 0) client.reset()
        else await client.drop()
      }
      await new Promise((resolve) => setTimeout(resolve, 50))
    } finally {
      broker.faults.heal()
      process.off('unhandledRejection', note)
    }
    expect(wrong).toEqual([])
    const after = await open('r35-after')
    await after.subscribe(['r35/after', 1])
    await after.publish({ topic: 'r35/after', qos: 1 })
    await after.receive()
    await after.disconnect()
  })
})

describe('limits that end what would grow for ever', () => {
  const limits = {
    inboundPausedBytes: 256 * 1024,
    sessionQueuedMessagesMax: 10,
    sessionExpirySecondsMax: 2,
    drainTimeoutMs: 500,
    connectTimeoutMs: 300,
  }
  let limited: EmbeddedBroker
  beforeAll(async () => {
    limited = await embedBroker({ limits })
  })
  afterAll(() => limited?.stop())
  const join = (options: RawConnect) => RawClient.connected(limited.mqtt, options)

  test('aedes#21: the queue of an offline session ends at limits.sessionQueuedMessagesMax; drops are announced', async () => {
    const dropped = new Promise((resolve) => limited.events.on('messageDropped', resolve))
    const away = await join({ clientId: 'r21-full', clean: false })
    await away.subscribe(['r21/full', 1])
    await away.disconnect()
    const publisher = await join({ clientId: 'r21-pub' })
    for (let i = 0; i < 15; i++) await publisher.publish({ topic: 'r21/full', payload: String(i), qos: 1 })
    expect(await dropped).toMatchObject({ clientId: 'r21-full', cause: 'session_full' })
    const back = await join({ clientId: 'r21-full', clean: false })
    back.autoAck = true
    expect((await back.expectPublishes(10)).map((packet) => packet.payload.toString())).toHaveLength(10)
    await back.ping()
    await back.expectNothing(50, 'publish')
    await Promise.all([back.disconnect(), publisher.disconnect()])
  })

  test('aedes#21: a session expires limits.sessionExpirySecondsMax after its connection', async () => {
    const expired = new Promise((resolve) => limited.events.on('sessionExpired', resolve))
    const client = await join({ clientId: 'r21-old', clean: false })
    await client.subscribe(['r21/old', 1])
    await client.disconnect()
    const soon = await RawClient.open(limited.mqtt)
    expect((await soon.connect({ clientId: 'r21-old', clean: false })).sessionPresent).toBe(true)
    await soon.disconnect()
    await expired
    const late = await RawClient.open(limited.mqtt)
    expect((await late.connect({ clientId: 'r21-old', clean: false })).sessionPresent).toBe(false)
    await late.disconnect()
  })

  test('aedes#30: a reader that takes nothing for limits.drainTimeoutMs while bytes wait is disconnected', async () => {
    const frozen = await join({ clientId: 'r30' })
    await frozen.subscribe('r30')
    frozen.freeze()
    const gone = new Promise((resolve) => limited.events.on('clientDisconnected', resolve))
    const publisher = await join({ clientId: 'r30-pub' })
    for (let i = 0; i < 200; i++) publisher.startPublish({ topic: 'r30', payload: Buffer.alloc(50_000) })
    expect(await gone).toMatchObject({ clientId: 'r30' })
    await publisher.disconnect()
    frozen.reset()
  })

  test('aedes#37: a connection without CONNECT ends after limits.connectTimeoutMs', async () => {
    const silent = await RawClient.open(limited.mqtt)
    await silent.expectClosed(2_000)
    const slow = await RawClient.open(limited.mqtt)
    slow.send(Buffer.from([0x10, 0x20, 0x00]))
    await slow.expectClosed(2_000)
  })

  test('aedes#32: while the store lags the broker stops reading, and does not hold the silence it causes against the client', async () => {
    const publisher = await join({ clientId: 'r32', keepAliveSeconds: 1 })
    const subscriber = await join({ clientId: 'r32-sub', clean: false })
    await subscriber.subscribe(['r32', 1])
    await subscriber.disconnect()
    limited.faults.hold()
    const frames = Array.from({ length: 400 }, () =>
      encodeRawPublish({ topic: 'r32', payload: Buffer.alloc(50_000), qos: 1, packetId: publisher.packetId() }),
    )
    publisher.send(...frames)
    await new Promise((resolve) => setTimeout(resolve, 2_500))
    expect(publisher.isClosed, 'the broker closed the connection it did not read').toBe(false)
    expect(publisher.unsentBytes, 'the broker went on reading').toBeGreaterThan(5_000_000)
    limited.faults.release()
    for (const _ of frames) await publisher.expect('puback')
    await publisher.disconnect()
  })
})

describe('the end', () => {
  test('aedes#37: clients that are just connecting when the broker closes are closed with it', async () => {
    const own = await embedBroker()
    own.faults.hold()
    const waiting = await RawClient.open(own.mqtt)
    const connack = waiting.connect({ clientId: 'late', clean: false, will: { topic: 'w', qos: 1 } }).catch(() => null)
    const silent = await RawClient.open(own.mqtt)
    await new Promise((resolve) => setTimeout(resolve, 50))
    const stopped = own.stop()
    await Promise.all([silent.expectClosed(2_000), waiting.expectClosed(2_000)])
    await stopped
    expect((await connack)?.code).not.toBe(0)
  })
})

describe('permissions', () => {
  test('aedes#36: a denied subscription is not kept because another of the same SUBSCRIBE is allowed [v3 MQTT-3.8.4-5]', async () => {
    const before = broker.aedes.authorizeSubscribe
    broker.aedes.authorizeSubscribe = (_client, subscription, callback) => {
      callback(null, subscription.topic.startsWith('r36/secret') ? null : subscription)
    }
    const client = await open('r36', false)
    try {
      expect((await client.subscribe(['r36/open', 1], ['r36/secret/#', 1], ['r36/more', 0])).codes).toEqual([1, 128, 0])
    } finally {
      broker.aedes.authorizeSubscribe = before
    }
    await client.disconnect()
    const publisher = await open('r36-pub')
    await publisher.publish({ topic: 'r36/secret/1', payload: 'secret', qos: 1 })
    await publisher.publish({ topic: 'r36/open', payload: 'open', qos: 1 })
    const resumed = await open('r36', false)
    expect((await resumed.receive()).payload.toString()).toBe('open')
    await publisher.publish({ topic: 'r36/secret/2', payload: 'secret', qos: 1 })
    await resumed.ping()
    await resumed.expectNothing(50, 'publish')
    await Promise.all([resumed.disconnect(), publisher.disconnect()])
  })

  test('aedes#37: preConnect(null, false) closes the connection', async () => {
    const before = broker.aedes.preConnect
    broker.aedes.preConnect = (_client, _packet, callback) => callback(null, false)
    try {
      const client = await RawClient.open(broker.mqtt)
      await client.connect({ clientId: 'r37' }).catch(() => {})
      await client.expectClosed(2_000)
    } finally {
      broker.aedes.preConnect = before
    }
  })

  test('aedes#37: nobody publishes under $SYS', async () => {
    const watch = await open('r37-watch')
    await watch.subscribe('$SYS/r37/#')
    const publisher = await open('r37-pub')
    publisher.startPublish({ topic: '$SYS/r37/x', payload: 'forged' })
    await publisher.ping().catch(() => {})
    await watch.ping().catch(() => {})
    expect(watch.takeAll('publish')).toEqual([])
    publisher.reset()
    watch.reset()
  })
})

describe('latency and windows', () => {
  test('aedes#46: a QoS 1 round trip to oneself does not wait for a delayed ACK of TCP', async () => {
    const client = await open('r46')
    client.autoAck = true
    await client.subscribe(['r46', 1])
    const took: number[] = []
    for (let i = 0; i < 15; i++) {
      const from = performance.now()
      client.startPublish({ topic: 'r46', payload: 'x', qos: 1 })
      await Promise.all([client.expect('publish'), client.expect('puback')])
      took.push(performance.now() - from)
    }
    took.sort((a, b) => a - b)
    expect(took[7], `milliseconds: ${took.map((ms) => ms.toFixed(1)).join(' ')}`).toBeLessThan(20)
    await client.disconnect()
  })

  test('aedes#47: a QoS 0 subscriber that does not read does not block its publisher', async () => {
    const frozen = await open('r47-frozen')
    await frozen.subscribe('r47')
    frozen.freeze()
    const publisher = await open('r47-pub')
    const payload = Buffer.alloc(50_000)
    for (let i = 0; i < 400; i++) {
      if (!publisher.send(encodeRawPublish({ topic: 'r47', payload }))) await publisher.drained()
    }
    await publisher.ping()
    expect(publisher.isClosed).toBe(false)
    frozen.reset()
    await publisher.disconnect()
  })

  test('aedes#47: no more than limits.inflightMax messages go to a subscriber that acknowledges nothing', async () => {
    const subscriber = await open('r47-lazy')
    await subscriber.subscribe(['r47/lazy', 1])
    const publisher = await open('r47-pub2')
    publisher.autoAck = true
    for (let i = 0; i < 10; i++) {
      const frames = Array.from({ length: 50 }, () =>
        encodeRawPublish({ topic: 'r47/lazy', qos: 1, packetId: publisher.packetId() }),
      )
      publisher.send(...frames)
      for (const _ of frames) await publisher.expect('puback')
    }
    await subscriber.ping()
    expect((await subscriber.payloadsWithin(50)).length).toBe(100)
    await Promise.all([subscriber.disconnect(), publisher.disconnect()])
  })
})
