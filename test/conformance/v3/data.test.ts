/** MQTT 3.1.1, chapters 1 and 2: text, fixed header, Packet Identifiers. */
import { describe, expect, test } from 'vitest'
import {
  encodeRawAck,
  encodeRawConnect,
  encodeRawPublish,
  encodeRawSubscribe,
  encodeRawUnsubscribe,
  field,
  frame,
  u16,
} from '../../support/raw-packets.ts'
import { brokerUnderTest } from '../table/subject.ts'

const subject = brokerUnderTest()

const illFormed: [string, Buffer][] = [
  ['a surrogate', Buffer.from('61eda080', 'hex')],
  ['an overlong form', Buffer.from('61c0af', 'hex')],
  ['a sequence cut short', Buffer.from('61e282', 'hex')],
  ['a code point above U+10FFFF', Buffer.from('61f4908080', 'hex')],
]

for (const [name, bytes] of illFormed) {
  test(`${name} ends the connection wherever text stands [v3 MQTT-1.5.3-1] [v3 MQTT-3.3.2-1] [v3 MQTT-3.8.3-1] [v3 MQTT-3.10.3-1]`, async () => {
    await subject.provoke(4, encodeRawPublish({ topic: bytes }))
    await subject.provoke(4, encodeRawSubscribe(1, [{ topicFilter: bytes }]))
    await subject.provoke(4, encodeRawUnsubscribe(1, [bytes]))
  })

  test(`${name} in CONNECT ends the connection without CONNACK [v3 MQTT-1.5.3-1] [v3 MQTT-3.1.3-4] [v3 MQTT-3.1.3-10] [v3 MQTT-3.1.3-11]`, async () => {
    expect(await subject.refused({ clientId: bytes })).toEqual({ code: null })
    expect(await subject.refused({ clientId: 'u', userName: bytes })).toEqual({ code: null })
    expect(await subject.refused({ clientId: 'w', will: { topic: bytes } })).toEqual({ code: null })
  })
}

test('U+0000 ends the connection wherever text stands [v3 MQTT-1.5.3-2] [v3 MQTT-4.7.3-2]', async () => {
  const nul = Buffer.from('a\0b')
  await subject.provoke(4, encodeRawPublish({ topic: nul }))
  await subject.provoke(4, encodeRawSubscribe(1, [{ topicFilter: nul }]))
  await subject.provoke(4, encodeRawUnsubscribe(1, [nul]))
  expect(await subject.refused({ clientId: nul })).toEqual({ code: null })
  expect(await subject.refused({ clientId: 'u', userName: nul })).toEqual({ code: null })
  expect(await subject.refused({ clientId: 'w', will: { topic: nul } })).toEqual({ code: null })
})

test('EF BB BF in front of a topic is part of it [v3 MQTT-1.5.3-3] [v3 MQTT-4.7.3-4]', async () => {
  const client = await subject.connect(4)
  await client.subscribe('\uFEFFbom/#', 'bom/#')
  client.startPublish({ topic: '\uFEFFbom/1' })
  client.startPublish({ topic: 'bom/2' })
  expect((await client.expectPublishes(2)).map((packet) => packet.topic)).toEqual(['\uFEFFbom/1', 'bom/2'])
  await client.ping()
  expect(client.takeAll('publish')).toEqual([])
})

