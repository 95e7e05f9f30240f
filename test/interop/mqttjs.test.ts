/** The MQTT.js client (npm mqtt), over TCP and over WebSocket, speaking every version it knows. */
import { type EventEmitter, once } from 'node:events'
import mqtt, { type IClientOptions, type IPublishPacket, type MqttClient } from 'mqtt'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'

let broker: InlineBroker
beforeAll(async () => {
  broker = await startBroker()
})
afterAll(() => broker?.stop())

/** MQTT.js types its own emitter, which `once` does not know. */
const emitterOf = (client: MqttClient) => client as unknown as EventEmitter

interface Received {
  topic: string
  payload: string
  packet: IPublishPacket
}

/** Messages of a client in order, each taken once. */
class Inbox {
  private readonly messages: Received[] = []
  private wake: () => void = () => {}
  constructor(client: MqttClient) {
    client.on('message', (topic, payload, packet) => {
      this.messages.push({ topic, payload: payload.toString(), packet })
      this.wake()
    })
  }
  async next(): Promise<Received> {
    while (this.messages.length === 0) {
      await new Promise<void>((resolve) => {
        this.wake = resolve
      })
    }
    return this.messages.shift()!
  }
}

for (const way of ['tcp', 'ws'] as const) {
  for (const protocolVersion of [3, 4, 5] as const) {
    describe(`MQTT.js, protocol ${protocolVersion} over ${way}`, () => {
      const prefix = `js/${way}/${protocolVersion}`
      const clients: MqttClient[] = []
      afterAll(() => Promise.all(clients.map((client) => client.endAsync(true))))

      async function open(name: string, options: IClientOptions = {}): Promise<{ client: MqttClient; inbox: Inbox }> {
        const url = way === 'tcp' ? `mqtt://${broker.mqtt.host}:${broker.mqtt.port}` : broker.ws
        const clientId = `${way}${protocolVersion}${name}`
        const client = mqtt.connect(url, {
          protocolVersion,
          ...(protocolVersion === 3 ? { protocolId: 'MQIsdp' } : {}),
          clientId,
          reconnectPeriod: 0,
          connectTimeout: 5_000,
          ...options,
        })
        clients.push(client)
        const inbox = new Inbox(client)
        await Promise.race([
          once(emitterOf(client), 'connect'),
          once(emitterOf(client), 'close').then(() => Promise.reject(new Error(`${clientId} was not accepted`))),
        ])
        return { client, inbox }
      }

      test('publishes and receives at every QoS, with wildcards', async () => {
        const { client, inbox } = await open('qos')
        const granted = await client.subscribeAsync({ [`${prefix}/+/x`]: { qos: 2 }, [`${prefix}/deep/#`]: { qos: 1 } })
        expect(granted.map((grant) => grant.qos)).toEqual([2, 1])
        for (const qos of [0, 1, 2] as const) {
          await client.publishAsync(`${prefix}/a/x`, `at ${qos}`, { qos })
          expect(await inbox.next()).toMatchObject({ payload: `at ${qos}`, packet: { qos, retain: false } })
        }
        await client.publishAsync(`${prefix}/deep/er/still`, 'deep', { qos: 2 })
        expect(await inbox.next()).toMatchObject({ topic: `${prefix}/deep/er/still`, packet: { qos: 1 } })
        await client.unsubscribeAsync(`${prefix}/+/x`)
        await client.publishAsync(`${prefix}/a/x`, 'unheard', { qos: 1 })
        await client.publishAsync(`${prefix}/deep`, 'heard', { qos: 1 })
        expect((await inbox.next()).payload).toBe('heard')
      })

      test('finds retained messages and clears them', async () => {
        const { client, inbox } = await open('retain')
        await client.publishAsync(`${prefix}/state`, 'on', { qos: 1, retain: true })
        await client.subscribeAsync(`${prefix}/state`, { qos: 1 })
        expect(await inbox.next()).toMatchObject({ payload: 'on', packet: { retain: true } })
        await client.publishAsync(`${prefix}/state`, '', { qos: 1, retain: true })
        expect(await inbox.next()).toMatchObject({ payload: '', packet: { retain: false } })
      })

      test('a persistent session keeps messages in order while the client is away', async () => {
        const keep: IClientOptions = {
          clean: false,
          ...(protocolVersion === 5 ? { properties: { sessionExpiryInterval: 60 } } : {}),
        }
        const first = await open('keep', keep)
        await first.client.subscribeAsync(`${prefix}/keep`, { qos: 2 })
        await first.client.endAsync()
        const { client } = await open('keeppub')
        const wanted = Array.from({ length: 50 }, (_, i) => String(i))
        for (const payload of wanted) await client.publishAsync(`${prefix}/keep`, payload, { qos: 2 })
        const second = await open('keep', keep)
        const got: string[] = []
        while (got.length < wanted.length) got.push((await second.inbox.next()).payload)
        expect(got).toEqual(wanted)
      })

      test('a will is published when the connection breaks', async () => {
        const { client, inbox } = await open('watch')
        await client.subscribeAsync(`${prefix}/will`, { qos: 1 })
        const will = { topic: `${prefix}/will`, payload: Buffer.from('gone'), qos: 1 as const, retain: false }
        const dying = await open('dying', { will })
        dying.client.stream.destroy()
        expect((await inbox.next()).payload).toBe('gone')
      })

      test('payloads of 0, 1, 127, 128, 16,383, 16,384 and 500,000 bytes come back as they were', async () => {
        const { client } = await open('sizes')
        await client.subscribeAsync(`${prefix}/sizes`, { qos: 1 })
        for (const size of [0, 1, 127, 128, 16_383, 16_384, 500_000]) {
          const payload = Buffer.alloc(size, 0xa5)
          const arrived = once(emitterOf(client), 'message') as Promise<[string, Buffer]>
          await client.publishAsync(`${prefix}/sizes`, payload, { qos: 1 })
          expect((await arrived)[1].equals(payload)).toBe(true)
        }
      })

      if (protocolVersion === 5) {
        test('properties travel from publisher to subscriber [v5 MQTT-3.3.2-15] [v5 MQTT-3.3.2-17]', async () => {
          const { client, inbox } = await open('props')
          await client.subscribeAsync(`${prefix}/props`, { qos: 1 })
          const properties = {
            contentType: 'application/json',
            responseTopic: `${prefix}/reply`,
            correlationData: Buffer.from([1, 2, 3]),
            userProperties: { unit: 'celsius' },
            payloadFormatIndicator: true,
          }
          await client.publishAsync(`${prefix}/props`, '{}', { qos: 1, properties })
          expect((await inbox.next()).packet.properties).toMatchObject(properties)
        })
      }
    })
  }
}
