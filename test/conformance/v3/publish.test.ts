/** MQTT 3.1.1, section 3.3 and chapter 4: PUBLISH, its exchanges, order. */
import { describe, expect, test } from 'vitest'
import { encodeRawPublish, field, frame, u16 } from '../../support/raw-packets.ts'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest()

describe('flags', () => {
  test('QoS 3 ends the connection [v3 MQTT-3.3.1-4]', async () => {
    await subject.provoke(4, frame(3, 6, field('a'), u16(1)))
    await subject.provoke(4, frame(3, 0xe, field('a'), u16(1)))
  })
  test('DUP at QoS 0 ends the connection [v3 MQTT-3.3.1-2]', async () => {
    await subject.provoke(4, frame(3, 8, field('a')))
  })
  test('DUP of the publisher is not passed on [v3 MQTT-3.3.1-3] [v3 MQTT-4.3.2-1] [v3 MQTT-4.3.3-1]', async () => {
    const subscriber = await subject.subscriber(4, 'dup/#', 2)
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'dup/1', qos: 1, dup: true })
    await publisher.publish({ topic: 'dup/2', qos: 2, dup: true })
    expect(await subscriber.receive()).toMatchObject({ topic: 'dup/1', dup: false })
    expect(await subscriber.receive()).toMatchObject({ topic: 'dup/2', dup: false })
  })
  test('QoS 0 goes out with QoS 0 and DUP 0 [v3 MQTT-4.3.1-1] [v3 MQTT-3.3.1-2]', async () => {
    const subscriber = await subject.subscriber(4, 'zero', 2)
    subscriber.startPublish({ topic: 'zero' })
    expect(await subscriber.receive()).toMatchObject({ qos: 0, dup: false })
  })
})

describe('Topic Name', () => {
  test('with a wildcard, or empty, ends the connection [v3 MQTT-3.3.2-2] [v3 MQTT-4.7.1-1] [v3 MQTT-4.7.3-1]', async () => {
    for (const topic of ['a/+', '#', 'a/#', 'a+', '']) await subject.provoke(4, encodeRawPublish({ topic }))
  })
  test('longer than its packet ends the connection [v3 MQTT-3.3.2-1]', async () => {
    await subject.provoke(4, frame(3, 0, u16(10), Buffer.from('short')))
    await subject.provoke(4, frame(3, 0, Buffer.from([0])))
  })
  test('of what is delivered matches the filter and is the one published [v3 MQTT-3.3.2-3] [v3 MQTT-4.7.3-4]', async () => {
    const client = await subject.subscriber(4, 'Match/+/x')
    for (const topic of ['Match/a/x', 'match/a/x', 'Match/a/X', 'Match/a/b/x', 'Match/a/x/', 'Match//x'])
      client.startPublish({ topic })
    await client.ping()
    expect(client.takeAll('publish').map(({ topic }) => topic)).toEqual(['Match/a/x', 'Match//x'])
  })
})

describe('answers', () => {
  test('QoS 0 none, QoS 1 PUBACK, QoS 2 PUBREC and PUBCOMP [v3 MQTT-3.3.4-1] [v3 MQTT-4.3.2-2] [v3 MQTT-4.3.3-2]', async () => {
    const client = await subject.connect(4)
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
  test('come in the order of the packets [v3 MQTT-4.6.0-2] [v3 MQTT-4.6.0-3]', async () => {
    await subject.leaveSession(4, 'answer-order', ['ao/durable', 2])
    const client = await subject.connect(4)
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
  test('after PUBACK the same identifier is a new message, with DUP too [v3 MQTT-4.3.2-2]', async () => {
    const subscriber = await subject.subscriber(4, 'q1/new', 1)
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'q1/new', payload: '1', qos: 1, packetId: 1 })
    await publisher.publish({ topic: 'q1/new', payload: '2', qos: 1, packetId: 1, dup: true })
    expect((await subscriber.receive()).payload.toString()).toBe('1')
    expect((await subscriber.receive()).payload.toString()).toBe('2')
  })
  test('without PUBACK the message comes again, with DUP and its identifier, when the session resumes [v3 MQTT-4.3.2-1] [v3 MQTT-4.4.0-1] [v3 MQTT-3.3.1-1]', async () => {
    await subject.leaveSession(4, 'q1-again', ['q1/again', 1])
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'q1/again', payload: 'x', qos: 1 })
    const first = await subject.connect(4, persistent(4, 'q1-again'))
    const { packetId } = await first.expect('publish', ({ dup }) => !dup)
    first.reset()
    const second = await subject.connect(4, persistent(4, 'q1-again'))
    expect(await second.expect('publish')).toMatchObject({ packetId, dup: true, qos: 1 })
    second.ack('puback', packetId)
    await second.ping()
    await second.disconnect()
    const third = await subject.connect(4, persistent(4, 'q1-again'))
    await third.ping()
    expect(third.takeAll('publish')).toEqual([])
  })
  test('nothing comes again while the connection stands [v3 MQTT-4.4.0-1]', async () => {
    const client = await subject.connect(4, persistent(4, 'q1-once'))
    await client.subscribe(['q1/once', 1])
    await client.publish({ topic: 'q1/once', qos: 1 })
    await client.expect('publish')
    await client.expectNothing(300)
  })
})

