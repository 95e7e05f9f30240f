/** MQTT 5, sections 3.8 to 3.12: SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, PINGREQ. */
import { describe, expect, test } from 'vitest'
import type { RawClient } from '../../support/raw-client.ts'
import { encodeRawSubscribe, encodeRawUnsubscribe, field, frame, pingreq, u16 } from '../../support/raw-packets.ts'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest()

const NO_LOCAL = 4
const noProperties = Buffer.from([0])

/** Subscribes with a Subscription Identifier. */
async function identify(client: RawClient, identifier: number, topicFilter: string, options = 0): Promise<void> {
  const packetId = client.packetId()
  client.send(encodeRawSubscribe(packetId, [{ topicFilter, options }], 5, { subscriptionIdentifier: identifier }))
  await client.expect('suback', (suback) => suback.packetId === packetId)
}

describe('SUBSCRIBE', () => {
  test('without a Topic Filter is a Protocol Error [v5 MQTT-3.8.3-2]', async () => {
    expect(await subject.provoke(5, frame(8, 2, u16(1), noProperties))).toEqual({ reasonCode: 0x82 })
  })
  test('without the options of its filter is malformed [v5 MQTT-3.8.3-2]', async () => {
    expect(await subject.provoke(5, frame(8, 2, u16(1), noProperties, field('a')))).toEqual({ reasonCode: 0x81 })
  })
  test('with reserved option bits is malformed [v5 MQTT-3.8.3-5]', async () => {
    for (const options of [0x40, 0x80, 0xc0])
      expect(await subject.provoke(5, encodeRawSubscribe(1, [{ topicFilter: 'a', options }], 5))).toEqual({
        reasonCode: 0x81,
      })
  })
  test('with QoS 3 or Retain Handling 3 is a Protocol Error [v5 MQTT-4.13.1-1]', async () => {
    for (const options of [3, 0x30])
      expect(await subject.provoke(5, encodeRawSubscribe(1, [{ topicFilter: 'a', options }], 5))).toEqual({
        reasonCode: 0x82,
      })
  })
  test('with No Local on a shared subscription is a Protocol Error [v5 MQTT-3.8.3-4]', async () => {
    const bytes = encodeRawSubscribe(1, [{ topicFilter: '$share/g/a', options: NO_LOCAL }], 5)
    expect(await subject.provoke(5, bytes)).toEqual({ reasonCode: 0x82 })
  })
  test('with a filter that is none has 0x8F for it, and its other filters stand [v5 MQTT-4.7.1-1] [v5 MQTT-4.7.1-2] [v5 MQTT-4.7.3-1] [v5 MQTT-3.8.4-7]', async () => {
    const client = await subject.connect(5)
    const bad = ['', 'a/#/b', 'a#', 'a+', '+a', 'a/b+/c', '##']
    const { codes } = await client.subscribe(['good/1', 1], ...bad, ['good/2', 2])
    expect(codes).toEqual([1, ...bad.map(() => 0x8f), 2])
    client.startPublish({ topic: 'good/1' })
    client.startPublish({ topic: 'good/2' })
    await client.expectPublishes(2)
  })
  test('is answered with SUBACK: its identifier, a code for each filter, in their order [v5 MQTT-3.8.4-1] [v5 MQTT-3.8.4-2] [v5 MQTT-3.8.4-5] [v5 MQTT-3.8.4-6] [v5 MQTT-3.8.4-7] [v5 MQTT-3.9.3-1] [v5 MQTT-3.9.3-2]', async () => {
    const client = await subject.connect(5)
    const filters = [2, 0, 1, 1, 0, 2].map((options, i) => ({ topicFilter: `codes/${i}`, options }))
    client.send(encodeRawSubscribe(77, filters, 5))
    expect(await client.expect('suback')).toMatchObject({ packetId: 77, codes: [2, 0, 1, 1, 0, 2] })
  })
  test('is answered without reason strings and user properties, wanted or not [v5 MQTT-3.9.2-1] [v5 MQTT-3.9.2-2] [v5 MQTT-3.11.2-1] [v5 MQTT-3.11.2-2] [v5 MQTT-3.1.2-29]', async () => {
    for (const requestProblemInformation of [0, 1]) {
      const client = await subject.connect(5, { properties: { requestProblemInformation, maximumPacketSize: 60 } })
      expect((await client.subscribe('a', '')).properties).toEqual({})
      expect((await client.unsubscribe('a', '')).properties).toEqual({})
    }
  })
  test('with a filter that is there replaces it: QoS, options and identifier [v5 MQTT-3.8.4-3]', async () => {
    const client = await subject.connect(5)
    await identify(client, 1, 'again/#', NO_LOCAL)
    client.startPublish({ topic: 'again/x', qos: 1 })
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
    await identify(client, 2, 'again/#', 1)
    await client.publish({ topic: 'again/x', qos: 2 })
    expect(await client.receive()).toMatchObject({ qos: 1, properties: { subscriptionIdentifier: [2] } })
    await client.subscribe(['again/#', 0])
    await client.publish({ topic: 'again/x', qos: 2 })
    expect(await client.receive()).toMatchObject({ qos: 0, properties: {} })
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })
  test('that replaces a filter sends retained messages again and loses none that come meanwhile [v5 MQTT-3.8.4-4] [v5 MQTT-3.8.4-3]', async () => {
    for (const options of [{}, persistent(5, 'gapless')]) {
      const client = await subject.connect(5, options)
      client.autoAck = true
      await client.publish({ topic: 'gapless/kept', payload: 'r', qos: 1, retain: true })
      await client.subscribe(['gapless/#', 1])
      expect(await client.expect('publish')).toMatchObject({ topic: 'gapless/kept', retain: true })
      const publisher = await subject.connect(5)
      for (let n = 0; n < 100; n++) {
        publisher.startPublish({ topic: 'gapless/x', payload: String(n), qos: 1 })
        if (n % 10 === 0) client.send(encodeRawSubscribe(1000 + n, [{ topicFilter: 'gapless/#', options: 1 }], 5))
      }
      const got = await client.expectPublishes(110)
      const live = got.filter(({ topic }) => topic === 'gapless/x')
      expect(live.map(({ payload }) => Number(payload))).toEqual(Array.from({ length: 100 }, (_, n) => n))
      expect(got.filter(({ topic, retain }) => topic === 'gapless/kept' && retain).length).toBe(10)
    }
  })
  test('messages come at the lower of their own QoS and the granted one [v5 MQTT-3.8.4-8]', async () => {
    for (const granted of [0, 1, 2]) {
      const client = await subject.subscriber(5, `lower/${granted}`, granted)
      for (const qos of [0, 1, 2]) {
        await client.publish({ topic: `lower/${granted}`, qos })
        expect((await client.receive()).qos).toBe(Math.min(granted, qos))
      }
    }
  })
})

