/** MQTT 5, chapters 1 and 2: text, integers, fixed header, Packet Identifiers, properties. */
import { describe, expect, test } from 'vitest'
import {
  encodeRawAck,
  encodeRawConnect,
  encodeRawPublish,
  encodeRawSubscribe,
  encodeRawUnsubscribe,
  field,
  frame,
  type RawProperties,
  u16,
} from '../../support/raw-packets.ts'
import { brokerUnderTest } from '../table/subject.ts'

const subject = brokerUnderTest()

const malformed = { reasonCode: 0x81 }
const protocolError = { reasonCode: 0x82 }

const publish = (topic: string | Buffer, properties?: RawProperties) =>
  encodeRawPublish(properties === undefined ? { topic } : { topic, properties }, 5)

/** A PUBLISH to `a` whose property section is these bytes. */
const withSection = (...section: number[]) => frame(3, 0, field('a'), Buffer.from(section))

const badText: [string, Buffer][] = [
  ['a surrogate', Buffer.from('61eda080', 'hex')],
  ['an overlong form', Buffer.from('61c0af', 'hex')],
  ['a sequence cut short', Buffer.from('61e282', 'hex')],
  ['U+0000', Buffer.from('6100', 'hex')],
]

for (const [name, text] of badText) {
  const pair = [['k', text]] as unknown as [string, string][]
  const name2 = [[text, 'v']] as unknown as [string, string][]

  test(`${name} in PUBLISH is malformed: topic and every text property [v5 MQTT-1.5.4-1] [v5 MQTT-1.5.4-2] [v5 MQTT-1.5.7-1] [v5 MQTT-3.3.2-1] [v5 MQTT-3.3.2-13] [v5 MQTT-3.3.2-19]`, async () => {
    for (const bytes of [
      publish(text),
      publish('a', { contentType: text }),
      publish('a', { responseTopic: text }),
      publish('a', { userProperty: pair }),
      publish('a', { userProperty: name2 }),
    ])
      expect(await subject.provoke(5, bytes)).toEqual(malformed)
  })

  test(`${name} in SUBSCRIBE and UNSUBSCRIBE is malformed [v5 MQTT-1.5.4-1] [v5 MQTT-1.5.4-2] [v5 MQTT-3.8.3-1] [v5 MQTT-3.10.3-1] [v5 MQTT-4.7.3-2]`, async () => {
    expect(await subject.provoke(5, encodeRawSubscribe(1, [{ topicFilter: text }], 5))).toEqual(malformed)
    expect(await subject.provoke(5, encodeRawUnsubscribe(1, [text], 5))).toEqual(malformed)
    const subscribe = encodeRawSubscribe(1, [{ topicFilter: 'a' }], 5, { userProperty: pair })
    expect(await subject.provoke(5, subscribe)).toEqual(malformed)
  })

  test(`${name} in CONNECT is malformed [v5 MQTT-1.5.4-1] [v5 MQTT-1.5.4-2] [v5 MQTT-3.1.3-4] [v5 MQTT-3.1.3-11] [v5 MQTT-3.1.3-12] [v5 MQTT-3.1.4-1]`, async () => {
    for (const options of [
      { clientId: text },
      { clientId: 'u', userName: text },
      { clientId: 'w', will: { topic: text } },
      { clientId: 'w', will: { topic: 'w', properties: { contentType: text } } },
      { clientId: 'p', properties: { userProperty: pair } },
    ])
      expect(await subject.refused({ version: 5, ...options })).toEqual({ code: 0x81 })
  })
}

