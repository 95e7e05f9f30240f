/** MQTT 5, section 3.3 and chapter 4: PUBLISH, its properties, exchanges and order. */
import { describe, expect, test } from 'vitest'
import { encodeRawAck, encodeRawPublish, field, frame, type RawProperties, u16 } from '../../support/raw-packets.ts'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest()

describe('flags', () => {
  test('QoS 3 is malformed [v5 MQTT-3.3.1-4]', async () => {
    expect(await subject.provoke(5, frame(3, 6, field('a'), u16(1), Buffer.from([0])))).toEqual({ reasonCode: 0x81 })
  })
  test('DUP at QoS 0 is malformed [v5 MQTT-3.3.1-2]', async () => {
    expect(await subject.provoke(5, frame(3, 8, field('a'), Buffer.from([0])))).toEqual({ reasonCode: 0x81 })
  })
  test('DUP of the publisher is not passed on [v5 MQTT-3.3.1-3] [v5 MQTT-4.3.2-2] [v5 MQTT-4.3.3-2]', async () => {
    const subscriber = await subject.subscriber(5, 'dup/#', 2)
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'dup/1', qos: 1, dup: true })
    await publisher.publish({ topic: 'dup/2', qos: 2, dup: true })
    expect(await subscriber.receive()).toMatchObject({ topic: 'dup/1', qos: 1, dup: false })
    expect(await subscriber.receive()).toMatchObject({ topic: 'dup/2', qos: 2, dup: false })
  })
  test('QoS 0 goes out with QoS 0 and DUP 0 [v5 MQTT-4.3.1-1] [v5 MQTT-3.3.1-2]', async () => {
    const subscriber = await subject.subscriber(5, 'zero', 2)
    subscriber.startPublish({ topic: 'zero' })
    expect(await subscriber.receive()).toMatchObject({ qos: 0, dup: false })
  })
})

describe('Topic Name', () => {
  test('with a wildcard is refused with 0x90 [v5 MQTT-3.3.2-2] [v5 MQTT-4.7.0-1]', async () => {
    for (const topic of ['a/+', '#', 'a/#', 'a+'])
      expect(await subject.provoke(5, encodeRawPublish({ topic }, 5))).toEqual({ reasonCode: 0x90 })
  })
  test('that is empty, without a Topic Alias, is a Protocol Error [v5 MQTT-4.7.3-1]', async () => {
    expect(await subject.provoke(5, encodeRawPublish({ topic: '' }, 5))).toEqual({ reasonCode: 0x82 })
  })
  test('longer than its packet is malformed [v5 MQTT-3.3.2-1]', async () => {
    expect(await subject.provoke(5, frame(3, 0, u16(10), Buffer.from('short')))).toEqual({ reasonCode: 0x81 })
  })
  test('of what is delivered matches the filter and is the one published [v5 MQTT-3.3.2-3] [v5 MQTT-4.7.3-4]', async () => {
    const client = await subject.subscriber(5, 'Match/+/x')
    for (const topic of ['Match/a/x', 'match/a/x', 'Match/a/X', 'Match/a/b/x', 'Match/a/x/', 'Match//x'])
      client.startPublish({ topic })
    await client.ping()
    expect(client.takeAll('publish').map(({ topic }) => topic)).toEqual(['Match/a/x', 'Match//x'])
  })
})