describe('No Local', () => {
  test('a client does not get its own messages, others do, at each QoS [v5 MQTT-3.8.3-3]', async () => {
    for (const options of [{}, persistent(5, 'nl')]) {
      const client = await subject.connect(5, options)
      await client.subscribe(['nl/#', 2 | NO_LOCAL])
      const other = await subject.subscriber(5, 'nl/#', 2)
      for (const qos of [0, 1, 2]) {
        await client.publish({ topic: 'nl/own', qos })
        expect((await other.receive()).topic).toBe('nl/own')
        await other.publish({ topic: 'nl/other', qos })
        expect((await client.receive()).topic).toBe('nl/other')
        expect((await other.receive()).topic).toBe('nl/other')
      }
      await client.ping()
      expect(client.takeAll('publish')).toEqual([])
    }
  })
  test('holds over a reconnect: the Client Identifier decides [v5 MQTT-3.8.3-3]', async () => {
    const first = await subject.connect(5, persistent(5, 'nl-re'))
    await first.subscribe(['nl/re', 1 | NO_LOCAL])
    await first.disconnect()
    const second = await subject.connect(5, persistent(5, 'nl-re'))
    await second.publish({ topic: 'nl/re', qos: 1 })
    await second.ping()
    expect(second.takeAll('publish')).toEqual([])
  })
  test('of one subscription does not silence another that overlaps [v5 MQTT-3.8.3-3] [v5 MQTT-3.3.4-2]', async () => {
    for (const options of [{}, persistent(5, 'nl-both')]) {
      const client = await subject.connect(5, options)
      await identify(client, 1, 'nl/both', 2 | NO_LOCAL)
      await identify(client, 2, 'nl/+', 1)
      await client.publish({ topic: 'nl/both', qos: 2 })
      expect(await client.receive()).toMatchObject({ qos: 1, properties: { subscriptionIdentifier: [2] } })
      await client.ping()
      expect(client.takeAll('publish')).toEqual([])
    }
  })
  test('a will of the client itself does not come to its session [v5 MQTT-3.8.3-3]', async () => {
    const watcher = await subject.subscriber(5, 'nl/will', 1)
    const client = await subject.connect(5, { ...persistent(5, 'nl-will'), will: { topic: 'nl/will', qos: 1 } })
    await client.subscribe(['nl/will', 1 | NO_LOCAL])
    client.reset()
    await watcher.receive()
    const again = await subject.connect(5, persistent(5, 'nl-will'))
    await again.ping()
    expect(again.takeAll('publish')).toEqual([])
  })
})

