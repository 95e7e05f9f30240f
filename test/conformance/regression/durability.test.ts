/** What an acknowledgement means: facts about stock Aedes 1-4 and 6-9, and what we do instead. */
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedBroker, embedBroker } from '../../support/broker-inline.ts'
import { RawClient } from '../../support/raw-client.ts'
import { encodeRawPublish, type PublishPacket } from '../../support/raw-packets.ts'

let broker: EmbeddedBroker
beforeAll(async () => {
  broker = await embedBroker({ store: 'lmdb', nodeId: 'fixed' })
})
afterAll(() => broker?.stop())
afterEach(() => broker.faults.heal())

const open = (clientId: string, clean = false) => RawClient.connected(broker.mqtt, { clientId, clean })
const payloads = (packets: PublishPacket[]) => packets.map((packet) => packet.payload.toString())

/** A persistent session with one subscription, left offline. */
async function offlineSubscriber(clientId: string, ...filters: [string, number][]): Promise<void> {
  const client = await open(clientId)
  await client.subscribe(...filters)
  await client.disconnect()
}

describe('acknowledge after commit', () => {
  test('aedes#1: PUBACK waits for the store', async () => {
    await offlineSubscriber('a1-sub', ['a1', 1])
    const publisher = await open('a1-pub')
    broker.faults.hold()
    const packetId = publisher.startPublish({ topic: 'a1', payload: 'x', qos: 1 })
    await publisher.expectNothing(150)
    broker.faults.release()
    await publisher.expect('puback', (puback) => puback.packetId === packetId)
    await publisher.disconnect()
  })

  test('aedes#1: PUBREC waits for the store', async () => {
    await offlineSubscriber('a1-sub2', ['a1/2', 2])
    const publisher = await open('a1-pub2')
    broker.faults.hold()
    publisher.startPublish({ topic: 'a1/2', payload: 'x', qos: 2 })
    await publisher.expectNothing(150)
    broker.faults.release()
    await publisher.expect('pubrec')
    await publisher.disconnect()
  })

  test('aedes#1: a retained message is acknowledged when it is stored, not before', async () => {
    const publisher = await open('a1-retain')
    broker.faults.hold()
    publisher.startPublish({ topic: 'a1/retained', payload: 'x', qos: 1, retain: true })
    await publisher.expectNothing(150)
    broker.faults.release()
    await publisher.expect('puback')
    await publisher.disconnect()
  })

  test('aedes#1: when the store fails, MQTT 3 gets no PUBACK and a closed connection; the retransmission succeeds', async () => {
    await offlineSubscriber('a1-sub3', ['a1/3', 1])
    const publisher = await open('a1-pub3')
    broker.faults.failing = true
    const packetId = publisher.startPublish({ topic: 'a1/3', payload: 'kept', qos: 1 })
    await publisher.expectClosed()
    expect(publisher.takeAll('puback')).toEqual([])
    broker.faults.heal()
    const again = await open('a1-pub3')
    again.startPublish({ topic: 'a1/3', payload: 'kept', qos: 1, dup: true, packetId })
    await again.expect('puback')
    const subscriber = await open('a1-sub3')
    expect((await subscriber.receive()).payload.toString()).toBe('kept')
    await Promise.all([again.disconnect(), subscriber.disconnect()])
  })

  test('aedes#2: a slow store and a QoS 0 publisher beside it lose no acknowledged message and keep the order', async () => {
    const subscriber = await open('a2-sub')
    subscriber.autoAck = true
    await subscriber.subscribe(['a2/#', 1])
    const noise = await open('a2-noise', true)
    const publisher = await open('a2-pub', true)
    broker.faults.delayMs = 3
    let noisy = true
    const makingNoise = (async () => {
      for (let n = 0; noisy; n++) {
        noise.startPublish({ topic: 'a2/noise', payload: String(n) })
        await new Promise((resolve) => setTimeout(resolve, 1))
      }
    })()
    const wanted = Array.from({ length: 100 }, (_, i) => String(i))
    for (const payload of wanted) publisher.startPublish({ topic: 'a2/data', payload, qos: 1 })
    for (const _ of wanted) await publisher.expect('puback')
    const got: string[] = []
    while (got.length < wanted.length) {
      const packet = await subscriber.expect('publish', (publish) => publish.topic === 'a2/data', 2_000)
      got.push(packet.payload.toString())
    }
    expect(got).toEqual(wanted)
    noisy = false
    await makingNoise
    await Promise.all([subscriber.disconnect(), noise.disconnect(), publisher.disconnect()])
  })

  test('aedes#3: a QoS 2 PUBLISH that failed half way is delivered when it is retransmitted, once', async () => {
    const subscriber = await open('a3-sub')
    await subscriber.subscribe(['a3', 2])
    const publisher = await open('a3-pub')
    broker.faults.failing = true
    const packetId = publisher.startPublish({ topic: 'a3', payload: 'once', qos: 2 })
    await publisher.expectClosed()
    broker.faults.heal()
    const again = await open('a3-pub')
    again.startPublish({ topic: 'a3', payload: 'once', qos: 2, dup: true, packetId })
    await again.expect('pubrec')
    again.ack('pubrel', packetId)
    await again.expect('pubcomp')
    expect((await subscriber.receive()).payload.toString()).toBe('once')
    await again.disconnect()
    await subscriber.expectNothing(50)
    await subscriber.disconnect()
  })

  test('aedes#3: a QoS 2 flow survives a restart between PUBREC and PUBREL: delivered once [v3 MQTT-4.3.3-2]', async () => {
    await offlineSubscriber('a3-late', ['a3/late', 2])
    const publisher = await open('a3-pub2')
    const packetId = publisher.startPublish({ topic: 'a3/late', payload: 'once', qos: 2 })
    await publisher.expect('pubrec')
    await broker.restart()
    const again = await RawClient.open(broker.mqtt)
    expect((await again.connect({ clientId: 'a3-pub2', clean: false })).sessionPresent).toBe(true)
    again.startPublish({ topic: 'a3/late', payload: 'once', qos: 2, dup: true, packetId })
    await again.expect('pubrec')
    again.ack('pubrel', packetId)
    await again.expect('pubcomp')
    const subscriber = await open('a3-late')
    expect((await subscriber.receive()).payload.toString()).toBe('once')
    await subscriber.expectNothing(50)
    await Promise.all([again.disconnect(), subscriber.disconnect()])
  })
})