test('EF BB BF stays where it is: in topics, filters and properties [v5 MQTT-1.5.4-3] [v5 MQTT-4.7.3-4]', async () => {
  const bom = '\uFEFF'
  const client = await subject.connect(5)
  await client.subscribe(`${bom}bom/#`, 'bom/#')
  const properties = {
    contentType: `${bom}text`,
    responseTopic: `${bom}reply`,
    userProperty: [[`${bom}k`, `${bom}v`]] as [string, string][],
  }
  client.startPublish({ topic: `${bom}bom/1`, properties })
  const got = await client.receive()
  expect(got.topic).toBe(`${bom}bom/1`)
  expect(got.properties).toEqual(properties)
  await client.ping()
  expect(client.takeAll('publish')).toEqual([])
})

test('EF BB BF stays in a will [v5 MQTT-1.5.4-3]', async () => {
  const watcher = await subject.subscriber(5, '\uFEFFwill')
  const properties = { contentType: '\uFEFFtext', userProperty: [['\uFEFFk', '\uFEFF']] as [string, string][] }
  const client = await subject.connect(5, { will: { topic: '\uFEFFwill', properties } })
  client.reset()
  expect((await watcher.receive()).properties).toEqual(properties)
})

describe('Variable Byte Integer', () => {
  test('a Property Length in more bytes than needed is malformed [v5 MQTT-1.5.5-1]', async () => {
    expect(await subject.provoke(5, withSection(0x80, 0x00))).toEqual(malformed)
    expect(await subject.provoke(5, withSection(0x82, 0x00, 0x01, 0x01))).toEqual(malformed)
  })
  test('a Subscription Identifier in more bytes than needed is malformed [v5 MQTT-1.5.5-1]', async () => {
    const section = Buffer.from([3, 0x0b, 0x81, 0x00])
    expect(await subject.provoke(5, frame(8, 2, u16(1), section, field('a'), Buffer.from([0])))).toEqual(malformed)
  })
  test('a Remaining Length of five bytes is malformed [v5 MQTT-1.5.5-1] [v5 MQTT-4.13.1-1]', async () => {
    expect(await subject.provoke(5, Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01]))).toEqual(malformed)
  })
  test('each length of a packet that the broker sends is in its shortest form [v5 MQTT-1.5.5-1]', async () => {
    const client = await subject.subscriber(5, 'length/#')
    for (const bytes of [0, 100, 112, 113, 114, 127, 128, 16_360, 16_370, 16_384, 70_000]) {
      const payload = Buffer.alloc(bytes, 'x')
      const before = client.bytesReceived
      client.startPublish({ topic: 'length/x', payload })
      await client.receive()
      const remaining = 2 + 8 + 1 + bytes
      const width = remaining < 128 ? 1 : remaining < 16_384 ? 2 : 3
      expect(client.bytesReceived - before).toBe(1 + width + remaining)
    }
  })
})

