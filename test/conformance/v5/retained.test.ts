/** MQTT 5, section 3.3.1.3: RETAIN, Retain Handling, Retain As Published. */
import { describe, expect, test } from 'vitest'
import { brokerUnderTest, persistent } from '../table/subject.ts'

const subject = brokerUnderTest()

const AS_PUBLISHED = 8
const ONLY_IF_NEW = 0x10
const NEVER = 0x20

/** What a new subscription gets at once. */
async function retainedOn(topicFilter: string, options = 2): Promise<string[]> {
  const client = await subject.subscriber(5, topicFilter, options)
  await client.ping()
  const got = client.takeAll('publish')
  return got.map((packet) => `${packet.topic}=${packet.payload} q${packet.qos} r${Number(packet.retain)}`)
}

describe('a retained message', () => {
  test('replaces the one before it, with its QoS [v5 MQTT-3.3.1-5]', async () => {
    const client = await subject.connect(5)
    for (const qos of [2, 0, 1]) {
      await client.publish({ topic: 'replaced', payload: String(qos), qos, retain: true })
      await client.ping()
      expect(await retainedOn('replaced')).toEqual([`replaced=${qos} q${qos} r1`])
    }
  })
  test('that is empty is delivered, removes the one before it and is not kept [v5 MQTT-3.3.1-6] [v5 MQTT-3.3.1-7]', async () => {
    const client = await subject.subscriber(5, 'empty', 1)
    await client.publish({ topic: 'empty', payload: 'x', qos: 1, retain: true })
    await client.receive()
    await client.publish({ topic: 'empty', qos: 1, retain: true, properties: { contentType: 'none' } })
    expect((await client.receive()).payload.length).toBe(0)
    expect(await retainedOn('empty')).toEqual([])
  })
  test('is neither replaced nor removed without RETAIN [v5 MQTT-3.3.1-8]', async () => {
    const client = await subject.connect(5)
    await client.publish({ topic: 'stays', payload: 'kept', qos: 1, retain: true })
    await client.publish({ topic: 'stays', payload: 'passing', qos: 1 })
    await client.publish({ topic: 'stays', qos: 1 })
    await client.publish({ topic: 'stays/not', payload: 'passing', qos: 1 })
    expect(await retainedOn('stays/#')).toEqual(['stays=kept q1 r1'])
  })
})

describe('Retain Handling', () => {
  for (const options of [{}, persistent(5, 'handling')]) {
    const which = 'clientId' in options ? 'a session that is kept' : 'a session that is not kept'
    test(`0 sends them each time, 1 only to a new subscription, 2 never, to ${which} [v5 MQTT-3.3.1-9] [v5 MQTT-3.3.1-10] [v5 MQTT-3.3.1-11]`, async () => {
      const client = await subject.connect(5, options)
      await client.publish({ topic: 'rh/x', payload: 'x', qos: 1, retain: true })
      const subscribe = async (topicFilter: string, handling: number) => {
        await client.subscribe([topicFilter, 1 | handling])
        await client.ping()
        const got = client.takeAll('publish')
        for (const { packetId } of got) client.ack('puback', packetId)
        return got.length
      }
      expect(await subscribe('rh/x', 0)).toBe(1)
      expect(await subscribe('rh/x', 0)).toBe(1)
      expect(await subscribe('rh/x', ONLY_IF_NEW)).toBe(0)
      expect(await subscribe('rh/+', ONLY_IF_NEW)).toBe(1)
      expect(await subscribe('rh/+', NEVER)).toBe(0)
      expect(await subscribe('rh/#', NEVER)).toBe(0)
      await client.unsubscribe('rh/x')
      expect(await subscribe('rh/x', ONLY_IF_NEW)).toBe(1)
    })
  }
  test('0 sends retained messages of QoS 0, 1 and 2 with RETAIN 1, whatever Retain As Published says [v5 MQTT-3.3.1-9]', async () => {
    const client = await subject.connect(5)
    for (const qos of [0, 1, 2]) await client.publish({ topic: `all/${qos}`, payload: 'x', qos, retain: true })
    for (const rap of [0, AS_PUBLISHED])
      expect((await retainedOn('all/+', 2 | rap)).sort()).toEqual(['all/0=x q0 r1', 'all/1=x q1 r1', 'all/2=x q2 r1'])
  })
  test('1 after the session was resumed: the subscription is not new [v5 MQTT-3.3.1-10]', async () => {
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'resumed', payload: 'x', qos: 1, retain: true })
    await subject.leaveSession(5, 'resumed', ['resumed', 1 | NEVER])
    const client = await subject.connect(5, persistent(5, 'resumed'))
    await client.subscribe(['resumed', 1 | ONLY_IF_NEW])
    await client.ping()
    expect(client.takeAll('publish')).toEqual([])
  })
})

describe('Retain As Published', () => {
  for (const kept of [false, true]) {
    test(`0 clears RETAIN, 1 keeps it as it came, in a session that is ${kept ? '' : 'not '}kept [v5 MQTT-3.3.1-12] [v5 MQTT-3.3.1-13]`, async () => {
      const cleared = await subject.connect(5, kept ? persistent(5, 'rap-0') : {})
      await cleared.subscribe([`rap/${kept}`, 2])
      const same = await subject.connect(5, kept ? persistent(5, 'rap-1') : {})
      await same.subscribe([`rap/${kept}`, 2 | AS_PUBLISHED])
      const publisher = await subject.connect(5)
      for (const retain of [true, false]) {
        for (const qos of [0, 1, 2]) {
          await publisher.publish({ topic: `rap/${kept}`, payload: 'x', qos, retain })
          expect((await cleared.receive()).retain).toBe(false)
          expect((await same.receive()).retain).toBe(retain)
        }
      }
    })
  }
  test('of a session that was away [v5 MQTT-3.3.1-12] [v5 MQTT-3.3.1-13]', async () => {
    await subject.leaveSession(5, 'away-0', ['rap/away', 1])
    await subject.leaveSession(5, 'away-1', ['rap/away', 1 | AS_PUBLISHED])
    const publisher = await subject.connect(5)
    await publisher.publish({ topic: 'rap/away', payload: 'x', qos: 1, retain: true })
    for (const [clientId, retain] of [
      ['away-0', false],
      ['away-1', true],
    ] as const) {
      const client = await subject.connect(5, persistent(5, clientId))
      expect((await client.receive()).retain).toBe(retain)
    }
  })
})