describe('a Packet Identifier is free after its exchange, whatever the store did in between', () => {
  test('aedes#3: a PUBREL whose commit failed leaves nothing behind that swallows a later message, also after a restart', async () => {
    await offlineSubscriber('a3-free', ['a3/free', 2])
    const publisher = await open('a3-pub3')
    publisher.startPublish({ topic: 'a3/free', payload: 'first', qos: 2, packetId: 7 })
    await publisher.expect('pubrec')
    broker.faults.failing = true
    publisher.ack('pubrel', 7)
    await Promise.race([publisher.expect('pubcomp'), publisher.expectClosed()]).catch(() => {})
    broker.faults.heal()
    publisher.reset()
    const again = await open('a3-pub3')
    again.ack('pubrel', 7)
    await again.expect('pubcomp')
    await again.disconnect()
    await broker.restart()
    const later = await open('a3-pub3')
    await later.publish({ topic: 'a3/free', payload: 'second', qos: 2, packetId: 7 })
    const subscriber = await open('a3-free')
    const got = [await subscriber.receive(), await subscriber.receive()]
    expect(payloads(got)).toEqual(['first', 'second'])
    await Promise.all([later.disconnect(), subscriber.disconnect()])
  })
})

describe('session state is more than subscriptions', () => {
  test('aedes#4: a persistent publisher without subscriptions has a session, and its QoS 2 state in it [v3 MQTT-3.2.2-2]', async () => {
    const subscriber = await open('a4-sub', true)
    await subscriber.subscribe(['a4', 2])
    const publisher = await open('a4-pub')
    publisher.startPublish({ topic: 'a4', payload: 'first', qos: 2, packetId: 1 })
    await publisher.expect('pubrec')
    await publisher.drop()
    expect((await subscriber.receive()).payload.toString()).toBe('first')
    const again = await RawClient.open(broker.mqtt)
    expect((await again.connect({ clientId: 'a4-pub', clean: false })).sessionPresent).toBe(true)
    again.ack('pubrel', 1)
    await again.expect('pubcomp')
    await again.publish({ topic: 'a4', payload: 'second', qos: 2, packetId: 1 })
    expect((await subscriber.receive()).payload.toString()).toBe('second')
    await Promise.all([subscriber.disconnect(), again.disconnect()])
  })

  test('aedes#4: after a clean session Packet Identifier 1 is a new message [v3 MQTT-3.1.2-6]', async () => {
    const subscriber = await open('a4-sub2', true)
    await subscriber.subscribe(['a4/2', 2])
    const publisher = await open('a4-pub2')
    publisher.startPublish({ topic: 'a4/2', payload: 'first', qos: 2, packetId: 1 })
    await publisher.expect('pubrec')
    await publisher.drop()
    const clean = await RawClient.open(broker.mqtt)
    expect((await clean.connect({ clientId: 'a4-pub2', clean: true })).sessionPresent).toBe(false)
    await clean.publish({ topic: 'a4/2', payload: 'second', qos: 2, packetId: 1 })
    expect((await subscriber.receive()).payload.toString()).toBe('first')
    expect((await subscriber.receive()).payload.toString()).toBe('second')
    await clean.disconnect()
    const last = await RawClient.open(broker.mqtt)
    expect((await last.connect({ clientId: 'a4-pub2', clean: false })).sessionPresent).toBe(false)
    await Promise.all([subscriber.disconnect(), last.disconnect()])
  })

  test('aedes#5: SUBSCRIBE with several filters in a persistent session is answered with as many codes', async () => {
    const client = await open('a5')
    expect((await client.subscribe(['a5/1', 0], ['a5/2', 1], ['a5/3/#', 2])).codes).toEqual([0, 1, 2])
    await client.disconnect()
  })
})