describe('properties', () => {
  const all: RawProperties = {
    payloadFormatIndicator: 1,
    contentType: 'application/json; charset=utf-8',
    responseTopic: 'reply/to/ü',
    correlationData: Buffer.from([0, 255, 0x0b, 0x23, 0x26]),
    userProperty: [
      ['z', '1'],
      ['a', '2'],
      ['z', '1'],
      ['', ''],
      ['a', '\u{1f600}'],
    ],
  }
  test('all come as they were sent, at each QoS [v5 MQTT-3.3.2-4] [v5 MQTT-3.3.2-15] [v5 MQTT-3.3.2-16] [v5 MQTT-3.3.2-17] [v5 MQTT-3.3.2-18] [v5 MQTT-3.3.2-20]', async () => {
    const subscriber = await subject.subscriber(5, 'props', 2)
    const publisher = await subject.connect(5)
    for (const qos of [0, 1, 2]) {
      await publisher.publish({ topic: 'props', payload: '{}', qos, properties: all })
      const got = await subscriber.receive()
      expect(got.properties).toEqual(all)
      expect(got.payload.toString()).toBe('{}')
    }
  })
  test('so they do from a session that was away, and from a retained message [v5 MQTT-3.3.2-4] [v5 MQTT-3.3.2-15] [v5 MQTT-3.3.2-16] [v5 MQTT-3.3.2-17] [v5 MQTT-3.3.2-18] [v5 MQTT-3.3.2-20]', async () => {
    await subject.leaveSession(5, 'props', ['props/away', 1])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'props/away', payload: 'x', qos: 1, retain: true, properties: all })
    const client = await subject.connect(5, persistent(5, 'props'))
    expect((await client.receive()).properties).toEqual(all)
    const later = await subject.subscriber(5, 'props/+')
    expect((await later.receive()).properties).toEqual(all)
  })
  test('a Payload Format Indicator of 0 comes as 0, an absent one not at all [v5 MQTT-3.3.2-4]', async () => {
    const client = await subject.subscriber(5, 'format')
    client.startPublish({ topic: 'format', properties: { payloadFormatIndicator: 0 } })
    expect((await client.receive()).properties).toEqual({ payloadFormatIndicator: 0 })
    client.startPublish({ topic: 'format' })
    expect((await client.receive()).properties).toEqual({})
  })
  test('a Response Topic with a wildcard, or empty, is a Protocol Error [v5 MQTT-3.3.2-14]', async () => {
    for (const responseTopic of ['a/#', '+', '']) {
      const bytes = encodeRawPublish({ topic: 'a', properties: { responseTopic } }, 5)
      expect(await subject.provoke(5, bytes)).toEqual({ reasonCode: 0x82 })
      const will = { topic: 'w', properties: { responseTopic } }
      expect(await subject.refused({ version: 5, clientId: 'w', will })).toEqual({ code: 0x82 })
    }
  })
  test('a Subscription Identifier from a client is a Protocol Error [v5 MQTT-3.3.4-6]', async () => {
    const bytes = encodeRawPublish({ topic: 'a', properties: { subscriptionIdentifier: [1] } }, 5)
    expect(await subject.provoke(5, bytes)).toEqual({ reasonCode: 0x82 })
  })
  test('a request and its response find each other', async () => {
    const responder = await subject.subscriber(5, 'rr/request', 1)
    const requester = await subject.dial()
    const connack = await requester.connect({ version: 5, properties: { requestResponseInformation: 1 } })
    const responseTopic = `${connack.properties.responseInformation}/1`
    await requester.subscribe([responseTopic, 1])
    const correlationData = Buffer.from([1, 2, 3])
    await requester.publish({
      topic: 'rr/request',
      payload: '?',
      qos: 1,
      properties: { responseTopic, correlationData },
    })
    const { properties } = await responder.receive()
    await responder.publish({
      topic: properties.responseTopic as string,
      payload: '!',
      qos: 1,
      properties: { correlationData: properties.correlationData as Buffer },
    })
    expect(await requester.receive()).toMatchObject({ topic: responseTopic, properties: { correlationData } })
  })
})

