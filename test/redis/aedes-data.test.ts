/** A deployment of stock Aedes with aedes-persistence-redis moves over with its data, and stock Aedes can read ours. */
import { spawn } from 'node:child_process'
import { type EventEmitter, once } from 'node:events'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { afterAll, beforeEach, describe, expect, it } from 'vitest'
import { startSluice } from '../../src/broker.ts'
import { configSchema } from '../../src/config/schema.ts'
import { Events } from '../../src/telemetry/events.ts'
import { projectRoot } from '../support/broker-process.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

const until = (emitter: unknown, event: string): Promise<unknown[]> => once(emitter as EventEmitter, event)

/** Stock Aedes in a process of its own, so that it can end as in a crash. Arguments: id, port of Redis. Prints its port. */
const stockProgram = `
import net from 'node:net'
import { Aedes } from 'aedes'
import persistence from 'aedes-persistence-redis'
const aedes = new Aedes({ id: process.argv[1], persistence: persistence({ port: Number(process.argv[2]) }) })
await aedes.listen()
const server = net.createServer((socket) => aedes.handle(socket))
server.listen(0, '127.0.0.1', () => console.log(server.address().port))
`

interface Running {
  port: number
  stop(): Promise<void>
}

describe.skipIf(!hasRedis)('data of aedes-persistence-redis', async () => {
  if (!hasRedis) return
  const redis = await RedisProcess.start({ appendfsync: 'no' })
  afterAll(() => redis.stop())
  beforeEach(() => redis.flush())

  const stock = async (id: string): Promise<Running> => {
    const args = ['--input-type=module', '-e', stockProgram, id, String(redis.port)]
    const child = spawn(process.execPath, args, { cwd: projectRoot(), stdio: ['ignore', 'pipe', 'inherit'] })
    const [line] = await until(child.stdout, 'data')
    return {
      port: Number(String(line)),
      async stop() {
        const ended = until(child, 'close')
        child.kill('SIGKILL')
        await ended
      },
    }
  }

  const ours = async (events = new Events()): Promise<Running> => {
    const fixed = { mqttPort: 0, httpPort: 0, log: { level: 'silent' as const }, store: 'redis' as const }
    const sluice = await startSluice(configSchema.parse({ ...fixed, redisUrl: redis.url }), { events })
    return { port: sluice.addresses.mqtt.port, stop: () => sluice.stop() }
  }

  const connect = async (port: number, options: IClientOptions): Promise<MqttClient> => {
    const client = mqtt.connect({ host: '127.0.0.1', port, reconnectPeriod: 0, ...options })
    await until(client, 'connect')
    return client
  }

  /** What the client is sent, as [topic, payload, QoS, retain], once there are `count`. */
  const receive = (client: MqttClient, count: number): Promise<[string, string, number, boolean][]> =>
    new Promise((resolve) => {
      const got: [string, string, number, boolean][] = []
      client.on('message', (topic, payload, { qos, retain }) => {
        got.push([topic, payload.toString(), qos, retain])
        if (got.length === count) resolve(got)
      })
    })

  it('is taken over: subscriptions, messages that wait, retained messages, wills', async () => {
    const old = await stock('stock-1')
    const device = await connect(old.port, { clientId: 'device/1 ä', clean: false })
    // One filter for each client: stock Aedes over Redis may never answer a second SUBSCRIBE.
    await device.subscribeAsync('a/+', { qos: 2 })
    await device.endAsync()
    const watcher = await connect(old.port, { clientId: 'watcher', clean: false })
    await watcher.subscribeAsync('wills/#', { qos: 1 })
    await watcher.endAsync()
    const publisher = await connect(old.port, { clientId: 'publisher' })
    for (let i = 0; i < 5; i++) await publisher.publishAsync(`a/${i}`, `m${i}`, { qos: 1 })
    for (let i = 5; i < 8; i++) await publisher.publishAsync(`a/${i}`, `m${i}`, { qos: 2 })
    await publisher.publishAsync('kept/x', 'retained ä', { qos: 1, retain: true })
    await publisher.endAsync()
    const lastWord = { topic: 'wills/w', payload: Buffer.from('gone'), qos: 1 as const, retain: false }
    const dying = await connect(old.port, { clientId: 'dying', will: lastWord })
    // As a crash of the stock broker leaves it: with a client connected, and its will stored.
    await old.stop()
    dying.end(true)
    expect((await redis.admin.keys('will:*')).length).toBe(1)

    const events = new Events()
    const imported = new Promise((resolve) => events.on('storeImported', resolve))
    const broker = await ours(events)
    expect(await imported).toEqual({ sessions: 2, messages: 8, wills: 1 })
    const again = mqtt.connect({ host: '127.0.0.1', port: broker.port, clientId: 'device/1 ä', clean: false })
    const got = receive(again, 8)
    const [connack] = await until(again, 'connect')
    expect((connack as { sessionPresent: boolean }).sessionPresent).toBe(true)
    expect(await got).toEqual([0, 1, 2, 3, 4, 5, 6, 7].map((i) => [`a/${i}`, `m${i}`, i < 5 ? 1 : 2, false]))
    const live = receive(again, 1)
    const watching = mqtt.connect({ host: '127.0.0.1', port: broker.port, clientId: 'watcher', clean: false })
    const willMessage = receive(watching, 1)
    await until(watching, 'connect')
    expect(await willMessage).toEqual([['wills/w', 'gone', 1, false]])
    const kept = receive(watching, 1)
    await watching.subscribeAsync('kept/#', { qos: 1 })
    expect(await kept).toEqual([['kept/x', 'retained ä', 1, true]])
    await watching.publishAsync('a/live', 'now', { qos: 1 })
    expect(await live).toEqual([['a/live', 'now', 1, false]])
    await Promise.all([again.endAsync(), watching.endAsync()])
    await broker.stop()
    const left = (await redis.admin.keys('*')).filter((key) => !key.startsWith('sluicemq:'))
    expect(left.sort()).toEqual(['client:device%2F1%20%C3%A4', 'client:watcher', 'clients', 'retained'])

    // A second start imports nothing.
    let twice = false
    const later = new Events()
    later.on('storeImported', () => {
      twice = true
    })
    const second = await ours(later)
    await second.stop()
    expect(twice).toBe(false)
  })

  it('that we write is read by stock Aedes: subscriptions and retained messages', async () => {
    const broker = await ours()
    const device = await connect(broker.port, { clientId: 'device', clean: false })
    await device.subscribeAsync('a/+', { qos: 1 })
    await device.publishAsync('kept', 'still here', { qos: 1, retain: true })
    await device.endAsync()
    await broker.stop()
    const old = await stock('stock-2')
    const publisher = await connect(old.port, { clientId: 'publisher' })
    const kept = receive(publisher, 1)
    await publisher.subscribeAsync('kept', { qos: 1 })
    expect(await kept).toEqual([['kept', 'still here', 0, true]].map(([t, p, _, r]) => [t, p, 1, r]))
    await publisher.publishAsync('a/1', 'queued', { qos: 1 })
    const again = mqtt.connect({ host: '127.0.0.1', port: old.port, clientId: 'device', clean: false })
    const got = receive(again, 1)
    await until(again, 'connect')
    expect((await got)[0]!.slice(0, 2)).toEqual(['a/1', 'queued'])
    await Promise.all([again.endAsync(), publisher.endAsync()])
    await old.stop()
  })
})