describe('fixed header', () => {
  const empty = Buffer.from([0])
  test('SUBSCRIBE with other flags than 0010 is malformed [v5 MQTT-3.8.1-1] [v5 MQTT-2.1.3-1]', async () => {
    for (const flags of [0, 1, 3, 6, 10, 15])
      expect(await subject.provoke(5, frame(8, flags, u16(1), empty, field('a'), empty))).toEqual(malformed)
  })
  test('UNSUBSCRIBE with other flags than 0010 is malformed [v5 MQTT-3.10.1-1] [v5 MQTT-2.1.3-1]', async () => {
    for (const flags of [0, 1, 3, 6, 10, 15])
      expect(await subject.provoke(5, frame(10, flags, u16(1), empty, field('a')))).toEqual(malformed)
  })
  test('PUBREL with other flags than 0010 is malformed [v5 MQTT-3.6.1-1] [v5 MQTT-2.1.3-1]', async () => {
    for (const flags of [0, 1, 3, 6, 10, 15])
      expect(await subject.provoke(5, frame(6, flags, u16(1)))).toEqual(malformed)
  })
  test('flags on other packets are malformed [v5 MQTT-2.1.3-1]', async () => {
    for (const type of [4, 5, 7]) expect(await subject.provoke(5, frame(type, 1, u16(1)))).toEqual(malformed)
    expect(await subject.provoke(5, frame(12, 8))).toEqual(malformed)
    const connect = encodeRawConnect({ version: 5, clientId: 'flags' })
    connect[0] = 0x11
    expect(await subject.refused(connect)).toEqual({ code: null })
  })
  test('DISCONNECT with flags is malformed [v5 MQTT-3.14.1-1] [v5 MQTT-2.1.3-1]', async () => {
    expect(await subject.provoke(5, frame(14, 1))).toEqual(malformed)
  })
  test('AUTH with flags is malformed [v5 MQTT-3.15.1-1] [v5 MQTT-2.1.3-1]', async () => {
    expect(await subject.provoke(5, frame(15, 1, Buffer.from([0x18, 0])))).toEqual(malformed)
  })
  test('type 0, and types that only a server sends, end the connection [v5 MQTT-4.13.1-1]', async () => {
    expect(await subject.provoke(5, frame(0, 0))).toEqual(malformed)
    for (const type of [2, 9, 11, 13])
      expect((await subject.provoke(5, frame(type, 0, u16(1)))).reasonCode).toBeGreaterThan(0x80)
  })
  test('what the broker sends has the listed flags [v5 MQTT-2.1.3-1]', async () => {
    // The raw client refuses packets whose flags are wrong; here all kinds of them are made to come.
    const client = await subject.connect(5)
    await client.subscribe(['flags/q', 2])
    for (const qos of [0, 1, 2]) {
      await client.publish({ topic: 'flags/q', qos })
      await client.receive()
    }
    await client.unsubscribe('flags/q')
    await client.ping()
    client.send(encodeRawConnect({ version: 5 }))
    await client.expect('disconnect')
  })
})

describe('Packet Identifiers', () => {
  test('0 ends the connection [v5 MQTT-2.2.1-3]', async () => {
    for (const bytes of [
      encodeRawSubscribe(0, [{ topicFilter: 'a' }], 5),
      encodeRawUnsubscribe(0, ['a'], 5),
      encodeRawPublish({ topic: 'a', qos: 1, packetId: 0 }, 5),
      encodeRawPublish({ topic: 'a', qos: 2, packetId: 0 }, 5),
    ])
      expect([0x81, 0x82]).toContain((await subject.provoke(5, bytes)).reasonCode)
  })
  test('a QoS 0 PUBLISH has none: its properties follow the topic [v5 MQTT-2.2.1-2]', async () => {
    const client = await subject.subscriber(5, 'id/none')
    client.send(frame(3, 0, field('id/none'), Buffer.from([0]), Buffer.from('xy')))
    const got = await client.receive()
    expect(got.payload.toString()).toBe('xy')
    expect(got.packetId).toBe(0)
  })
  test('acknowledgements carry the identifier they were asked about [v5 MQTT-2.2.1-5] [v5 MQTT-2.2.1-6] [v5 MQTT-3.8.4-2] [v5 MQTT-3.10.4-5]', async () => {
    const client = await subject.connect(5)
    client.send(
      encodeRawSubscribe(11, [{ topicFilter: 'id/x' }], 5),
      encodeRawUnsubscribe(65535, ['id/x'], 5),
      encodeRawPublish({ topic: 'id/y', qos: 1, packetId: 300 }, 5),
      encodeRawPublish({ topic: 'id/y', qos: 2, packetId: 301 }, 5),
    )
    expect((await client.expect('suback')).packetId).toBe(11)
    expect((await client.expect('unsuback')).packetId).toBe(65535)
    expect((await client.expect('puback')).packetId).toBe(300)
    expect((await client.expect('pubrec')).packetId).toBe(301)
    client.send(encodeRawAck('pubrel', 301))
    expect((await client.expect('pubcomp')).packetId).toBe(301)
  })
  test('messages in flight to one client have identifiers of their own, none of them 0 [v5 MQTT-2.2.1-4] [v5 MQTT-4.3.2-1] [v5 MQTT-4.3.3-1]', async () => {
    const client = await subject.subscriber(5, 'id/many', 2)
    const publisher = await subject.connect(5)
    for (let n = 0; n < 50; n++) publisher.startPublish({ topic: 'id/many', qos: 1 + (n % 2) })
    const ids = (await client.expectPublishes(50)).map((packet) => packet.packetId)
    expect(new Set(ids).size).toBe(50)
    expect(ids).not.toContain(0)
  })
})