describe('answers', () => {
  test('QoS 0 none, QoS 1 PUBACK, QoS 2 PUBREC and PUBCOMP [v5 MQTT-3.3.4-1] [v5 MQTT-4.3.2-4] [v5 MQTT-4.3.3-8] [v5 MQTT-4.3.3-11]', async () => {
    const client = await subject.connect(5)
    client.startPublish({ topic: 'answers' })
    await client.ping()
    await client.expectNothing(0)
    client.startPublish({ topic: 'answers', qos: 1, packetId: 10 })
    expect((await client.expectNext('puback')).packetId).toBe(10)
    client.startPublish({ topic: 'answers', qos: 2, packetId: 11 })
    expect((await client.expectNext('pubrec')).packetId).toBe(11)
    client.ack('pubrel', 11)
    expect((await client.expectNext('pubcomp')).packetId).toBe(11)
  })
  test('say 0x00 with a subscriber, 0x10 without [v5 MQTT-3.4.2-1] [v5 MQTT-3.5.2-1] [v5 MQTT-3.7.2-1]', async () => {
    const client = await subject.subscriber(5, 'codes/heard')
    for (const [topic, code] of [
      ['codes/heard', 0],
      ['codes/unheard', 0x10],
    ] as const) {
      client.startPublish({ topic, qos: 1, packetId: 1 })
      expect((await client.expect('puback')).code).toBe(code)
      client.startPublish({ topic, qos: 2, packetId: 2 })
      expect((await client.expect('pubrec')).code).toBe(code)
      client.ack('pubrel', 2)
      expect((await client.expect('pubcomp')).code).toBe(0)
    }
  })
  test('to a PUBREL or PUBREC without a message say 0x92, and nothing more [v5 MQTT-3.7.2-1] [v5 MQTT-3.7.2-2] [v5 MQTT-3.7.2-3] [v5 MQTT-3.6.2-1] [v5 MQTT-3.6.2-2] [v5 MQTT-3.6.2-3]', async () => {
    const client = await subject.connect(5)
    client.ack('pubrel', 99)
    expect(await client.expect('pubcomp')).toMatchObject({ packetId: 99, code: 0x92, properties: {} })
    client.ack('pubrec', 98)
    expect(await client.expect('pubrel')).toMatchObject({ packetId: 98, code: 0x92, properties: {} })
  })
  test('with a reason code that does not belong to the packet end the connection [v5 MQTT-3.4.2-1] [v5 MQTT-3.5.2-1] [v5 MQTT-3.6.2-1] [v5 MQTT-3.7.2-1]', async () => {
    for (const type of ['puback', 'pubrec', 'pubrel', 'pubcomp'] as const)
      expect([0x81, 0x82]).toContain((await subject.provoke(5, encodeRawAck(type, 1, 0x8e))).reasonCode)
  })
  test('come in the order of the packets', async () => {
    await subject.leaveSession(5, 'answer-order', ['ao/durable', 2])
    const client = await subject.connect(5)
    for (let n = 1; n <= 20; n++)
      client.startPublish({ topic: n % 3 === 0 ? 'ao/durable' : 'ao/other', qos: 1 + (n % 2), packetId: n })
    const ids: number[] = []
    client.onPacket = (packet) => {
      if (packet.type === 'puback' || packet.type === 'pubrec') ids.push(packet.packetId)
      return false
    }
    await client.expect('puback', ({ packetId }) => packetId === 20)
    expect(ids).toEqual(Array.from({ length: 20 }, (_, i) => i + 1))
  })
})

describe('QoS 1', () => {
  test('after PUBACK the same identifier is a new message, with DUP too [v5 MQTT-4.3.2-5]', async () => {
    const subscriber = await subject.subscriber(5, 'q1/new', 1)
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'q1/new', payload: '1', qos: 1, packetId: 1 })
    await publisher.publish({ topic: 'q1/new', payload: '2', qos: 1, packetId: 1, dup: true })
    expect((await subscriber.receive()).payload.toString()).toBe('1')
    expect((await subscriber.receive()).payload.toString()).toBe('2')
  })
  test('without PUBACK the message comes again, with DUP and its identifier, when the session resumes [v5 MQTT-4.3.2-3] [v5 MQTT-4.4.0-1] [v5 MQTT-3.3.1-1]', async () => {
    await subject.leaveSession(5, 'q1-again', ['q1/again', 1])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'q1/again', payload: 'x', qos: 1 })
    const first = await subject.connect(5, persistent(5, 'q1-again'))
    const { packetId } = await first.expect('publish', ({ dup }) => !dup)
    first.reset()
    const second = await subject.connect(5, persistent(5, 'q1-again'))
    expect(await second.expect('publish')).toMatchObject({ packetId, dup: true, qos: 1 })
    second.ack('puback', packetId)
    await second.ping()
    await second.disconnect()
    const third = await subject.connect(5, persistent(5, 'q1-again'))
    await third.ping()
    expect(third.takeAll('publish')).toEqual([])
  })
  test('nothing comes again while the connection stands [v5 MQTT-4.4.0-1]', async () => {
    const client = await subject.connect(5, persistent(5, 'q1-once'))
    await client.subscribe(['q1/once', 2])
    await client.publish({ topic: 'q1/once', qos: 1 })
    await client.publish({ topic: 'q1/once', qos: 2 })
    await client.expectPublishes(2)
    await client.expectNothing(300)
  })
  test('a PUBACK of 0x80 or above is an acknowledgement: nothing comes again [v5 MQTT-4.4.0-2]', async () => {
    const client = await subject.connect(5, persistent(5, 'q1-no'))
    await client.subscribe(['q1/no', 1])
    await client.publish({ topic: 'q1/no', qos: 1 })
    const { packetId } = await client.expect('publish')
    client.send(encodeRawAck('puback', packetId, 0x97))
    await client.ping()
    await client.disconnect()
    const again = await subject.connect(5, persistent(5, 'q1-no'))
    await again.ping()
    expect(again.takeAll('publish')).toEqual([])
  })
})