describe('QoS 2', () => {
  test('until PUBREL a repeated PUBLISH gets PUBREC and is delivered to nobody again [v3 MQTT-4.3.3-2]', async () => {
    const subscriber = await subject.subscriber(4, 'q2/repeat', 2)
    const publisher = await subject.connect(4)
    publisher.startPublish({ topic: 'q2/repeat', payload: '1', qos: 2, packetId: 7 })
    await publisher.expect('pubrec')
    publisher.startPublish({ topic: 'q2/repeat', payload: '1', qos: 2, packetId: 7, dup: true })
    await publisher.expect('pubrec')
    publisher.ack('pubrel', 7)
    await publisher.expect('pubcomp')
    await subscriber.receive()
    await subscriber.ping()
    expect(subscriber.takeAll('publish')).toEqual([])
  })
  test('after PUBCOMP the same identifier is a new message [v3 MQTT-4.3.3-2]', async () => {
    const subscriber = await subject.subscriber(4, 'q2/new', 2)
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'q2/new', payload: '1', qos: 2, packetId: 7 })
    await publisher.publish({ topic: 'q2/new', payload: '2', qos: 2, packetId: 7 })
    expect((await subscriber.receive()).payload.toString()).toBe('1')
    expect((await subscriber.receive()).payload.toString()).toBe('2')
  })
  test('PUBREL comes with the identifier of the message, and after PUBREC it is PUBREL that comes again [v3 MQTT-4.3.3-1] [v3 MQTT-4.4.0-1]', async () => {
    await subject.leaveSession(4, 'q2-rel', ['q2/rel', 2])
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'q2/rel', qos: 2 })
    const first = await subject.connect(4, persistent(4, 'q2-rel'))
    const { packetId } = await first.expect('publish')
    first.ack('pubrec', packetId)
    expect((await first.expect('pubrel')).packetId).toBe(packetId)
    first.reset()
    const second = await subject.connect(4, persistent(4, 'q2-rel'))
    expect((await second.expectNext('pubrel')).packetId).toBe(packetId)
    second.ack('pubcomp', packetId)
    await second.ping()
    expect(second.takeAll('publish')).toEqual([])
  })
  test('without PUBREC it is PUBLISH that comes again, with DUP and its identifier [v3 MQTT-4.3.3-1] [v3 MQTT-4.4.0-1] [v3 MQTT-3.3.1-1]', async () => {
    await subject.leaveSession(4, 'q2-pub', ['q2/pub', 2])
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'q2/pub', qos: 2 })
    const first = await subject.connect(4, persistent(4, 'q2-pub'))
    const { packetId } = await first.expect('publish', ({ dup }) => !dup)
    first.reset()
    const second = await subject.connect(4, persistent(4, 'q2-pub'))
    expect(await second.expect('publish')).toMatchObject({ packetId, dup: true, qos: 2 })
  })
})

describe('order', () => {
  test('messages of one topic and QoS come in their order, at each QoS [v3 MQTT-4.6.0-5] [v3 MQTT-4.6.0-6]', async () => {
    const subscriber = await subject.subscriber(4, 'order/#', 2)
    subscriber.autoAck = true
    const publisher = await subject.connect(4)
    const count = 60
    for (let n = 0; n < count; n++)
      publisher.startPublish({ topic: `order/${n % 3}`, payload: String(n), qos: n % 3, packetId: n + 1 })
    const got = await subscriber.expectPublishes(count)
    for (const qos of [0, 1, 2]) {
      const numbers = got.filter((packet) => packet.topic === `order/${qos}`).map(({ payload }) => Number(payload))
      expect(numbers).toEqual(Array.from({ length: count / 3 }, (_, i) => 3 * i + qos))
    }
  })
  test('what is sent again comes in the order it was sent [v3 MQTT-4.6.0-1] [v3 MQTT-4.6.0-6]', async () => {
    await subject.leaveSession(4, 'resend', ['resend', 2])
    const publisher = await subject.connect(4)
    for (let n = 0; n < 10; n++) await publisher.publish({ topic: 'resend', payload: String(n), qos: 1 + (n % 2) })
    const first = await subject.connect(4, persistent(4, 'resend'))
    const sent = (await first.expectPublishes(10)).map(({ packetId }) => packetId)
    first.reset()
    const second = await subject.connect(4, persistent(4, 'resend'))
    expect((await second.expectPublishes(10)).map(({ packetId }) => packetId)).toEqual(sent)
  })
  test('PUBREL comes in the order of the PUBRECs [v3 MQTT-4.6.0-4] [v3 MQTT-4.6.0-6]', async () => {
    const client = await subject.connect(4, persistent(4, 'rel-order'))
    await client.subscribe(['rel/order', 2])
    const publisher = await subject.connect(4)
    for (let n = 0; n < 5; n++) publisher.startPublish({ topic: 'rel/order', qos: 2 })
    const ids = (await client.expectPublishes(5)).map(({ packetId }) => packetId)
    for (const id of ids) client.ack('pubrec', id)
    const released: number[] = []
    for (const _ of ids) released.push((await client.expect('pubrel')).packetId)
    expect(released).toEqual(ids)
  })
})

describe('who gets it', () => {
  test('overlapping subscriptions deliver at the highest QoS among them [v3 MQTT-3.3.5-1]', async () => {
    const client = await subject.connect(4)
    await client.subscribe(['over/#', 0], ['over/+', 2], ['over/x', 1])
    await client.publish({ topic: 'over/x', qos: 2 })
    expect((await client.receive()).qos).toBe(2)
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })
  test('everybody with a matching subscription, connected or not [v3 MQTT-4.5.0-1]', async () => {
    await subject.leaveSession(4, 'all-1', ['all/+', 1])
    const two = await subject.subscriber(4, 'all/#', 1)
    const three = await subject.subscriber(4, 'all/x', 1)
    const publisher = await subject.connect(4)
    await publisher.publish({ topic: 'all/x', qos: 1 })
    const one = await subject.connect(4, persistent(4, 'all-1'))
    for (const client of [one, two, three]) expect((await client.receive()).topic).toBe('all/x')
  })
})
