/** MQTT 3.1.1, section 3.3.1.3: RETAIN. */
import { expect, test } from 'vitest'
import type { RawClient } from '../../support/raw-client.ts'
import { brokerUnderTest } from '../table/subject.ts'

const subject = brokerUnderTest()

/** What a new subscription gets at once. */
async function retainedOn(topicFilter: string, qos = 2): Promise<string[]> {
  const client: RawClient = await subject.subscriber(4, topicFilter, qos)
  await client.ping()
  return client
    .takeAll('publish')
    .map((packet) => `${packet.topic}=${packet.payload} q${packet.qos} r${Number(packet.retain)}`)
}

test('a retained message is kept with its QoS for later subscribers, who get it with RETAIN 1 [v3 MQTT-3.3.1-5] [v3 MQTT-3.3.1-6] [v3 MQTT-3.3.1-8]', async () => {
  const client = await subject.connect(4)
  for (const qos of [0, 1, 2]) await client.publish({ topic: `kept/${qos}`, payload: 'x', qos, retain: true })
  expect((await retainedOn('kept/+')).sort()).toEqual(['kept/0=x q0 r1', 'kept/1=x q1 r1', 'kept/2=x q2 r1'])
  expect(await retainedOn('kept/2', 1)).toEqual(['kept/2=x q1 r1'])
})

test('the newest replaces the older, at QoS 0 too [v3 MQTT-3.3.1-7] [v3 MQTT-3.3.1-5]', async () => {
  const client = await subject.connect(4)
  await client.publish({ topic: 'newest', payload: 'old', qos: 2, retain: true })
  client.startPublish({ topic: 'newest', payload: 'new', retain: true })
  await client.ping()
  expect(await retainedOn('newest')).toEqual(['newest=new q0 r1'])
})

test('to a subscription that stands it comes with RETAIN 0 [v3 MQTT-3.3.1-9]', async () => {
  const subscriber = await subject.subscriber(4, 'live', 1)
  await subscriber.publish({ topic: 'live', payload: 'x', qos: 1, retain: true })
  expect((await subscriber.receive()).retain).toBe(false)
  await subscriber.publish({ topic: 'live', qos: 1, retain: true })
  expect((await subscriber.receive()).retain).toBe(false)
})

test('an empty one is delivered, removes what was retained and is not kept [v3 MQTT-3.3.1-10] [v3 MQTT-3.3.1-11]', async () => {
  const subscriber = await subject.subscriber(4, 'empty', 1)
  await subscriber.publish({ topic: 'empty', payload: 'x', qos: 1, retain: true })
  await subscriber.receive()
  await subscriber.publish({ topic: 'empty', qos: 1, retain: true })
  expect((await subscriber.receive()).payload.length).toBe(0)
  expect(await retainedOn('empty')).toEqual([])
})

test('a message without RETAIN neither replaces nor removes it [v3 MQTT-3.3.1-12]', async () => {
  const client = await subject.connect(4)
  await client.publish({ topic: 'stays', payload: 'kept', qos: 1, retain: true })
  await client.publish({ topic: 'stays', payload: 'passing', qos: 1 })
  await client.publish({ topic: 'stays', qos: 1 })
  await client.publish({ topic: 'stays/not', payload: 'passing', qos: 1 })
  expect(await retainedOn('stays/#')).toEqual(['stays=kept q1 r1'])
})

test('each new subscription gets the retained messages of all matching topics [v3 MQTT-3.3.1-6]', async () => {
  const client = await subject.connect(4)
  for (const topic of ['each/1', 'each/2', 'each/2/3'])
    await client.publish({ topic, payload: 'x', qos: 1, retain: true })
  expect((await retainedOn('each/+', 0)).sort()).toEqual(['each/1=x q0 r1', 'each/2=x q0 r1'])
  expect((await retainedOn('each/#', 0)).length).toBe(3)
  expect(await retainedOn('+/1/none')).toEqual([])
})
