/** Strictness about bytes: facts about stock Aedes 42-45, and what we do instead. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type EmbeddedBroker, embedBroker } from '../../support/broker-inline.ts'
import { RawClient } from '../../support/raw-client.ts'
import {
  encodeRawConnect,
  encodeRawPublish,
  encodeRawSubscribe,
  encodeRawUnsubscribe,
  frame,
  type RawConnect,
  u16,
} from '../../support/raw-packets.ts'

let broker: EmbeddedBroker
beforeAll(async () => {
  broker = await embedBroker()
})
afterAll(() => broker?.stop())

const open = (clientId: string, clean = true) => RawClient.connected(broker.mqtt, { clientId, clean })

/** The broker must close the connection on these bytes, and answer them with nothing. */
async function mustClose(bytes: Buffer): Promise<void> {
  const client = await open('strict')
  client.send(bytes)
  await client.expectClosed(2_000)
  await client.expectNothing(0)
}

async function mustNotAccept(bytes: Buffer): Promise<void> {
  const client = await RawClient.open(broker.mqtt)
  client.send(bytes)
  await client.expectClosed(2_000)
  for (const connack of client.takeAll('connack')) expect(connack.code).not.toBe(0)
}

const badStrings = {
  'U+D800': Buffer.from([0x61, 0xed, 0xa0, 0x80]),
  'U+DFFF': Buffer.from([0x61, 0xed, 0xbf, 0xbf]),
  'U+0000': Buffer.from([0x61, 0x00, 0x62]),
  'an overlong form': Buffer.from([0x61, 0xc0, 0xaf]),
  'a cut sequence': Buffer.from([0x61, 0xe2, 0x82]),
}

describe.each(Object.entries(badStrings))('aedes#42: %s is refused [v3 MQTT-1.5.3-1] [v3 MQTT-1.5.3-2]', (_, bad) => {
  test('as client id', () => mustNotAccept(encodeRawConnect({ clientId: bad })))
  test('as user name', () => mustNotAccept(encodeRawConnect({ clientId: 'u', userName: bad, password: 'p' })))
  test('as will topic', () => mustNotAccept(encodeRawConnect({ clientId: 'w', will: { topic: bad } })))
  test('as Topic Name', () => mustClose(encodeRawPublish({ topic: bad })))
  test('as Topic Name at QoS 1', () => mustClose(encodeRawPublish({ topic: bad, qos: 1, packetId: 1 })))
  test('as Topic Filter', () => mustClose(encodeRawSubscribe(1, [{ topicFilter: bad }])))
  test('as Topic Filter of UNSUBSCRIBE', () => mustClose(encodeRawUnsubscribe(1, [bad])))
})

test('aedes#42: U+FEFF is a character like others, also in front [v3 MQTT-1.5.3-3]', async () => {
  const client = await open('bom')
  await client.subscribe('\ufefftopic', 'topic')
  client.startPublish({ topic: '\ufefftopic' })
  expect((await client.receive()).topic).toBe('\ufefftopic')
  await client.ping()
  await client.expectNothing(0)
  await client.disconnect()
})

describe('aedes#43: CONNECT is checked', () => {
  const cases: [string, RawConnect][] = [
    ['will QoS 3 [v3 MQTT-3.1.2-14]', { clientId: 'c', will: { topic: 'w', qos: 3 } }],
    ['an empty will topic [v3 MQTT-4.7.3-1]', { clientId: 'c', will: { topic: '' } }],
    ['a password without a user name [v3 MQTT-3.1.2-22]', { clientId: 'c', password: 'p' }],
    ['payload that no flag announces', { clientId: 'c', trailing: Buffer.from([0, 1, 0x78]) }],
    ['the reserved flag [v3 MQTT-3.1.2-3]', { clientId: 'c', connectFlags: 0x03 }],
    ['will QoS without a will [v3 MQTT-3.1.2-13]', { clientId: 'c', connectFlags: 0x0a }],
    ['will RETAIN without a will [v3 MQTT-3.1.2-15]', { clientId: 'c', connectFlags: 0x22 }],
    ['a user name flag without a user name', { clientId: 'c', connectFlags: 0x82 }],
  ]
  test.each(cases)('%s is refused', (_, options) => mustNotAccept(encodeRawConnect(options)))

  test('a second CONNECT ends the connection [v3 MQTT-3.1.0-2]', () =>
    mustClose(encodeRawConnect({ clientId: 'again' })))
  test('anything before CONNECT ends the connection [v3 MQTT-3.1.0-1]', () => mustNotAccept(frame(12, 0)))
  test('an unknown protocol level gets CONNACK 1 [v3 MQTT-3.1.2-2] or 0x84 [v5 MQTT-3.1.2-2]', async () => {
    const client = await RawClient.open(broker.mqtt)
    expect([1, 0x84]).toContain((await client.connect({ version: 6 as never, clientId: 'v6' })).code)
    await client.expectClosed()
  })
})

