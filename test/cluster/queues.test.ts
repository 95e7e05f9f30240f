/** Work queues where there are two nodes: one keeps them, both take messages for them and serve workers. */
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { decodeMessage } from '../../src/router/message.ts'
import { type Node, startNode } from '../support/redis-nodes.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

const bridge = [
  { name: 'jobs', topicFilter: 'jobs/#', queue: 'jobs' },
  { name: 'named', topicFilter: 'named/#', queue: 'jobs', transform: { set: { from: '{client}' } } },
]

describe.skipIf(!hasRedis)('work queues on two nodes', () => {
  let redis: RedisProcess
  let keeper: Node
  let other: Node
  const clients: MqttClient[] = []

  const connect = async (node: Node, options: IClientOptions): Promise<MqttClient> => {
    const client = mqtt.connect({ ...node.mqtt, reconnectPeriod: 0, protocolVersion: 5, ...options })
    clients.push(client)
    await new Promise<void>((resolve) => client.once('connect', () => resolve()))
    return client
  }

  beforeAll(async () => {
    redis = await RedisProcess.start()
  })
  afterAll(() => redis.stop())
  beforeEach(async () => {
    await redis.flush()
    keeper = await startNode(redis.url, 'keeper', { bridge })
    other = await startNode(redis.url, 'other', { bridge })
  })
  afterEach(async () => {
    for (const client of clients.splice(0)) client.end(true)
    await Promise.all([keeper.stop(), other.stop()])
  })

  const pullAll = async (node: Node, count: number): Promise<string[]> => {
    const got: string[] = []
    while (got.length < count) {
      const deliveries = await node.queues.get('jobs').pull(100, 30_000, 2000)
      expect(deliveries.length, `after ${got.length} of ${count}`).toBeGreaterThan(0)
      got.push(...deliveries.map(({ message }) => decodeMessage(message).payload.toString()))
      await node.queues.get('jobs').ack(deliveries.map(({ receipt }) => receipt))
    }
    return got
  }

  test('what is published on either node enters the queue once, in the order of each publisher', async () => {
    const a = await connect(keeper, { clientId: 'a' })
    const b = await connect(other, { clientId: 'b' })
    for (let i = 0; i < 30; i++) {
      await a.publishAsync('jobs/1', `a${i}`, { qos: 1 })
      await b.publishAsync('jobs/2', `b${i}`, { qos: (i % 3) as 0 | 1 | 2 })
    }
    const got = await pullAll(keeper, 60)
    const of = (name: string): string[] => got.filter((text) => text.startsWith(name))
    expect(of('a')).toEqual(Array.from({ length: 30 }, (_, i) => `a${i}`))
    expect(of('b')).toEqual(Array.from({ length: 30 }, (_, i) => `b${i}`))
    await expect.poll(() => redis.admin.xlen('sluicemq:lane:qi')).toBe(0)
    expect(await keeper.queues.get('jobs').pull(1, 1000)).toEqual([])
  })

  test('a worker that speaks MQTT to the other node gets messages and acknowledges them', async () => {
    const worker = await connect(other, { clientId: 'worker' })
    const got: string[] = []
    worker.on('message', (_topic, payload) => got.push(payload.toString()))
    await worker.subscribeAsync('$queue/jobs', { qos: 1 })
    const writer = await connect(keeper, { clientId: 'writer' })
    for (let i = 0; i < 20; i++) await writer.publishAsync('jobs/x', `${i}`, { qos: 1 })
    await expect.poll(() => got.length, { timeout: 5000 }).toBe(20)
    expect(got).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`))
    await expect.poll(async () => (await keeper.queues.get('jobs').info()).leased).toBe(0)
    expect((await keeper.queues.get('jobs').info()).ready).toBe(0)
  })

  test('a rule applied on the keeper takes messages on the other node too', async () => {
    await keeper.rules.apply('more', { topicFilter: 'more/+', queue: 'jobs' })
    const b = await connect(other, { clientId: 'b' })
    await expect
      .poll(async () => {
        await b.publishAsync('more/1', 'hello', { qos: 1 })
        return (await keeper.queues.get('jobs').info()).ready
      })
      .toBeGreaterThan(0)
  })

  test('a rule on the keeper knows who published on the other node', async () => {
    const b = await connect(other, { clientId: 'b' })
    await b.publishAsync('named/1', '{"celsius":21}', { qos: 1 })
    const [delivery] = await keeper.queues.get('jobs').pull(1, 30_000, 5000)
    const { clientId, payload } = decodeMessage(delivery!.message)
    expect(clientId).toBe('b')
    expect(JSON.parse(payload.toString())).toEqual({ celsius: 21, from: 'b' })
  })

  test('when the keeper leaves, the other node keeps the queues, with what is in them', async () => {
    const b = await connect(other, { clientId: 'b' })
    for (let i = 0; i < 10; i++) await b.publishAsync('jobs/1', `${i}`, { qos: 1 })
    await expect.poll(async () => (await keeper.queues.get('jobs').info()).ready).toBe(10)
    const [first] = await keeper.queues.get('jobs').pull(1, 30_000)
    await keeper.queues.get('jobs').ack([first!.receipt])
    await keeper.stop()
    await expect.poll(() => other.cluster.leads, { timeout: 5000 }).toBe(true)
    await expect.poll(() => other.queues.find('jobs')?.ready, { timeout: 5000 }).toBe(9)
    for (let i = 10; i < 15; i++) await b.publishAsync('jobs/1', `${i}`, { qos: 1 })
    expect(await pullAll(other, 14)).toEqual(Array.from({ length: 14 }, (_, i) => `${i + 1}`))
    keeper = await startNode(redis.url, 'keeper-2', { bridge })
  })
})
