/** MQTT 5, section 4.8.2: Shared Subscriptions. */
import { describe, expect, test } from 'vitest'
import type { RawClient } from '../../support/raw-client.ts'
import { encodeRawAck } from '../../support/raw-packets.ts'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest()

const drain = async (client: RawClient): Promise<string[]> => {
  await client.ping()
  return client.takeAll('publish').map(({ payload }) => payload.toString())
}

describe('filter', () => {
  test('that breaks the form of $share has 0x8F [v5 MQTT-4.8.2-1] [v5 MQTT-4.8.2-2]', async () => {
    const client = await subject.connect(5)
    const bad = [
      '$share/',
      '$share//a',
      '$share/g',
      '$share/g/',
      '$share/g+/a',
      '$share/#/a',
      '$share/+/a',
      '$share/g/a#',
    ]
    expect((await client.subscribe(...bad, '$share/g/a/#', '$share/ü/+')).codes).toEqual([...bad.map(() => 0x8f), 0, 0])
  })
  test('with the same name and another filter is another subscription [v5 MQTT-4.8.2-2]', async () => {
    const one = await subject.subscriber(5, '$share/g/name/1')
    const two = await subject.subscriber(5, '$share/g/name/2')
    two.startPublish({ topic: 'name/1', payload: 'x' })
    one.startPublish({ topic: 'name/2', payload: 'y' })
    expect((await one.receive()).payload.toString()).toBe('x')
    expect((await two.receive()).payload.toString()).toBe('y')
  })
  test('gets no retained messages when it is made', async () => {
    const client = await subject.connect(5)
    await client.publish({ topic: 'kept', payload: 'x', qos: 1, retain: true })
    await client.subscribe(['$share/g/kept', 1])
    expect(await drain(client)).toEqual([])
  })
})

describe('delivery', () => {
  test('each message goes to one member of each group, and to everybody else', async () => {
    const members = [await subject.subscriber(5, '$share/a/each'), await subject.subscriber(5, '$share/a/each')]
    const other = await subject.subscriber(5, '$share/b/each')
    const ordinary = await subject.subscriber(5, 'each')
    const publisher = await subject.connect(5)
    const wanted = Array.from({ length: 20 }, (_, n) => String(n))
    for (const payload of wanted) publisher.startPublish({ topic: 'each', payload })
    await publisher.ping()
    const parts = [await drain(members[0]!), await drain(members[1]!)]
    expect(parts.every((part) => part.length > 0)).toBe(true)
    expect(parts.flat().sort()).toEqual([...wanted].sort())
    expect(await drain(other)).toEqual(wanted)
    expect(await drain(ordinary)).toEqual(wanted)
  })
  test('each member gets its messages at its granted QoS [v5 MQTT-4.8.2-3]', async () => {
    const members = [0, 1, 2].map((qos) => subject.subscriber(5, '$share/g/granted', qos))
    const clients = await Promise.all(members)
    const publisher = await subject.connect(5)
    for (let n = 0; n < 9; n++) await publisher.publish({ topic: 'granted', qos: 2 })
    for (const [granted, client] of clients.entries()) {
      await client.ping()
      const got = client.takeAll('publish')
      expect(got.length).toBeGreaterThan(0)
      expect(got.every(({ qos }) => qos === granted)).toBe(true)
    }
  })
  test('a member that has unsubscribed gets none, the last one to go takes the group with it', async () => {
    const one = await subject.subscriber(5, '$share/g/leave')
    const two = await subject.subscriber(5, '$share/g/leave')
    await two.unsubscribe('$share/g/leave')
    for (let n = 0; n < 4; n++) one.startPublish({ topic: 'leave', payload: String(n) })
    expect(await drain(one)).toEqual(['0', '1', '2', '3'])
    await one.unsubscribe('$share/g/leave')
    one.startPublish({ topic: 'leave' })
    expect(await drain(one)).toEqual([])
  })
  test('MQTT 3.1.1 may be a member too', async () => {
    const old = await subject.subscriber(4, '$share/g/old', 1)
    await old.publish({ topic: 'old', payload: 'x', qos: 1 })
    expect((await old.receive()).payload.toString()).toBe('x')
  })
})