describe('aedes#44: packets that break the rules end the connection', () => {
  const cases: [string, Buffer][] = [
    ['PUBLISH with Packet Identifier 0 [v3 MQTT-2.3.1-1]', encodeRawPublish({ topic: 'p', qos: 1, packetId: 0 })],
    ['SUBSCRIBE with Packet Identifier 0 [v3 MQTT-2.3.1-1]', encodeRawSubscribe(0, [{ topicFilter: 'p' }])],
    ['UNSUBSCRIBE with Packet Identifier 0 [v3 MQTT-2.3.1-1]', encodeRawUnsubscribe(0, ['p'])],
    ['PUBLISH with QoS 3 [v3 MQTT-3.3.1-4]', encodeRawPublish({ topic: 'p', qos: 3, packetId: 1 })],
    ['PUBLISH with DUP at QoS 0 [v3 MQTT-3.3.1-2]', encodeRawPublish({ topic: 'p', dup: true })],
    ['PUBLISH to an empty topic [v3 MQTT-4.7.3-1]', encodeRawPublish({ topic: '' })],
    ['PUBLISH to a topic with + [v3 MQTT-3.3.2-2]', encodeRawPublish({ topic: 'a/+' })],
    ['PUBLISH to a topic with # [v3 MQTT-3.3.2-2]', encodeRawPublish({ topic: 'a/#' })],
    ['SUBSCRIBE without filters [v3 MQTT-3.8.3-3]', encodeRawSubscribe(1, [])],
    ['SUBSCRIBE with QoS 3 [v3 MQTT-3-8.3-4]', encodeRawSubscribe(1, [{ topicFilter: 'p', options: 3 }])],
    ['SUBSCRIBE with reserved bits [v3 MQTT-3-8.3-4]', encodeRawSubscribe(1, [{ topicFilter: 'p', options: 4 }])],
    ['UNSUBSCRIBE without filters [v3 MQTT-3.10.3-2]', encodeRawUnsubscribe(1, [])],
    ['PUBACK of one byte', frame(4, 0, Buffer.from([0]))],
    ['PUBACK of three bytes', frame(4, 0, Buffer.from([0, 1, 0]))],
    ['an empty PUBREC', frame(5, 0)],
    ['PUBREC of one byte', frame(5, 0, Buffer.from([1]))],
    ['PUBREL of one byte', frame(6, 2, Buffer.from([1]))],
    ['PUBCOMP of four bytes', frame(7, 0, u16(1), u16(1))],
    ['PUBACK with Packet Identifier 0', frame(4, 0, u16(0))],
    ['PUBREL with Packet Identifier 0', frame(6, 2, u16(0))],
    ['PINGREQ with a body', frame(12, 0, Buffer.from([0]))],
    ['DISCONNECT with a body', frame(14, 0, Buffer.from([0]))],
    ['SUBSCRIBE with flags 0 [v3 MQTT-3.8.1-1]', frame(8, 0, u16(1), u16(1), Buffer.from('a\0'))],
    ['UNSUBSCRIBE with flags 0 [v3 MQTT-3.10.1-1]', frame(10, 0, u16(1), u16(1), Buffer.from('a'))],
    ['PUBREL with flags 0 [v3 MQTT-3.6.1-1]', frame(6, 0, u16(1))],
    ['PINGREQ with flags [v3 MQTT-2.2.2-2]', frame(12, 1)],
    ['packet type 0', frame(0, 0)],
    ['packet type 15 in MQTT 3', frame(15, 0)],
    ['a CONNACK from a client', frame(2, 0, u16(0))],
    ['a SUBACK from a client', frame(9, 0, u16(1), Buffer.from([0]))],
    ['a PINGRESP from a client', frame(13, 0)],
  ]
  test.each(cases)('%s', (_, bytes) => mustClose(bytes))

  test('an acknowledgement of the wrong type for its flow', async () => {
    const subscriber = await open('flow-sub')
    await subscriber.subscribe(['flow', 1])
    const publisher = await open('flow-pub')
    await publisher.publish({ topic: 'flow', qos: 1 })
    const { packetId } = await subscriber.expect('publish')
    subscriber.ack('pubrec', packetId)
    await subscriber.expectClosed(2_000)
    expect(subscriber.takeAll('pubrel')).toEqual([])
    await publisher.disconnect()
  })

  test('a PUBACK for a QoS 2 message', async () => {
    const subscriber = await open('flow-sub2', false)
    await subscriber.subscribe(['flow2', 2])
    const publisher = await open('flow-pub2')
    await publisher.publish({ topic: 'flow2', payload: 'still owed', qos: 2 })
    const { packetId } = await subscriber.expect('publish')
    subscriber.ack('puback', packetId)
    await subscriber.expectClosed(2_000)
    const again = await open('flow-sub2', false)
    expect((await again.receive()).payload.toString()).toBe('still owed')
    await Promise.all([again.disconnect(), publisher.disconnect()])
  })

  test('a PUBREL for an unknown identifier is answered with PUBCOMP [v3 MQTT-4.3.3-2]', async () => {
    const client = await open('flow-rel')
    client.ack('pubrel', 77)
    expect(await client.expect('pubcomp')).toMatchObject({ packetId: 77 })
    await client.disconnect()
  })
})

