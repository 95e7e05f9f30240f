/** MQTT 3.1.1: Will Messages and Keep Alive. */
import { expect, test } from 'vitest'
import { frame } from '../../support/raw-packets.ts'
import { brokerUnderTest } from '../table/subject.ts'

const subject = brokerUnderTest()

test('a lost connection publishes the will at its QoS, not retained [v3 MQTT-3.1.2-8] [v3 MQTT-3.1.2-9] [v3 MQTT-3.1.2-16]', async () => {
  const watcher = await subject.subscriber(4, 'will/lost', 2)
  const client = await subject.connect(4, { will: { topic: 'will/lost', payload: 'gone', qos: 2 } })
  client.reset()
  expect(await watcher.receive()).toMatchObject({ qos: 2, retain: false, payload: Buffer.from('gone') })
  const later = await subject.subscriber(4, 'will/lost')
  await later.ping()
  expect(later.takeAll('publish')).toEqual([])
})

test('a close without DISCONNECT publishes it too [v3 MQTT-3.1.2-8]', async () => {
  const watcher = await subject.subscriber(4, 'will/closed', 1)
  const client = await subject.connect(4, { will: { topic: 'will/closed', qos: 1 } })
  await client.drop()
  expect((await watcher.receive()).qos).toBe(1)
})

test('so does a protocol violation [v3 MQTT-3.1.2-8] [v3 MQTT-4.8.0-1]', async () => {
  const watcher = await subject.subscriber(4, 'will/violation')
  const client = await subject.connect(4, { will: { topic: 'will/violation' } })
  client.send(frame(3, 6, Buffer.from([0])))
  await watcher.receive()
})

test('with Will Retain it is published as a retained message [v3 MQTT-3.1.2-17] [v3 MQTT-3.3.1-5]', async () => {
  const watcher = await subject.subscriber(4, 'will/retained')
  const client = await subject.connect(4, { will: { topic: 'will/retained', payload: 'kept', retain: true } })
  client.reset()
  expect((await watcher.receive()).retain).toBe(false)
  const later = await subject.subscriber(4, 'will/retained')
  expect(await later.receive()).toMatchObject({ retain: true, payload: Buffer.from('kept') })
})

test('DISCONNECT discards it [v3 MQTT-3.14.4-3] [v3 MQTT-3.1.2-8] [v3 MQTT-3.1.2-10]', async () => {
  const watcher = await subject.subscriber(4, 'will/bye')
  const client = await subject.connect(4, { will: { topic: 'will/bye' } })
  await client.disconnect()
  await watcher.expectNothing(100)
})

test('it is published once: the next connection without a will leaves none [v3 MQTT-3.1.2-10] [v3 MQTT-3.1.2-12]', async () => {
  const watcher = await subject.subscriber(4, 'will/once')
  const client = await subject.connect(4, { clientId: 'once', clean: false, will: { topic: 'will/once' } })
  client.reset()
  await watcher.receive()
  const again = await subject.connect(4, { clientId: 'once', clean: false })
  again.reset()
  await again.closed
  await watcher.expectNothing(100)
})

test('a takeover publishes the will of the older connection [v3 MQTT-3.1.2-8] [v3 MQTT-3.1.4-2]', async () => {
  const watcher = await subject.subscriber(4, 'will/over')
  await subject.connect(4, { clientId: 'over', will: { topic: 'will/over', payload: 'old' } })
  await subject.connect(4, { clientId: 'over', will: { topic: 'will/over', payload: 'new' } })
  expect((await watcher.receive()).payload.toString()).toBe('old')
  await watcher.expectNothing(50)
})

test.concurrent('silence of one and a half Keep Alives ends the connection as a failure does [v3 MQTT-3.1.2-24] [v3 MQTT-3.1.2-8]', async () => {
  const watcher = await subject.subscriber(4, 'will/silent')
  const started = performance.now()
  const client = await subject.connect(4, { keepAliveSeconds: 1, will: { topic: 'will/silent' } })
  await client.expectClosed()
  const silentMs = performance.now() - started
  expect(silentMs).toBeGreaterThan(1_450)
  expect(silentMs).toBeLessThan(3_000)
  await watcher.receive()
})
