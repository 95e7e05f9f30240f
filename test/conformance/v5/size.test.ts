/** MQTT 5: Maximum Packet Size, both ways. */
import { describe, expect, test } from 'vitest'
import { encodeRawPublish, encodeRawSubscribe, frame } from '../../support/raw-packets.ts'
import { brokerUnderTest, ending, persistent } from '../table/subject.ts'

const subject = brokerUnderTest({ limits: { packetBytesMax: 1_000 } })

/** A PUBLISH of exactly this many bytes. */
const publishOf = (bytes: number, topic = 'size') => {
  const header = bytes > 129 ? 3 : 2
  return encodeRawPublish({ topic, payload: 'x'.repeat(bytes - header - 2 - topic.length - 1) }, 5)
}

describe('from the client', () => {
  test('a packet of the maximum passes, one byte more ends the connection with 0x95 [v5 MQTT-3.2.2-15]', async () => {
    const client = await subject.subscriber(5, 'size')
    client.send(publishOf(1_000))
    await client.receive()
    client.send(publishOf(1_001))
    expect(await ending(client)).toEqual({ reasonCode: 0x95 })
  })
  test('it ends before the packet is there [v5 MQTT-3.2.2-15]', async () => {
    expect(await subject.provoke(5, Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]))).toEqual({ reasonCode: 0x95 })
  })
  test('a CONNECT that is too large is refused [v5 MQTT-3.1.4-1]', async () => {
    expect((await subject.refused(frame(1, 0, Buffer.alloc(2_000)))).code).toBe(null)
  })
})

describe('from the broker', () => {
  const small = (maximumPacketSize: number, more = {}) => ({
    properties: { maximumPacketSize, sessionExpiryInterval: 60, ...more },
  })

  test('a message that is too large is not sent, one that fits exactly is, at each QoS [v5 MQTT-3.1.2-24] [v5 MQTT-3.1.2-25]', async () => {
    for (const sessionExpiryInterval of [0, 60]) {
      const client = await subject.connect(5, small(100, { sessionExpiryInterval }))
      await client.subscribe(['fits/#', 2])
      const publisher = await subject.connect(5)
      for (const qos of [0, 1, 2]) {
        const room = 100 - (2 + 2 + 'fits/x'.length + (qos > 0 ? 2 : 0) + 1)
        await publisher.publish({ topic: 'fits/x', payload: 'x'.repeat(room + 1), qos })
        await publisher.publish({ topic: 'fits/x', payload: 'y'.repeat(room), qos })
        const before = client.bytesReceived
        const got = await client.receive()
        expect(got.payload.toString()[0]).toBe('y')
        expect(client.bytesReceived - before).toBeLessThanOrEqual(100 + 4)
      }
      await subject.hangUp()
    }
  })
  test('a message that was too large counts as delivered: it neither blocks the window nor comes later [v5 MQTT-3.1.2-25]', async () => {
    await subject.leaveSession(5, 'skip', ['skip', 2])
    const publisher = await subject.connect(5)
    for (let n = 0; n < 10; n++) {
      await publisher.publish({ topic: 'skip', payload: 'x'.repeat(200), qos: 1 + (n % 2) })
      await publisher.publish({ topic: 'skip', payload: String(n), qos: 1 + (n % 2) })
    }
    const client = await subject.connect(5, { clientId: 'skip', clean: false, ...small(60, { receiveMaximum: 2 }) })
    for (let n = 0; n < 10; n++) expect((await client.receive()).payload.toString()).toBe(String(n))
    await client.ping()
    await client.disconnect()
    const wide = await subject.connect(5, persistent(5, 'skip'))
    await wide.ping()
    expect(wide.takeAll('publish')).toEqual([])
  })
  test('the size of a Subscription Identifier counts [v5 MQTT-3.1.2-24]', async () => {
    const client = await subject.connect(5, { clientId: 'i', ...small(40) })
    client.send(encodeRawSubscribe(1, [{ topicFilter: 'id/#' }], 5, { subscriptionIdentifier: 268_435_455 }))
    await client.expect('suback')
    const room = 40 - (2 + 2 + 'id/x'.length + 1)
    for (let missing = 0; missing <= 6; missing++)
      client.startPublish({ topic: 'id/x', payload: 'x'.repeat(room - missing) })
    const got = await client.expectPublishes(2)
    expect(got.map(({ payload }) => room - payload.length)).toEqual([5, 6])
  })
  test('retained messages that are too large are left out [v5 MQTT-3.1.2-24]', async () => {
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'kept/large', payload: 'x'.repeat(200), qos: 1, retain: true })
    await publisher.publish({ topic: 'kept/small', payload: 'x', qos: 1, retain: true })
    const client = await subject.connect(5, small(60))
    await client.subscribe(['kept/#', 1])
    expect((await client.receive()).topic).toBe('kept/small')
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })
  test('CONNACK goes without Response Information that would make it too large [v5 MQTT-3.1.2-24] [v5 MQTT-3.2.2-19] [v5 MQTT-3.2.2-20]', async () => {
    const clientId = 'c'.repeat(100)
    const client = await subject.dial()
    const properties = { maximumPacketSize: 50, requestResponseInformation: 1 }
    const { code, properties: answer } = await client.connect({ version: 5, clientId, properties })
    expect(code).toBe(0)
    expect(answer.responseInformation).toBeUndefined()
    expect(client.bytesReceived).toBeLessThanOrEqual(50)
  })
  test('where not even CONNACK fits, nothing is sent and the connection closes [v5 MQTT-3.1.2-24]', async () => {
    const client = await subject.dial()
    const properties = { maximumPacketSize: 8 }
    await client.connect({ version: 5, clientId: 'tiny', properties }).then(
      () => expect.fail('a CONNACK came'),
      () => {},
    )
    await client.expectClosed()
    expect(client.bytesReceived).toBe(0)
  })
  test('a SUBACK or UNSUBACK that does not fit is not sent: the connection ends [v5 MQTT-3.1.2-24]', async () => {
    const filters = Array.from({ length: 60 }, (_, n) => `many/${n}`)
    const client = await subject.connect(5, small(50))
    const before = client.bytesReceived
    await client.subscribe(...filters).then(
      () => expect.fail('a SUBACK came'),
      () => {},
    )
    expect(await ending(client)).toEqual({ reasonCode: 0x95 })
    expect(client.bytesReceived - before).toBeLessThanOrEqual(50)
  })
  test('DISCONNECT goes without a reason string that would make it too large [v5 MQTT-3.14.2-3] [v5 MQTT-3.14.2-4] [v5 MQTT-3.1.2-24]', async () => {
    const wide = await subject.connect(5)
    wide.send(encodeRawPublish({ topic: '' }, 5))
    expect((await wide.expect('disconnect')).properties.reasonString).toBeDefined()
    const narrow = await subject.connect(5, { clientId: 'n', ...small(40) })
    narrow.send(encodeRawPublish({ topic: '' }, 5))
    const { code, properties } = await narrow.expect('disconnect')
    expect(code).toBe(0x82)
    expect(properties).toEqual({})
  })
})
