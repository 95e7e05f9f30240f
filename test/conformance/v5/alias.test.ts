/** MQTT 5, section 3.3.2.3.4: Topic Aliases, both ways. */
import { describe, expect, test } from 'vitest'
import { encodeRawPublish } from '../../support/raw-packets.ts'
import { brokerUnderTest, ending } from '../table/subject.ts'

const subject = brokerUnderTest({ limits: { topicAliasMaximum: 4 } })
const without = brokerUnderTest({ limits: { topicAliasMaximum: 0 } })

const connectWith = async (topicAliasMaximum: number | null, more = {}) => {
  const properties = topicAliasMaximum === null ? more : { topicAliasMaximum, ...more }
  return subject.connect(5, { properties })
}

describe('from the client', () => {
  test('every alias up to the maximum is taken, and may be given another topic [v5 MQTT-3.3.2-12]', async () => {
    const client = await subject.subscriber(5, 'in/#', 1)
    for (const topicAlias of [1, 2, 3, 4]) {
      client.startPublish({ topic: `in/${topicAlias}`, properties: { topicAlias } })
      client.startPublish({ topic: '', properties: { topicAlias } })
    }
    client.startPublish({ topic: 'in/new', properties: { topicAlias: 2 } })
    client.startPublish({ topic: '', qos: 1, properties: { topicAlias: 2 } })
    const got = await client.expectPublishes(10)
    const topics = ['in/1', 'in/1', 'in/2', 'in/2', 'in/3', 'in/3', 'in/4', 'in/4', 'in/new', 'in/new']
    expect(got.map(({ topic }) => topic)).toEqual(topics)
    expect(got.every(({ properties }) => properties.topicAlias === undefined)).toBe(true)
  })
  test('an alias above the maximum, or 0, ends the connection with 0x94 [v5 MQTT-3.3.2-8] [v5 MQTT-3.3.2-9] [v5 MQTT-3.2.2-17]', async () => {
    for (const topicAlias of [0, 5, 65_535]) {
      const bytes = encodeRawPublish({ topic: 'a', properties: { topicAlias } }, 5)
      expect(await subject.provoke(5, bytes)).toEqual({ reasonCode: 0x94 })
    }
  })
  test('any alias ends the connection with 0x94 where the broker takes none, which CONNACK says [v5 MQTT-3.2.2-18]', async () => {
    const client = await without.dial()
    expect((await client.connect({ version: 5 })).properties.topicAliasMaximum ?? 0).toBe(0)
    client.startPublish({ topic: 'a', properties: { topicAlias: 1 } })
    expect(await ending(client)).toEqual({ reasonCode: 0x94 })
  })
  test('an alias that stands for nothing is a Protocol Error [v5 MQTT-4.13.1-1]', async () => {
    const bytes = encodeRawPublish({ topic: '', properties: { topicAlias: 1 } }, 5)
    expect(await subject.provoke(5, bytes)).toEqual({ reasonCode: 0x82 })
  })
  test('aliases end with their connection, of a session that goes on too [v5 MQTT-3.3.2-7]', async () => {
    const options = { clientId: 'ends', clean: false, properties: { sessionExpiryInterval: 60 } }
    const client = await subject.connect(5, options)
    await client.publish({ topic: 'in/ends', qos: 1, properties: { topicAlias: 1 } })
    await client.disconnect()
    const again = await subject.connect(5, options)
    again.startPublish({ topic: '', properties: { topicAlias: 1 } })
    expect(await ending(again)).toEqual({ reasonCode: 0x82 })
  })
  test('one client knows nothing of the aliases of another [v5 MQTT-3.3.2-7]', async () => {
    const one = await subject.connect(5)
    one.startPublish({ topic: 'in/one', properties: { topicAlias: 1 } })
    await one.ping()
    const bytes = encodeRawPublish({ topic: '', properties: { topicAlias: 1 } }, 5)
    expect(await subject.provoke(5, bytes)).toEqual({ reasonCode: 0x82 })
  })
  test('a message by alias is kept and forwarded with its topic, to MQTT 3.1.1 too', async () => {
    await subject.leaveSession(5, 'kept', ['in/kept', 1])
    const old = await subject.subscriber(4, 'in/kept', 1)
    const client = await subject.connect(5)
    await client.publish({ topic: 'in/kept', payload: '1', qos: 1, properties: { topicAlias: 3, contentType: 't' } })
    await client.publish({
      topic: '',
      payload: '2',
      qos: 1,
      retain: true,
      properties: { topicAlias: 3, contentType: 't' },
    })
    const away = await subject.connect(5, { clientId: 'kept', clean: false })
    const later = await subject.subscriber(5, 'in/kept', 1)
    for (const payload of ['1', '2']) {
      expect(await old.receive()).toMatchObject({ topic: 'in/kept', payload: Buffer.from(payload) })
      expect((await away.receive()).properties).toEqual({ contentType: 't' })
    }
    expect(await later.receive()).toMatchObject({ topic: 'in/kept', payload: Buffer.from('2'), retain: true })
  })
})