describe('QoS 2', () => {
  test('until PUBREL a repeated PUBLISH gets PUBREC and is delivered to nobody again [v5 MQTT-4.3.3-10]', async () => {
    const subscriber = await subject.subscriber(5, 'q2/repeat', 2)
    const publisher = await subject.connect(5)
    publisher.startPublish({ topic: 'q2/repeat', payload: '1', qos: 2, packetId: 7 })
    expect((await publisher.expect('pubrec')).code).toBe(0)
    publisher.startPublish({ topic: 'q2/repeat', payload: '1', qos: 2, packetId: 7, dup: true })
    expect(await publisher.expect('pubrec')).toMatchObject({ packetId: 7, code: 0 })
    publisher.ack('pubrel', 7)
    await publisher.expect('pubcomp')
    await subscriber.receive()
    await subscriber.ping()
    expect(subscriber.takeAll('publish')).toEqual([])
  })
  test('until PUBREL also over a reconnect [v5 MQTT-4.3.3-10] [v5 MQTT-4.3.3-8]', async () => {
    const subscriber = await subject.subscriber(5, 'q2/over', 2)
    const publisher = await subject.connect(5, persistent(5, 'q2-over'))
    publisher.startPublish({ topic: 'q2/over', qos: 2, packetId: 7 })
    await publisher.expect('pubrec')
    publisher.reset()
    const again = await subject.connect(5, persistent(5, 'q2-over'))
    again.startPublish({ topic: 'q2/over', qos: 2, packetId: 7, dup: true })
    await again.expect('pubrec')
    again.ack('pubrel', 7)
    expect((await again.expect('pubcomp')).code).toBe(0)
    await subscriber.receive()
    await subscriber.ping()
    expect(subscriber.takeAll('publish')).toEqual([])
  })
  test('after PUBCOMP the same identifier is a new message [v5 MQTT-4.3.3-12]', async () => {
    const subscriber = await subject.subscriber(5, 'q2/new', 2)
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'q2/new', payload: '1', qos: 2, packetId: 7 })
    await publisher.publish({ topic: 'q2/new', payload: '2', qos: 2, packetId: 7 })
    expect((await subscriber.receive()).payload.toString()).toBe('1')
    expect((await subscriber.receive()).payload.toString()).toBe('2')
  })
  test('PUBREC is answered with PUBREL, which comes again until PUBCOMP; the PUBLISH does not [v5 MQTT-4.3.3-4] [v5 MQTT-4.3.3-5] [v5 MQTT-4.3.3-6] [v5 MQTT-4.4.0-1]', async () => {
    await subject.leaveSession(5, 'q2-rel', ['q2/rel', 2])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'q2/rel', qos: 2 })
    const first = await subject.connect(5, persistent(5, 'q2-rel'))
    const { packetId } = await first.expect('publish')
    first.ack('pubrec', packetId)
    expect(await first.expect('pubrel')).toMatchObject({ packetId, code: 0 })
    first.reset()
    const second = await subject.connect(5, persistent(5, 'q2-rel'))
    expect(await second.expectNext('pubrel')).toMatchObject({ packetId, code: 0 })
    second.ack('pubcomp', packetId)
    await second.ping()
    expect(second.takeAll('publish')).toEqual([])
    await second.disconnect()
    const third = await subject.connect(5, persistent(5, 'q2-rel'))
    await third.ping()
    await third.expectNothing(0)
  })
  test('without PUBREC it is PUBLISH that comes again, with DUP and its identifier [v5 MQTT-4.3.3-3] [v5 MQTT-4.4.0-1] [v5 MQTT-3.3.1-1]', async () => {
    await subject.leaveSession(5, 'q2-pub', ['q2/pub', 2])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'q2/pub', qos: 2 })
    const first = await subject.connect(5, persistent(5, 'q2-pub'))
    const { packetId } = await first.expect('publish', ({ dup }) => !dup)
    first.reset()
    const second = await subject.connect(5, persistent(5, 'q2-pub'))
    expect(await second.expect('publish')).toMatchObject({ packetId, dup: true, qos: 2 })
  })
  test('a PUBREC of 0x80 or above ends the exchange: no PUBREL, nothing again [v5 MQTT-4.3.3-4] [v5 MQTT-4.4.0-2]', async () => {
    const client = await subject.connect(5, persistent(5, 'q2-no'))
    await client.subscribe(['q2/no', 2])
    await client.publish({ topic: 'q2/no', qos: 2 })
    const { packetId } = await client.expect('publish')
    client.send(encodeRawAck('pubrec', packetId, 0x83))
    await client.ping()
    await client.expectNothing(50)
    await client.disconnect()
    const again = await subject.connect(5, persistent(5, 'q2-no'))
    await again.ping()
    await again.expectNothing(0)
  })
  test('a message that has expired is acknowledged to its end [v5 MQTT-4.3.3-13]', async () => {
    const client = await subject.connect(5)
    client.startPublish({ topic: 'q2/old', qos: 2, packetId: 3, properties: { messageExpiryInterval: 0 } })
    await client.expect('pubrec')
    await new Promise((resolve) => setTimeout(resolve, 20))
    client.startPublish({ topic: 'q2/old', qos: 2, packetId: 3, dup: true, properties: { messageExpiryInterval: 0 } })
    await client.expect('pubrec')
    client.ack('pubrel', 3)
    expect((await client.expect('pubcomp')).code).toBe(0)
  })
})

