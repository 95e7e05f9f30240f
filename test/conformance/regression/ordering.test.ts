/** Order, QoS and redelivery: facts about stock Aedes 22-29, and what we do instead. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedBroker, embedBroker } from '../../support/broker-inline.ts'
import { RawClient } from '../../support/raw-client.ts'
import { encodeRawAck, encodeRawPublish, type PublishPacket } from '../../support/raw-packets.ts'

const inflightMax = 64

let broker: EmbeddedBroker
beforeAll(async () => {
  broker = await embedBroker({ store: 'lmdb', limits: { inflightMax } })
})
afterAll(() => broker?.stop())

const open = (clientId: string, clean = true) => RawClient.connected(broker.mqtt, { clientId, clean })
const payloads = (packets: PublishPacket[]) => packets.map((packet) => packet.payload.toString())

describe('order', () => {
  test('aedes#22: an asynchronous authorizePublish reorders neither messages nor PUBACKs [v3 MQTT-4.6.0-2]', async () => {
    const subscriber = await open('o22-sub')
    subscriber.autoAck = true
    await subscriber.subscribe(['o22', 1])
    const publisher = await open('o22-pub')
    const before = broker.aedes.authorizePublish
    let calls = 0
    broker.aedes.authorizePublish = (_client, _packet, callback) => {
      // The first decision takes longest.
      setTimeout(() => callback(null), Math.max(0, 50 - 5 * calls++))
    }
    try {
      const wanted = Array.from({ length: 10 }, (_, i) => String(i))
      const ids = wanted.map(() => publisher.packetId())
      publisher.send(
        ...wanted.map((payload, i) => encodeRawPublish({ topic: 'o22', payload, qos: 1, packetId: ids[i]! })),
      )
      const acked: number[] = []
      for (const _ of wanted) acked.push((await publisher.expect('puback')).packetId)
      expect(acked).toEqual(ids)
      expect(payloads(await subscriber.expectPublishes(10))).toEqual(wanted)
    } finally {
      broker.aedes.authorizePublish = before
    }
    await Promise.all([subscriber.disconnect(), publisher.disconnect()])
  })

  test('aedes#23: the backlog of a resumed session comes before live messages', async () => {
    const away = await open('o23-sub', false)
    await away.subscribe(['o23', 1])
    await away.disconnect()
    const publisher = await open('o23-pub')
    let n = 0
    const send = (count: number) => {
      const frames = Array.from({ length: count }, () =>
        encodeRawPublish({ topic: 'o23', payload: String(n++), qos: 1, packetId: publisher.packetId() }),
      )
      publisher.send(...frames)
    }
    send(500)
    for (let i = 0; i < 500; i++) await publisher.expect('puback')
    const subscriber = await RawClient.open(broker.mqtt)
    subscriber.autoAck = true
    const connecting = subscriber.connect({ clientId: 'o23-sub', clean: false })
    for (let i = 0; i < 50; i++) {
      send(10)
      await new Promise((resolve) => setImmediate(resolve))
    }
    expect((await connecting).sessionPresent).toBe(true)
    const got = payloads(await subscriber.expectPublishes(1_000)).map(Number)
    expect(got).toEqual(Array.from({ length: 1_000 }, (_, i) => i))
    await Promise.all([subscriber.disconnect(), publisher.disconnect()])
  })
})

describe('QoS of a delivery', () => {
  test('aedes#24: a wildcard subscription at QoS 1 gets a QoS 2 message at QoS 1 [v3 MQTT-3.8.4-6]', async () => {
    const subscriber = await open('o24-sub', false)
    await subscriber.subscribe(['o24/+', 1], ['o24/zero/#', 0])
    const publisher = await open('o24-pub')
    await publisher.publish({ topic: 'o24/a', qos: 2 })
    expect(await subscriber.receive()).toMatchObject({ qos: 1 })
    await publisher.publish({ topic: 'o24/zero/a', qos: 2 })
    expect(await subscriber.receive()).toMatchObject({ qos: 0 })
    await subscriber.disconnect()
    await publisher.publish({ topic: 'o24/b', qos: 2 })
    const resumed = await open('o24-sub', false)
    expect(await resumed.receive()).toMatchObject({ topic: 'o24/b', qos: 1 })
    await Promise.all([resumed.disconnect(), publisher.disconnect()])
  })

  test('aedes#24: overlapping subscriptions deliver once, at the highest QoS among them [v3 MQTT-3.3.5-1]', async () => {
    const subscriber = await open('o24-over', false)
    await subscriber.subscribe(['o24o/#', 2], ['o24o/+', 0], ['o24o/x', 1])
    const publisher = await open('o24-pub2')
    await publisher.publish({ topic: 'o24o/x', payload: 'live', qos: 2 })
    expect(await subscriber.receive()).toMatchObject({ qos: 2 })
    await subscriber.expectNothing(50, 'publish')
    await subscriber.disconnect()
    await publisher.publish({ topic: 'o24o/x', payload: 'kept', qos: 2 })
    const resumed = await open('o24-over', false)
    expect(await resumed.receive()).toMatchObject({ qos: 2 })
    await resumed.expectNothing(50, 'publish')
    await Promise.all([resumed.disconnect(), publisher.disconnect()])
  })
})

describe('redelivery and Packet Identifiers', () => {
  test('aedes#25: what was not acknowledged comes again in order, with DUP and the same Packet Identifiers [v3 MQTT-4.4.0-1] [v3 MQTT-3.3.1-1]', async () => {
    const first = await open('o25-sub', false)
    await first.subscribe(['o25', 2])
    const publisher = await open('o25-pub')
    for (const [payload, qos] of [
      ['a', 1],
      ['b', 2],
      ['c', 1],
    ] as const) {
      await publisher.publish({ topic: 'o25', payload, qos })
    }
    const sent = await first.expectPublishes(3)
    expect(sent.every((packet) => !packet.dup)).toBe(true)
    first.reset()
    await first.expectClosed()
    const second = await open('o25-sub', false)
    const again = await second.expectPublishes(3)
    expect(again).toEqual(sent.map((packet) => ({ ...packet, dup: true })))
    await Promise.all([second.disconnect(), publisher.disconnect()])
  })

  test('aedes#25: after PUBREC it is PUBREL that comes again, not PUBLISH [v3 MQTT-4.3.3-1]', async () => {
    const first = await open('o25-rel', false)
    await first.subscribe(['o25/rel', 2])
    const publisher = await open('o25-pub2')
    await publisher.publish({ topic: 'o25/rel', payload: 'x', qos: 2 })
    const { packetId } = await first.expect('publish')
    first.ack('pubrec', packetId)
    await first.expect('pubrel')
    first.reset()
    await first.expectClosed()
    const second = await open('o25-rel', false)
    expect(await second.expectNext('pubrel')).toMatchObject({ packetId })
    second.ack('pubcomp', packetId)
    await second.ping()
    await second.disconnect()
    const third = await open('o25-rel', false)
    await third.ping()
    await third.expectNothing(50)
    await Promise.all([third.disconnect(), publisher.disconnect()])
  })

  test(`aedes#25: at most limits.inflightMax (${inflightMax}) messages are in flight, and each has its own Packet Identifier`, async () => {
    const subscriber = await open('o25-window')
    await subscriber.subscribe(['o25/w', 1])
    const publisher = await open('o25-pub3')
    const frames = Array.from({ length: 300 }, (_, i) =>
      encodeRawPublish({ topic: 'o25/w', payload: String(i), qos: 1, packetId: publisher.packetId() }),
    )
    publisher.send(...frames)
    for (const _ of frames) await publisher.expect('puback')
    const held = await subscriber.expectPublishes(inflightMax)
    await subscriber.ping()
    await subscriber.expectNothing(50, 'publish')
    expect(new Set(held.map((packet) => packet.packetId)).size).toBe(inflightMax)
    // Everything but the first is acknowledged: its identifier stays taken.
    subscriber.send(...held.slice(1).map((packet) => encodeRawAck('puback', packet.packetId)))
    const rest: PublishPacket[] = []
    while (rest.length < 300 - inflightMax) {
      const packet = await subscriber.expect('publish')
      expect(packet.packetId).not.toBe(held[0]!.packetId)
      subscriber.ack('puback', packet.packetId)
      rest.push(packet)
    }
    expect(payloads([...held, ...rest])).toEqual(frames.map((_, i) => String(i)))
    await Promise.all([subscriber.disconnect(), publisher.disconnect()])
  })

  test('aedes#25: a Packet Identifier in flight is not given out again when the counter comes round [v3 MQTT-2.3.1-4]', async () => {
    const subscriber = await open('o25-round')
    await subscriber.subscribe(['o25/r', 1])
    const publisher = await open('o25-pub4')
    let acked = 0
    publisher.onPacket = (packet) => packet.type === 'puback' && ++acked > 0
    const total = 66_000
    let heldId = 0
    let received = 0
    let collided = false
    const acks: Buffer[] = []
    subscriber.onPacket = (packet) => {
      if (packet.type !== 'publish') return false
      received++
      if (heldId === 0) heldId = packet.packetId
      else {
        if (packet.packetId === heldId) collided = true
        if (acks.push(encodeRawAck('puback', packet.packetId)) === 1) {
          setImmediate(() => {
            subscriber.send(...acks)
            acks.length = 0
          })
        }
      }
      return true
    }
    let sent = 0
    while (sent < total) {
      const frames = Array.from({ length: Math.min(500, total - sent) }, () =>
        encodeRawPublish({ topic: 'o25/r', qos: 1, packetId: publisher.packetId() }),
      )
      sent += frames.length
      publisher.send(...frames)
      await expect.poll(() => acked, { interval: 1 }).toBe(sent)
    }
    await subscriber.ping()
    // A broker may wait for the oldest message or skip its identifier; it must not use it twice.
    subscriber.ack('puback', heldId)
    const first = heldId
    heldId = -1
    await expect.poll(() => received).toBe(total)
    expect(collided, `identifier ${first} was given to two messages in flight`).toBe(false)
    await Promise.all([subscriber.disconnect(), publisher.disconnect()])
  }, 40_000)
})

describe('retained, restored and odd subscriptions', () => {
  test('aedes#26: a retained QoS 2 message to a persistent session is delivered at QoS 2 and the session stays', async () => {
    const publisher = await open('o26-pub')
    await publisher.publish({ topic: 'o26', payload: 'kept', qos: 2, retain: true })
    const subscriber = await open('o26-sub', false)
    await subscriber.subscribe(['o26', 2])
    expect(await subscriber.receive()).toMatchObject({ qos: 2, retain: true })
    await subscriber.ping()
    await Promise.all([subscriber.disconnect(), publisher.disconnect()])
  })

  test('aedes#27: a QoS 0 subscription that survived a restart queues nothing that waits for an acknowledgement', async () => {
    const before = await open('o27-sub', false)
    await before.subscribe(['o27', 0], ['o27/one', 1])
    await before.disconnect()
    await broker.restart()
    const publisher = await open('o27-pub')
    for (let i = 0; i < inflightMax * 2; i++) await publisher.publish({ topic: 'o27', payload: String(i), qos: 1 })
    await publisher.publish({ topic: 'o27/one', payload: 'one', qos: 1 })
    const subscriber = await open('o27-sub', false)
    expect((await subscriber.expect('publish', (packet) => packet.qos === 1)).payload.toString()).toBe('one')
    await subscriber.ping()
    for (const packet of subscriber.takeAll('publish')) expect(packet.qos).toBe(0)
    await publisher.publish({ topic: 'o27', payload: 'live', qos: 1 })
    expect(await subscriber.expect('publish', (packet) => packet.payload.toString() === 'live')).toMatchObject({
      qos: 0,
      packetId: 0,
    })
    await Promise.all([subscriber.disconnect(), publisher.disconnect()])
  })

  test('aedes#28: `o28/` reaches the persistent subscriber of `o28/+`, which stays connected [v3 MQTT-4.7.1-3]', async () => {
    const subscriber = await open('o28-sub', false)
    await subscriber.subscribe(['o28/+', 1])
    const publisher = await open('o28-pub')
    await publisher.publish({ topic: 'o28/', payload: 'empty level', qos: 1 })
    expect((await subscriber.receive()).topic).toBe('o28/')
    await subscriber.ping()
    await Promise.all([subscriber.disconnect(), publisher.disconnect()])
  })

  test('aedes#29: `#` and `+/x` do not receive topics that start with $, offline or online [v3 MQTT-4.7.2-1]', async () => {
    const before = await open('o29-sub', false)
    await before.subscribe(['#', 1], ['+/x', 1])
    await before.disconnect()
    const publisher = await open('o29-pub')
    await publisher.publish({ topic: '$o29/x', payload: 'hidden', qos: 1 })
    await publisher.publish({ topic: 'o29/x', payload: 'seen', qos: 1 })
    const subscriber = await open('o29-sub', false)
    subscriber.autoAck = true
    await subscriber.expect('publish', (packet) => packet.payload.toString() === 'seen')
    await publisher.publish({ topic: '$o29/x', payload: 'hidden', qos: 1 })
    await subscriber.ping()
    expect(await subscriber.payloadsWithin(50)).not.toContain('hidden')
    await Promise.all([subscriber.disconnect(), publisher.disconnect()])
  })

  for (const filter of ['o29a#', '+o29a', 'o29a/+b', 'o29a/#/b', '']) {
    test(`aedes#29: '${filter}' is no Topic Filter and is not granted [v3 MQTT-4.7.1-2] [v3 MQTT-4.7.1-3]`, async () => {
      const client = await open('o29-bad')
      const codes = await client.subscribe([filter, 1]).then(
        (suback) => suback.codes,
        () => 'closed',
      )
      expect(codes === 'closed' || (codes as number[])[0] === 0x80).toBe(true)
      if (codes !== 'closed') await client.disconnect()
    })
  }

  test('aedes#29: an empty client id needs a clean session: CONNACK 2 and closed [v3 MQTT-3.1.3-8]', async () => {
    const client = await RawClient.open(broker.mqtt)
    expect((await client.connect({ clientId: '', clean: false })).code).toBe(2)
    await client.expectClosed()
    const clean = await RawClient.connected(broker.mqtt, { clientId: '', clean: true })
    await clean.disconnect()
  })
})
