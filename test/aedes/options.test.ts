/** Aedes' options: each does here what its documentation says, or is refused. */
import { describe, expect, test } from 'vitest'
import { Aedes } from '../../src/embed.ts'
import { embed, next } from './embedded.ts'

describe('keepaliveLimit', () => {
  test('MQTT 3 clients that ask for more, or for none, are refused', async () => {
    const { broker, open, join } = await embed({ keepaliveLimit: 60 })
    await join({ keepAliveSeconds: 60 })
    for (const keepAliveSeconds of [0, 61]) {
      const told = next(broker, 'connectionError')
      expect((await (await open()).connect({ keepAliveSeconds })).code).toBe(5)
      expect(((await told)[1] as Error).message).toBe('keep alive limit exceeded')
    }
  })

  test('MQTT 5 clients are told [v5 MQTT-3.2.2-21]', async () => {
    const { open } = await embed({ keepaliveLimit: 60 })
    const connack = await (await open()).connect({ version: 5, keepAliveSeconds: 0 })
    expect(connack).toMatchObject({ code: 0, properties: { serverKeepAlive: 60 } })
  })
})

test('maxClientsIdLength is for MQTT 3.1 alone', async () => {
  const { open } = await embed({ maxClientsIdLength: 30 })
  const code = async (version: 3 | 4, characters: number): Promise<number> =>
    (await (await open()).connect({ version, clientId: 'x'.repeat(characters) })).code
  expect([await code(3, 30), await code(3, 31), await code(4, 31)]).toEqual([0, 2, 0])
})

describe('maxInflightInbound', () => {
  test('an MQTT 3 client that leaves more QoS 2 messages without PUBREL is closed; sending one again is no more', async () => {
    const { broker, join } = await embed({ maxInflightInbound: 2 })
    const client = await join({ clientId: 'd' })
    for (const packetId of [1, 2, 2, 1]) {
      client.startPublish({ topic: 't', qos: 2, packetId })
      await client.expect('pubrec')
    }
    client.ack('pubrel', 1)
    await client.expect('pubcomp')
    client.startPublish({ topic: 't', qos: 2, packetId: 3 })
    await client.expect('pubrec')
    const told = next(broker, 'clientError')
    client.startPublish({ topic: 't', qos: 2, packetId: 4 })
    await client.expectClosed()
    const error = (await told)[1] as Error
    expect(error.message).toBe('maxInflightInbound exceeded: 2 inbound QoS 2 messages already awaiting PUBREL')
  })

  test('an MQTT 5 client is told as Receive Maximum [v5 MQTT-3.3.4-7]', async () => {
    const { open } = await embed({ maxInflightInbound: 2 })
    expect((await (await open()).connect({ version: 5 })).properties).toMatchObject({ receiveMaximum: 2 })
  })

  test('0 is no limit', async () => {
    const { join } = await embed({ maxInflightInbound: 0 })
    const client = await join()
    for (let packetId = 1; packetId <= 1500; packetId++) client.startPublish({ topic: 't', qos: 2, packetId })
    for (let packetId = 1; packetId <= 1500; packetId++) await client.expect('pubrec')
  })
})

test('connectTimeout closes a connection without CONNECT', async () => {
  const { broker, open } = await embed({ connectTimeout: 100 })
  const told = next(broker, 'connectionError')
  const client = await open()
  await client.expectClosed()
  expect(((await told)[1] as Error).message).toBe('connect did not arrive in time')
})

test('drainTimeout 0 cuts nobody', async () => {
  const { broker } = await embed({ drainTimeout: 0 })
  expect(broker.core.config.limits.drainTimeoutMs).toBe(Number.POSITIVE_INFINITY)
})

test('maxTopicLevels is between 1 and 100; ours without a limit of their own are in the config', async () => {
  for (const [option, levels] of [
    [0, 1],
    [7, 7],
    [1000, 100],
    [undefined, 100],
  ] as const) {
    const { broker } = await embed(option === undefined ? {} : { maxTopicLevels: option })
    expect(broker.core.config.limits.topicLevelsMax).toBe(levels)
  }
  const { broker } = await embed({ config: { limits: { topicLevelsMax: 500 } } })
  expect(broker.core.config.limits.topicLevelsMax).toBe(500)
})

test.each(['persistence', 'mq'])('%s of its own is refused by name', async (option) => {
  const broker = new Aedes({ [option]: {} })
  await expect(broker.listen()).rejects.toMatchObject({
    code: 'config_invalid',
    message: expect.stringContaining(option),
  })
})

test('brokers that are silent for three heartbeats are forgotten', async () => {
  const { broker } = await embed({ heartbeatInterval: 20 })
  const brokers = broker.brokers as Record<string, number>
  brokers['gone'] = Date.now() - 1000
  await expect.poll(() => brokers['gone']).toBeUndefined()
  expect(brokers[broker.id]).toBeDefined()
})
