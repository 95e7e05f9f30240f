/** MQTT 3.1.1: what is not allowed, and what fails on the way. */
import { afterAll, afterEach, beforeAll, expect, test } from 'vitest'
import { type EmbeddedBroker, embedBroker } from '../../support/broker-inline.ts'
import { RawClient } from '../../support/raw-client.ts'

let broker: EmbeddedBroker
beforeAll(async () => {
  broker = await embedBroker()
  broker.aedes.authorizePublish = (_client, packet, done) => done(packet.topic === 'forbidden' ? new Error('no') : null)
  broker.aedes.authenticate = (_client, userName, _password, done) => done(null, userName !== 'nobody')
})
afterEach(() => broker.faults.heal())
afterAll(() => broker.stop())

test('a PUBLISH that is not authorised ends the connection [v3 MQTT-3.3.5-2]', async () => {
  for (const qos of [0, 1, 2]) {
    const client = await RawClient.connected(broker.mqtt)
    client.startPublish({ topic: 'forbidden', qos })
    await client.expectClosed()
    await client.expectNothing(0)
  }
})
test('a client that may not connect gets return code 5 or 4, Session Present 0, and is closed [v3 MQTT-3.2.2-4] [v3 MQTT-3.2.2-5]', async () => {
  const client = await RawClient.open(broker.mqtt)
  const connack = await client.connect({ userName: 'nobody', password: 'x' })
  expect([4, 5]).toContain(connack.code)
  expect(connack.sessionPresent).toBe(false)
  await client.expectClosed()
})
test('a write that fails ends the connection of the packet, and no other [v3 MQTT-4.8.0-2]', async () => {
  const away = await RawClient.connected(broker.mqtt, { clientId: 'away', clean: false })
  await away.subscribe(['transient', 1])
  await away.disconnect()
  const bystander = await RawClient.connected(broker.mqtt)
  const client = await RawClient.connected(broker.mqtt)
  broker.faults.failing = true
  client.startPublish({ topic: 'transient', qos: 1 })
  await client.expectClosed()
  expect(client.takeAll('puback')).toEqual([])
  await bystander.ping()
  bystander.reset()
})