describe('Subscription Identifier', () => {
  test('comes with each message of its subscription, live, retained and from a session that was away [v5 MQTT-3.3.4-3]', async () => {
    const client = await subject.connect(5, persistent(5, 'si'))
    await client.publish({ topic: 'si/kept', payload: 'x', qos: 1, retain: true })
    await identify(client, 268_435_455, 'si/#', 1)
    expect((await client.receive()).properties).toEqual({ subscriptionIdentifier: [268_435_455] })
    for (const qos of [0, 1]) {
      await client.publish({ topic: 'si/live', qos })
      expect((await client.receive()).properties).toEqual({ subscriptionIdentifier: [268_435_455] })
    }
    await client.disconnect()
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'si/away', qos: 1, properties: { contentType: 't' } })
    const again = await subject.connect(5, persistent(5, 'si'))
    expect((await again.receive()).properties).toEqual({ contentType: 't', subscriptionIdentifier: [268_435_455] })
  })
  test('of all overlapping subscriptions come on the one copy, which has the highest QoS [v5 MQTT-3.3.4-4] [v5 MQTT-3.3.4-2]', async () => {
    for (const options of [{}, persistent(5, 'si-all')]) {
      const client = await subject.connect(5, options)
      await identify(client, 1, 'over/#', 0)
      await identify(client, 200, 'over/+', 2)
      await identify(client, 30_000, 'over/x', 1)
      await client.subscribe(['+/x', 1])
      for (const qos of [0, 1, 2]) {
        await client.publish({ topic: 'over/x', qos })
        const got = await client.receive()
        expect(got.qos).toBe(qos)
        const identifiers = got.properties.subscriptionIdentifier as number[]
        expect([...identifiers].sort((a, b) => a - b)).toEqual([1, 200, 30_000])
      }
      await client.ping()
      expect(client.takeAll('publish')).toEqual([])
    }
  })
  test('of a shared and an ordinary subscription come on the copies they belong to [v5 MQTT-3.3.4-5]', async () => {
    const client = await subject.connect(5)
    await identify(client, 1, '$share/g/two', 1)
    await identify(client, 2, 'two', 1)
    await client.publish({ topic: 'two', qos: 1 })
    const got = [await client.receive(), await client.receive()]
    expect(got.map(({ properties }) => properties.subscriptionIdentifier).sort()).toEqual([[1], [2]])
  })
  test('does not come without one, nor to MQTT 3.1.1 [v5 MQTT-3.3.4-3]', async () => {
    const with5 = await subject.connect(5)
    await identify(with5, 7, 'some', 0)
    const without = await subject.subscriber(5, 'some')
    const old = await subject.subscriber(4, 'some')
    with5.startPublish({ topic: 'some' })
    expect((await with5.receive()).properties).toEqual({ subscriptionIdentifier: [7] })
    expect((await without.receive()).properties).toEqual({})
    await old.receive()
  })
})