describe('order', () => {
  test('messages of one topic and QoS come in their order, at each QoS [v5 MQTT-4.6.0-5] [v5 MQTT-4.6.0-6]', async () => {
    const subscriber = await subject.subscriber(5, 'order/#', 2)
    subscriber.autoAck = true
    const publisher = await subject.connect(5)
    const count = 60
    for (let n = 0; n < count; n++)
      publisher.startPublish({ topic: `order/${n % 3}`, payload: String(n), qos: n % 3, packetId: n + 1 })
    const got = await subscriber.expectPublishes(count)
    for (const qos of [0, 1, 2]) {
      const numbers = got.filter((packet) => packet.topic === `order/${qos}`).map(({ payload }) => Number(payload))
      expect(numbers).toEqual(Array.from({ length: count / 3 }, (_, i) => 3 * i + qos))
    }
  })
  test('a session that was away gets them in their order, and those after them [v5 MQTT-4.6.0-5] [v5 MQTT-4.6.0-6]', async () => {
    await subject.leaveSession(5, 'order-away', ['order-away', 1])
    const publisher = await subject.connect(5)
    for (let n = 0; n < 30; n++) await publisher.publish({ topic: 'order-away', payload: String(n), qos: 1 })
    const client = await subject.connect(5, persistent(5, 'order-away'))
    client.autoAck = true
    for (let n = 30; n < 60; n++) publisher.startPublish({ topic: 'order-away', payload: String(n), qos: 1 })
    const got = await client.expectPublishes(60)
    expect(got.map(({ payload }) => Number(payload))).toEqual(Array.from({ length: 60 }, (_, n) => n))
  })
  test('what is sent again comes in the order it was sent [v5 MQTT-4.6.0-5] [v5 MQTT-4.4.0-1]', async () => {
    await subject.leaveSession(5, 'resend', ['resend', 2])
    const publisher = await subject.connect(5)
    for (let n = 0; n < 10; n++) await publisher.publish({ topic: 'resend', payload: String(n), qos: 1 + (n % 2) })
    const first = await subject.connect(5, persistent(5, 'resend'))
    const sent = (await first.expectPublishes(10)).map(({ packetId }) => packetId)
    first.reset()
    const second = await subject.connect(5, persistent(5, 'resend'))
    expect((await second.expectPublishes(10)).map(({ packetId }) => packetId)).toEqual(sent)
  })
})