describe('fixed header', () => {
  const body = {
    subscribe: [u16(1), field('a'), Buffer.from([0])],
    unsubscribe: [u16(1), field('a')],
  }

  test('SUBSCRIBE with other flags than 0010 ends the connection [v3 MQTT-3.8.1-1] [v3 MQTT-2.2.2-2]', async () => {
    for (const flags of [0, 1, 3, 6, 10, 15]) await subject.provoke(4, frame(8, flags, ...body.subscribe))
  })
  test('UNSUBSCRIBE with other flags than 0010 ends the connection [v3 MQTT-3.10.1-1] [v3 MQTT-2.2.2-2]', async () => {
    for (const flags of [0, 1, 3, 6, 10, 15]) await subject.provoke(4, frame(10, flags, ...body.unsubscribe))
  })
  test('PUBREL with other flags than 0010 ends the connection [v3 MQTT-3.6.1-1] [v3 MQTT-2.2.2-2]', async () => {
    for (const flags of [0, 1, 3, 6, 10, 15]) await subject.provoke(4, frame(6, flags, u16(1)))
  })
  test('flags on packets that have none end the connection [v3 MQTT-2.2.2-1] [v3 MQTT-2.2.2-2] [v3 MQTT-3.14.1-1]', async () => {
    for (const type of [4, 5, 7]) await subject.provoke(4, frame(type, 1, u16(1)))
    await subject.provoke(4, frame(12, 2))
    await subject.provoke(4, frame(14, 1))
    const connect = encodeRawConnect({ clientId: 'flags' })
    connect[0] = 0x11
    expect(await subject.refused(connect)).toEqual({ code: null })
  })
  test('packet types 0 and 15, and those only a server sends, end the connection [v3 MQTT-4.8.0-1]', async () => {
    for (const type of [0, 15, 2, 9, 11, 13]) await subject.provoke(4, frame(type, 0, u16(1)))
  })
  test('DISCONNECT with flags publishes the will, as any violation does [v3 MQTT-3.14.1-1] [v3 MQTT-4.8.0-1]', async () => {
    const watcher = await subject.subscriber(4, 'flags/will')
    const client = await subject.connect(4, { will: { topic: 'flags/will', payload: 'gone' } })
    client.send(frame(14, 4))
    expect((await watcher.receive()).payload.toString()).toBe('gone')
  })
  test('what the broker sends has the listed flags, in every packet of this file and the next [v3 MQTT-2.2.2-1]', async () => {
    // The raw client refuses packets whose flags are wrong; here all kinds of them are made to come.
    const client = await subject.connect(4)
    await client.subscribe(['flags/q', 2])
    await client.publish({ topic: 'flags/q', qos: 2 })
    await client.receive()
    await client.publish({ topic: 'flags/q', qos: 1 })
    await client.receive()
    await client.unsubscribe('flags/q')
    await client.ping()
  })
})

describe('Packet Identifiers', () => {
  test('0 ends the connection [v3 MQTT-2.3.1-1]', async () => {
    await subject.provoke(4, encodeRawSubscribe(0, [{ topicFilter: 'a' }]))
    await subject.provoke(4, encodeRawUnsubscribe(0, ['a']))
    await subject.provoke(4, encodeRawPublish({ topic: 'a', qos: 1, packetId: 0 }))
    await subject.provoke(4, encodeRawPublish({ topic: 'a', qos: 2, packetId: 0 }))
  })
  test('a QoS 0 PUBLISH has none: two bytes after the topic are payload [v3 MQTT-2.3.1-5]', async () => {
    const client = await subject.subscriber(4, 'id/none')
    client.send(frame(3, 0, field('id/none'), u16(7)))
    expect((await client.receive()).payload).toEqual(u16(7))
  })
  test('acknowledgements carry the identifier they were asked about [v3 MQTT-2.3.1-6] [v3 MQTT-2.3.1-7]', async () => {
    const client = await subject.connect(4)
    client.send(
      encodeRawSubscribe(11, [{ topicFilter: 'id/x' }]),
      encodeRawUnsubscribe(65535, ['id/x']),
      encodeRawPublish({ topic: 'id/y', qos: 1, packetId: 300 }),
      encodeRawPublish({ topic: 'id/y', qos: 2, packetId: 301 }),
    )
    expect((await client.expect('suback')).packetId).toBe(11)
    expect((await client.expect('unsuback')).packetId).toBe(65535)
    expect((await client.expect('puback')).packetId).toBe(300)
    expect((await client.expect('pubrec')).packetId).toBe(301)
    client.send(encodeRawAck('pubrel', 301))
    expect((await client.expect('pubcomp')).packetId).toBe(301)
  })
  test('messages in flight to one client have identifiers of their own, none of them 0 [v3 MQTT-2.3.1-4] [v3 MQTT-2.3.1-1] [v3 MQTT-4.3.2-1] [v3 MQTT-4.3.3-1]', async () => {
    const client = await subject.subscriber(4, 'id/many', 2)
    const publisher = await subject.connect(4)
    for (let n = 0; n < 50; n++) publisher.startPublish({ topic: 'id/many', qos: 1 + (n % 2) })
    const ids = (await client.expectPublishes(50)).map((packet) => packet.packetId)
    expect(new Set(ids).size).toBe(50)
    expect(ids).not.toContain(0)
  })
  test('an identifier may be used again after its acknowledgement [v3 MQTT-2.3.1-4]', async () => {
    const client = await subject.subscriber(4, 'id/again', 1)
    for (let n = 0; n < 3; n++) {
      await client.publish({ topic: 'id/again', payload: String(n), qos: 1, packetId: 5 })
      expect((await client.receive()).payload.toString()).toBe(String(n))
    }
  })
})