describe('UNSUBSCRIBE', () => {
  test('without a Topic Filter is a Protocol Error [v5 MQTT-3.10.3-2]', async () => {
    expect(await subject.provoke(5, frame(10, 2, u16(1), noProperties))).toEqual({ reasonCode: 0x82 })
  })
  test('removes the filter that is equal, character by character, and no other [v5 MQTT-3.10.4-1] [v5 MQTT-4.7.3-4]', async () => {
    const client = await subject.connect(5)
    await client.subscribe('un/+', 'un/a', 'Un/a')
    await client.unsubscribe('un/a')
    client.startPublish({ topic: 'un/a' })
    client.startPublish({ topic: 'Un/a' })
    expect((await client.expectPublishes(2)).map(({ topic }) => topic)).toEqual(['un/a', 'Un/a'])
    expect((await client.unsubscribe('un/#', '+/a')).codes).toEqual([0x11, 0x11])
    client.startPublish({ topic: 'un/a' })
    await client.expect('publish')
    await client.unsubscribe('un/+')
    client.startPublish({ topic: 'un/a' })
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })
  test('is answered with UNSUBACK: a code for each filter, in their order [v5 MQTT-3.10.4-4] [v5 MQTT-3.10.4-5] [v5 MQTT-3.10.4-6] [v5 MQTT-3.11.3-1] [v5 MQTT-3.11.3-2]', async () => {
    const client = await subject.connect(5)
    await client.subscribe('several/1', 'several/3')
    client.send(encodeRawUnsubscribe(4321, ['several/1', 'several/2', 'a/#/b', 'several/3', 'several/1'], 5))
    expect(await client.expect('unsuback')).toMatchObject({ packetId: 4321, codes: [0, 0x11, 0x8f, 0, 0x11] })
    for (const n of [1, 2, 3]) client.startPublish({ topic: `several/${n}` })
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })
  test('stops new messages, of an offline session too [v5 MQTT-3.10.4-2]', async () => {
    const client = await subject.connect(5, persistent(5, 'stop'))
    await client.subscribe(['stop', 1])
    await client.unsubscribe('stop')
    await client.publish({ topic: 'stop', qos: 1 })
    await client.disconnect()
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'stop', qos: 1 })
    const again = await subject.connect(5, persistent(5, 'stop'))
    await again.ping()
    expect(again.takeAll('publish')).toEqual([])
  })
  test('completes the deliveries that had begun, over a reconnect too [v5 MQTT-3.10.4-3]', async () => {
    for (const kept of [false, true]) {
      const client = await subject.connect(5, kept ? persistent(5, 'begun') : {})
      await client.subscribe(['begun/#', 2])
      await client.publish({ topic: 'begun/1', qos: 1 })
      await client.publish({ topic: 'begun/2', qos: 2 })
      const [one, two] = await client.expectPublishes(2)
      await client.unsubscribe('begun/#')
      client.ack('pubrec', two!.packetId)
      await client.expect('pubrel', ({ packetId }) => packetId === two!.packetId)
      if (!kept) {
        client.ack('puback', one!.packetId)
        client.ack('pubcomp', two!.packetId)
        await client.ping()
        continue
      }
      await client.drop()
      const again = await subject.connect(5, persistent(5, 'begun'))
      expect(await again.expect('publish')).toMatchObject({ packetId: one!.packetId, dup: true })
      expect((await again.expect('pubrel')).packetId).toBe(two!.packetId)
    }
  })
})

test('each PINGREQ is answered with PINGRESP [v5 MQTT-3.12.4-1]', async () => {
  const client = await subject.connect(5)
  client.send(pingreq, pingreq, pingreq)
  for (let n = 0; n < 3; n++) await client.expectNext('pingresp')
  await client.expectNothing(0)
})
