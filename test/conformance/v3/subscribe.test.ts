/** MQTT 3.1.1, sections 3.8 to 3.14: SUBSCRIBE, UNSUBSCRIBE, PINGREQ, DISCONNECT. */
import { describe, expect, test } from 'vitest'
import {
  encodeRawPublish,
  encodeRawSubscribe,
  encodeRawUnsubscribe,
  field,
  frame,
  pingreq,
  u16,
} from '../../support/raw-packets.ts'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest()

describe('SUBSCRIBE', () => {
  test('without a Topic Filter ends the connection [v3 MQTT-3.8.3-3]', async () => {
    await subject.provoke(4, frame(8, 2, u16(1)))
  })
  test('without the QoS of its filter ends the connection [v3 MQTT-3.8.3-3]', async () => {
    await subject.provoke(4, frame(8, 2, u16(1), field('a')))
  })
  test('with reserved bits or QoS 3 ends the connection [v3 MQTT-3.8.3-4]', async () => {
    for (const options of [3, 4, 8, 0x10, 0x40, 0x80, 0xff])
      await subject.provoke(4, encodeRawSubscribe(1, [{ topicFilter: 'a', options }]))
  })
  test('with an empty or ill-placed wildcard filter ends the connection [v3 MQTT-4.7.1-2] [v3 MQTT-4.7.1-3] [v3 MQTT-4.7.3-1]', async () => {
    for (const topicFilter of ['', 'a/#/b', 'a#', 'a+', '+a', 'a/b+/c', '##'])
      await subject.provoke(4, encodeRawSubscribe(1, [{ topicFilter }]))
  })
  test('is answered with SUBACK: its identifier, a code for each filter, in their order [v3 MQTT-3.8.4-1] [v3 MQTT-3.8.4-2] [v3 MQTT-3.8.4-4] [v3 MQTT-3.8.4-5] [v3 MQTT-3.9.3-1]', async () => {
    const client = await subject.connect(4)
    const filters = [2, 0, 1, 1, 0, 2].map((options, i) => ({ topicFilter: `codes/${i}`, options }))
    client.send(encodeRawSubscribe(77, filters))
    expect(await client.expect('suback')).toMatchObject({ packetId: 77, codes: [2, 0, 1, 1, 0, 2] })
  })
  test('has no return codes but 0, 1, 2 and 0x80 [v3 MQTT-3.9.3-2] [v3 MQTT-3.8.4-5]', async () => {
    const client = await subject.connect(4)
    // A share without a filter is the one thing that is refused by itself here.
    const answer = await client.subscribe(['ok', 2], ['$share/no-filter', 1], ['fine', 0])
    expect(answer.codes).toEqual([2, 0x80, 0])
  })
  test('serves wildcards [v3 MQTT-3.8.3-2]', async () => {
    const client = await subject.connect(4)
    expect((await client.subscribe(['wild/+/x', 0], ['#', 0], ['+', 0])).codes).toEqual([0, 0, 0])
  })
  test('with a filter that is there replaces it: new QoS, retained messages again, nothing twice [v3 MQTT-3.8.4-3]', async () => {
    const client = await subject.connect(4)
    await client.publish({ topic: 'again/kept', payload: 'r', qos: 1, retain: true })
    await client.subscribe(['again/#', 0])
    expect(await client.receive()).toMatchObject({ qos: 0, retain: true })
    await client.subscribe(['again/#', 1])
    expect(await client.receive()).toMatchObject({ qos: 1, retain: true })
    await client.publish({ topic: 'again/live', qos: 1 })
    expect(await client.receive()).toMatchObject({ topic: 'again/live', qos: 1 })
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })
  test('that replaces a filter loses none of the messages that come meanwhile [v3 MQTT-3.8.4-3]', async () => {
    const client = await subject.connect(4)
    client.autoAck = true
    await client.subscribe(['gapless', 1])
    const publisher = await subject.connect(4)
    for (let n = 0; n < 100; n++) {
      publisher.startPublish({ topic: 'gapless', payload: String(n), qos: 1 })
      if (n % 10 === 0) client.send(encodeRawSubscribe(1000 + n, [{ topicFilter: 'gapless', options: 1 }]))
    }
    const got = await client.expectPublishes(100)
    expect(got.map(({ payload }) => Number(payload))).toEqual(Array.from({ length: 100 }, (_, n) => n))
  })
  test('messages come at the lower of their own QoS and the granted one [v3 MQTT-3.8.4-6]', async () => {
    for (const granted of [0, 1, 2]) {
      const client = await subject.subscriber(4, `lower/${granted}`, granted)
      for (const qos of [0, 1, 2]) {
        await client.publish({ topic: `lower/${granted}`, qos })
        expect((await client.receive()).qos).toBe(Math.min(granted, qos))
      }
    }
  })
})