describe('a member that is gone', () => {
  test('leaves its unacknowledged QoS 1 messages to the others when its session ends', async () => {
    const leaver = await subject.subscriber(5, '$share/g/heir', 1)
    const publisher = await subject.connect(5)
    for (let n = 0; n < 5; n++) await publisher.publish({ topic: 'heir', payload: String(n), qos: 1 })
    await leaver.expectPublishes(5)
    const heir = await subject.subscriber(5, '$share/g/heir', 1)
    await leaver.drop()
    const got = await heir.expectPublishes(5)
    expect(got.map(({ payload }) => payload.toString()).sort()).toEqual(['0', '1', '2', '3', '4'])
  })
  test('leaves what it kept while it was away, when its session ends', async () => {
    await subject.leaveSession(5, 'kept-leaver', ['$share/g/kept-heir', 1])
    const publisher = await subject.connect(5)
    for (let n = 0; n < 3; n++) await publisher.publish({ topic: 'kept-heir', payload: String(n), qos: 1 })
    const heir = await subject.subscriber(5, '$share/g/kept-heir', 1)
    await subject.connect(5, { clientId: 'kept-leaver', clean: true })
    const got = await heir.expectPublishes(3)
    expect(got.map(({ payload }) => payload.toString()).sort()).toEqual(['0', '1', '2'])
  })
  test('gets the rest of its QoS 2 exchange when it is back, and nobody else does [v5 MQTT-4.8.2-4]', async () => {
    const client = await subject.connect(5, persistent(5, 'q2-back'))
    await client.subscribe(['$share/g/q2-back', 2])
    const publisher = await subject.connect(5)
    for (let n = 0; n < 2; n++) await publisher.publish({ topic: 'q2-back', payload: String(n), qos: 2 })
    const [one, two] = await client.expectPublishes(2)
    client.ack('pubrec', one!.packetId)
    await client.expect('pubrel')
    const other = await subject.subscriber(5, '$share/g/q2-back', 2)
    await client.drop()
    const again = await subject.connect(5, persistent(5, 'q2-back'))
    expect((await again.expect('pubrel')).packetId).toBe(one!.packetId)
    again.ack('pubcomp', one!.packetId)
    expect(await again.receive()).toMatchObject({ packetId: two!.packetId, dup: true, qos: 2 })
    expect(await drain(other)).toEqual([])
  })
  for (const kept of [false, true]) {
    test(`takes a QoS 2 message that was sent with it when its session ends, ${kept ? 'kept' : 'not kept'} before [v5 MQTT-4.8.2-5]`, async () => {
      const topic = `q2-end-${kept}`
      const client = await subject.connect(5, { clientId: topic, properties: { sessionExpiryInterval: kept ? 60 : 0 } })
      await client.subscribe([`$share/g/${topic}`, 2])
      const publisher = await subject.connect(5)
      await publisher.publish({ topic, payload: 'sent', qos: 2 })
      await client.expect('publish')
      const other = await subject.subscriber(5, `$share/g/${topic}`, 2)
      await client.drop()
      await subject.connect(5, { clientId: topic, clean: true })
      await other.expectNothing(100, 'publish')
    })
  }
  test('a PUBACK or PUBREC of 0x80 or above discards the message: no other member gets it [v5 MQTT-4.8.2-6]', async () => {
    const client = await subject.subscriber(5, '$share/g/refuse', 2)
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'refuse', qos: 1 })
    await publisher.publish({ topic: 'refuse', qos: 2 })
    const [one, two] = await client.expectPublishes(2)
    const other = await subject.subscriber(5, '$share/g/refuse', 2)
    client.send(encodeRawAck('puback', one!.packetId, 0x83), encodeRawAck('pubrec', two!.packetId, 0x83))
    await client.ping()
    await client.drop()
    await other.expectNothing(100, 'publish')
  })
  test('a message that ran out meanwhile goes to no other member [v5 MQTT-3.3.2-5]', async () => {
    const client = await subject.subscriber(5, '$share/g/old-loan', 1)
    const publisher = await subject.connect(5)
    const properties = { messageExpiryInterval: 1 }
    await publisher.publish({ topic: 'old-loan', payload: 'old', qos: 1, properties })
    await client.expect('publish')
    const other = await subject.subscriber(5, '$share/g/old-loan', 1)
    await new Promise((resolve) => setTimeout(resolve, 1_100))
    await client.drop()
    await other.expectNothing(100, 'publish')
  })
})