describe('what is queued stays', () => {
  test('aedes#6: a restart with the same node id overwrites nothing that is queued and keeps the order', async () => {
    await offlineSubscriber('a6-sub', ['a6', 1])
    const publish = async (...list: string[]) => {
      const publisher = await open('a6-pub', true)
      for (const payload of list) await publisher.publish({ topic: 'a6', payload, qos: 1 })
      await publisher.disconnect()
    }
    await publish('1', '2', '3')
    await broker.restart()
    await publish('4', '5', '6')
    await broker.restart()
    await publish('7')
    const subscriber = await open('a6-sub')
    subscriber.autoAck = true
    expect(payloads(await subscriber.expectPublishes(7))).toEqual(['1', '2', '3', '4', '5', '6', '7'])
    await subscriber.disconnect()
  })

  test('aedes#7: adding `a7/b` keeps `a7/+`, also after a restart', async () => {
    const client = await open('a7-sub')
    await client.subscribe(['a7/+', 1])
    await client.subscribe(['a7/b', 0])
    const publisher = await open('a7-pub', true)
    await publisher.publish({ topic: 'a7/c', payload: 'live', qos: 1 })
    expect((await client.receive()).payload.toString()).toBe('live')
    await client.disconnect()
    await broker.restart()
    const again = await open('a7-pub', true)
    await again.publish({ topic: 'a7/c', payload: 'after', qos: 1 })
    const resumed = await open('a7-sub')
    expect(await resumed.receive()).toMatchObject({ topic: 'a7/c', qos: 1 })
    await Promise.all([again.disconnect(), resumed.disconnect()])
  })

  test('aedes#8: 3,000 queued messages all come after one reconnect, in order', async () => {
    await offlineSubscriber('a8-sub', ['a8', 1])
    const publisher = await open('a8-pub', true)
    const wanted = Array.from({ length: 3_000 }, (_, i) => String(i))
    for (let at = 0; at < wanted.length; at += 500) {
      const part = wanted.slice(at, at + 500)
      publisher.send(
        ...part.map((payload) => encodeRawPublish({ topic: 'a8', payload, qos: 1, packetId: publisher.packetId() })),
      )
      for (const _ of part) await publisher.expect('puback')
    }
    const subscriber = await open('a8-sub')
    subscriber.autoAck = true
    expect(payloads(await subscriber.expectPublishes(wanted.length))).toEqual(wanted)
    await Promise.all([publisher.disconnect(), subscriber.disconnect()])
  })

  test('aedes#9: a message that authorizeForward refuses takes no other message with it and no connection down', async () => {
    await offlineSubscriber('a9-sub', ['a9/#', 1])
    const publisher = await open('a9-pub', true)
    for (const topic of ['a9/open/1', 'a9/secret', 'a9/open/2']) await publisher.publish({ topic, qos: 1 })
    const before = broker.aedes.authorizeForward
    broker.aedes.authorizeForward = (_client, packet) => (packet.topic === 'a9/secret' ? null : packet)
    try {
      const subscriber = await open('a9-sub')
      subscriber.autoAck = true
      const topics = (await subscriber.expectPublishes(2)).map((packet) => packet.topic)
      expect(topics).toEqual(['a9/open/1', 'a9/open/2'])
      await subscriber.ping()
      // A burst, so that several messages are on their way when one is refused.
      const burst = ['a9/open/3', 'a9/secret', 'a9/open/4', 'a9/secret', 'a9/open/5']
      publisher.send(...burst.map((topic) => encodeRawPublish({ topic, qos: 1, packetId: publisher.packetId() })))
      const live = (await subscriber.expectPublishes(3)).map((packet) => packet.topic)
      expect(live).toEqual(['a9/open/3', 'a9/open/4', 'a9/open/5'])
      await subscriber.ping()
      await subscriber.expectNothing(50, 'publish')
      await subscriber.disconnect()
    } finally {
      broker.aedes.authorizeForward = before
    }
    await publisher.disconnect()
  })
})