describe('from the broker', () => {
  const publishAll = async (count: number) => {
    const publisher = await subject.connect(5)
    for (let round = 0; round < 2; round++)
      for (let n = 0; n < count; n++)
        publisher.startPublish({ topic: `out/topic/${n}`, payload: String(round), qos: n % 3 })
  }
  test('none comes to a client whose Topic Alias Maximum is absent or 0 [v5 MQTT-3.1.2-27]', async () => {
    for (const maximum of [null, 0]) {
      const client = await connectWith(maximum)
      await client.subscribe(['out/topic/#', 2])
      await publishAll(4)
      for (const packet of await client.expectPublishes(8)) {
        expect(packet.topic).toMatch(/^out\/topic\/\d$/)
        expect(packet.properties.topicAlias).toBeUndefined()
      }
      await subject.hangUp()
    }
  })
  test('those that come are within the client\u2019s maximum and stand for the right topics [v5 MQTT-3.1.2-26] [v5 MQTT-3.3.2-11] [v5 MQTT-3.3.2-8]', async () => {
    for (const maximum of [1, 3, 65_535]) {
      const client = await connectWith(maximum)
      client.autoAck = true
      await client.subscribe(['out/topic/#', 2])
      await publishAll(6)
      const aliases = new Map<number, string>()
      const seen: string[] = []
      for (const { topic, payload, properties } of await client.expectPublishes(12)) {
        const alias = properties.topicAlias as number | undefined
        if (alias !== undefined) {
          expect(alias).toBeGreaterThan(0)
          expect(alias).toBeLessThanOrEqual(maximum)
          if (topic !== '') aliases.set(alias, topic)
        }
        seen.push(`${topic === '' ? aliases.get(alias!) : topic} ${payload}`)
      }
      const wanted = [0, 1].flatMap((round) => Array.from({ length: 6 }, (_, n) => `out/topic/${n} ${round}`))
      expect(seen.sort()).toEqual(wanted.sort())
      await subject.hangUp()
    }
  })
  test('a first use of an alias does not make a packet larger than the client takes [v5 MQTT-3.1.2-24]', async () => {
    const topic = 'out/exact'
    const payload = 'x'.repeat(60)
    // Header 2, topic 2 + 9, Property Length 1, payload 60.
    const exact = 2 + 2 + topic.length + 1 + payload.length
    for (const room of [0, 1, 2, 3, 4, 5]) {
      const client = await connectWith(4, { maximumPacketSize: exact + room })
      await client.subscribe([topic, 0])
      for (let n = 0; n < 2; n++) {
        const before = client.bytesReceived
        client.startPublish({ topic, payload })
        const packet = await client.expect('publish')
        expect(packet.payload.toString()).toBe(payload)
        expect(client.bytesReceived - before).toBeLessThanOrEqual(exact + room)
      }
      await subject.hangUp()
    }
  })
})