describe('aedes#45: retained messages', () => {
  test('a retained PUBLISH directly followed by SUBSCRIBE on the same connection is delivered once', async () => {
    const client = await open('r45')
    client.send(
      encodeRawPublish({ topic: 'r45', payload: 'x', retain: true }),
      encodeRawSubscribe(100, [{ topicFilter: 'r45' }]),
    )
    await client.expect('suback')
    await client.ping()
    expect(await client.payloadsWithin(50)).toEqual(['x'])
    await client.disconnect()
  })

  test('a retained message that was queued for an offline subscriber arrives with RETAIN 0 [v3 MQTT-3.3.1-9]', async () => {
    const away = await open('r45-sub', false)
    await away.subscribe(['r45/offline', 1])
    await away.disconnect()
    const publisher = await open('r45-pub')
    await publisher.publish({ topic: 'r45/offline', qos: 1, retain: true })
    const back = await open('r45-sub', false)
    expect(await back.receive()).toMatchObject({ retain: false })
    await Promise.all([back.disconnect(), publisher.disconnect()])
  })

  test('`r45t/topic/+` finds what is retained on `r45t/topic/` [v3 MQTT-4.7.1-3]', async () => {
    const publisher = await open('r45-pub2')
    await publisher.publish({ topic: 'r45t/topic/', payload: 'here', qos: 1, retain: true })
    await publisher.subscribe('r45t/topic/+')
    expect(await publisher.receive()).toMatchObject({ topic: 'r45t/topic/', retain: true })
    await publisher.disconnect()
  })

  test('an empty payload removes the retained message [v3 MQTT-3.3.1-10] and reaches live subscribers', async () => {
    const client = await open('r45-clear')
    await client.publish({ topic: 'r45/clear', payload: 'x', qos: 1, retain: true })
    await client.subscribe('r45/clear')
    expect(await client.receive()).toMatchObject({ retain: true })
    await client.publish({ topic: 'r45/clear', qos: 1, retain: true })
    const removal = await client.receive()
    expect([removal.payload.length, removal.retain]).toEqual([0, false])
    await client.subscribe('r45/clear')
    await client.ping()
    await client.expectNothing(50)
    await client.disconnect()
  })

  test('a filter given twice in one SUBSCRIBE yields two return codes; the last one counts [v3 MQTT-3.8.4-5]', async () => {
    const client = await open('r45-twice')
    expect((await client.subscribe(['r45/twice', 0], ['r45/twice', 1])).codes).toEqual([0, 1])
    await client.publish({ topic: 'r45/twice', qos: 1 })
    expect(await client.receive()).toMatchObject({ qos: 1 })
    await client.ping()
    await client.expectNothing(50)
    await client.disconnect()
  })
})