describe('properties', () => {
  test('a packet without a Property Length is malformed [v5 MQTT-2.2.2-1]', async () => {
    expect(await subject.provoke(5, frame(3, 0, field('a')))).toEqual(malformed)
    expect(await subject.provoke(5, frame(3, 2, field('a'), u16(1)))).toEqual(malformed)
    expect(await subject.provoke(5, frame(8, 2, u16(1)))).toEqual(malformed)
    const noLength = frame(1, 0, field('MQTT'), Buffer.from([5, 2]), u16(0))
    expect(await subject.refused(noLength)).toEqual({ code: 0x81 })
  })
  test('no properties is a length of 0 in what the broker sends [v5 MQTT-2.2.2-1]', async () => {
    const client = await subject.connect(5)
    const before = client.bytesReceived
    await client.subscribe('none')
    // Two bytes of header, the identifier, the Property Length, one reason code.
    expect(client.bytesReceived - before).toBe(2 + 2 + 1 + 1)
  })
  test('an unknown one, or one of another packet, is malformed [v5 MQTT-4.13.1-1]', async () => {
    expect(await subject.provoke(5, withSection(2, 0x04, 0x00))).toEqual(malformed)
    expect(await subject.provoke(5, publish('a', { receiveMaximum: 1 }))).toEqual(malformed)
    expect(await subject.provoke(5, publish('a', { willDelayInterval: 1 }))).toEqual(malformed)
    expect(await subject.refused({ version: 5, clientId: 'x', properties: { contentType: 'a' } })).toEqual({
      code: 0x81,
    })
  })
  test('one that is cut short, or reaches beyond its packet, is malformed [v5 MQTT-4.13.1-1]', async () => {
    expect(await subject.provoke(5, withSection(3, 0x02, 0x00, 0x00))).toEqual(malformed)
    expect(await subject.provoke(5, withSection(9, 0x01, 0x01))).toEqual(malformed)
  })
  test('one that is given twice is a Protocol Error [v5 MQTT-4.13.1-1]', async () => {
    expect(await subject.provoke(5, withSection(4, 0x01, 0x01, 0x01, 0x01))).toEqual(protocolError)
    expect(await subject.provoke(5, withSection(6, 0x23, 0, 1, 0x23, 0, 1))).toEqual(protocolError)
    const twice = Buffer.from([6, 0x21, 0, 5, 0x21, 0, 5])
    const connect = frame(1, 0, field('MQTT'), Buffer.from([5, 2]), u16(0), twice, field('c'))
    expect(await subject.refused(connect)).toEqual({ code: 0x82 })
  })
  test('a value outside its range is a Protocol Error [v5 MQTT-4.13.1-1] [v5 MQTT-3.1.4-1]', async () => {
    expect(await subject.provoke(5, publish('a', { payloadFormatIndicator: 2 }))).toEqual(protocolError)
    for (const properties of [
      { receiveMaximum: 0 },
      { maximumPacketSize: 0 },
      { requestProblemInformation: 2 },
      { requestResponseInformation: 2 },
      { authenticationData: Buffer.from('x') },
    ] as RawProperties[])
      expect(await subject.refused({ version: 5, clientId: 'x', properties })).toEqual({ code: 0x82 })
    const identifier = encodeRawSubscribe(1, [{ topicFilter: 'a' }], 5, { subscriptionIdentifier: 0 })
    expect(await subject.provoke(5, identifier)).toEqual(protocolError)
  })
})