describe('UNSUBSCRIBE', () => {
  test('without a Topic Filter ends the connection [v3 MQTT-3.10.3-2]', async () => {
    await subject.provoke(4, frame(10, 2, u16(1)))
  })
  test('removes the filter that is equal, character by character, and no other [v3 MQTT-3.10.4-1] [v3 MQTT-4.7.3-4]', async () => {
    const client = await subject.connect(4)
    await client.subscribe('un/+', 'un/a', 'Un/a')
    await client.unsubscribe('un/a')
    client.startPublish({ topic: 'un/a' })
    client.startPublish({ topic: 'Un/a' })
    expect((await client.expectPublishes(2)).map(({ topic }) => topic)).toEqual(['un/a', 'Un/a'])
    await client.unsubscribe('un/#', '+/a')
    client.startPublish({ topic: 'un/a' })
    await client.expect('publish')
    await client.unsubscribe('un/+')
    client.startPublish({ topic: 'un/a' })
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })
  test('is answered with UNSUBACK and its identifier, also when nothing was removed [v3 MQTT-3.10.4-4] [v3 MQTT-3.10.4-5]', async () => {
    const client = await subject.connect(4)
    client.send(encodeRawUnsubscribe(4321, ['never/subscribed']))
    expect((await client.expect('unsuback')).packetId).toBe(4321)
  })
  test('of several filters gets one UNSUBACK, and all are gone [v3 MQTT-3.10.4-6]', async () => {
    const client = await subject.connect(4)
    await client.subscribe('several/1', 'several/2', 'several/3')
    await client.unsubscribe('several/1', 'never', 'several/3')
    for (const n of [1, 2, 3]) client.startPublish({ topic: `several/${n}` })
    await client.ping()
    expect(client.takeAll('publish').map(({ topic }) => topic)).toEqual(['several/2'])
    await client.expectNothing(0)
  })
  test('stops new messages, of an offline session too [v3 MQTT-3.10.4-2]', async () => {
    const client = await subject.connect(4, persistent(4, 'stop'))
    await client.subscribe(['stop', 1])
    await client.unsubscribe('stop')
    await client.publish({ topic: 'stop', qos: 1 })
    await client.disconnect()
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'stop', qos: 1 })
    const again = await subject.connect(4, persistent(4, 'stop'))
    await again.ping()
    expect(again.takeAll('publish')).toEqual([])
  })
  test('completes the deliveries that had begun [v3 MQTT-3.10.4-3]', async () => {
    for (const options of [persistent(4, 'begun'), {}]) {
      const client = await subject.connect(4, options)
      await client.subscribe(['begun/#', 2])
      await client.publish({ topic: 'begun/1', qos: 1 })
      await client.publish({ topic: 'begun/2', qos: 2 })
      const [one, two] = await client.expectPublishes(2)
      await client.unsubscribe('begun/#')
      client.ack('puback', one!.packetId)
      client.ack('pubrec', two!.packetId)
      await client.expect('pubrel', ({ packetId }) => packetId === two!.packetId)
      client.ack('pubcomp', two!.packetId)
      await client.ping()
      await client.disconnect()
    }
  })
  test('lets what had begun go on after a reconnect [v3 MQTT-3.10.4-3]', async () => {
    const client = await subject.connect(4, persistent(4, 'begun-2'))
    await client.subscribe(['begun2', 1])
    await client.publish({ topic: 'begun2', qos: 1 })
    const { packetId } = await client.expect('publish')
    await client.unsubscribe('begun2')
    client.reset()
    const again = await subject.connect(4, persistent(4, 'begun-2'))
    expect(await again.expect('publish')).toMatchObject({ packetId, dup: true })
  })
})

describe('PINGREQ and DISCONNECT', () => {
  test('each PINGREQ is answered with PINGRESP [v3 MQTT-3.12.4-1]', async () => {
    const client = await subject.connect(4)
    client.send(pingreq, pingreq, pingreq)
    for (let n = 0; n < 3; n++) await client.expectNext('pingresp')
    await client.expectNothing(0)
  })
  test('a body in PINGREQ or DISCONNECT ends the connection [v3 MQTT-4.8.0-1]', async () => {
    await subject.provoke(4, frame(12, 0, Buffer.from([0])))
    await subject.provoke(4, frame(14, 0, Buffer.from([0])))
  })
  test('the broker closes after DISCONNECT and ignores what follows it [v3 MQTT-3.14.4-1] [v3 MQTT-3.14.4-2]', async () => {
    const watcher = await subject.subscriber(4, 'after/#')
    const client = await subject.connect(4)
    client.send(frame(14, 0), encodeRawPublish({ topic: 'after/disconnect' }))
    await client.expectClosed()
    await watcher.ping()
    expect(watcher.takeAll('publish')).toEqual([])
  })
})
