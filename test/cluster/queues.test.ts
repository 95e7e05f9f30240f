/** Work queues where there are two nodes: one keeps them, both take messages for them and serve workers. */
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { Producer } from '../../src/bridge/producer.ts'
import { decodeMessage } from '../../src/router/message.ts'
import { RawClient } from '../support/raw-client.ts'
import { type Node, startNode } from '../support/redis-nodes.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

const bridge = [
  { name: 'jobs', topicFilter: 'jobs/#', queue: 'jobs' },
  { name: 'once', topicFilter: 'once/#', queue: 'jobs', deduplicate: '{retransmission}' },
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

  const makeProducer = ({ broker: { core }, queues }: Node): Producer =>
    new Producer({
      store: core.store,
      clock: core.clock,
      intakeOf: (name) => queues.intake(name),
      shortage: () => core.storeRoom.shortage,
      commit: () => core.commits.done(),
    })

  const texts = (deliveries: readonly { message: Buffer }[]): string[] =>
    deliveries.map(({ message }) => decodeMessage(message).payload.toString())

  const pullAll = async (node: Node, count: number): Promise<string[]> => {
    const got: string[] = []
    while (got.length < count) {
      const deliveries = await node.queues.get('jobs').pull(100, 30_000, 10_000)
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
    await expect.poll(() => got.length).toBe(20)
    expect(got).toEqual(Array.from({ length: 20 }, (_, i) => `${i}`))
    await expect.poll(async () => (await keeper.queues.get('jobs').info()).leased).toBe(0)
    expect((await keeper.queues.get('jobs').info()).ready).toBe(0)
  })

  test('a heartbeat over MQTT on the other node reaches the keeper, and what a worker is told reaches that node', async () => {
    const worker = await connect(other, { clientId: 'worker' })
    const told: string[] = []
    worker.on('message', (topic, payload) => told.push(`${topic} ${payload}`))
    await worker.subscribeAsync('$workers/w1/command')
    await worker.publishAsync('$workers/w1/heartbeat', '{"queue":"jobs","running":1}', { qos: 1 })
    await expect.poll(() => told).toEqual(['$workers/w1/command run'])
    expect(keeper.queues.workers.list()).toMatchObject([{ id: 'w1', queue: 'jobs', running: 1 }])
    keeper.queues.workers.tell('w1', 'stop')
    await expect.poll(() => told.at(-1)).toBe('$workers/w1/command stop')
  })

  test('settings given on the keeper hold for members on the other node', async () => {
    expect(other.queues.leaseMs('jobs')).toBe(30_000)
    await keeper.queues.define('jobs', { ...keeper.queues.settingsOf('jobs'), leaseMs: 700 })
    await expect.poll(() => other.queues.leaseMs('jobs')).toBe(700)
    await keeper.queues.define('jobs', { ...keeper.queues.settingsOf('jobs'), leaseMs: 800 })
    await expect.poll(() => other.queues.leaseMs('jobs')).toBe(800)
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
    const [delivery] = await keeper.queues.get('jobs').pull(1, 30_000, 10_000)
    const { clientId, payload } = decodeMessage(delivery!.message)
    expect(clientId).toBe('b')
    expect(JSON.parse(payload.toString())).toEqual({ celsius: 21, from: 'b' })
  })

  test('what a device sends again on the other node reaches workers once; what only looks like it is another message', async () => {
    const publish = async (node: Node, payload: string, dup: boolean) => {
      const device = await RawClient.connected(node.mqtt, { clientId: 'device', clean: false })
      await device.publish({ topic: 'once/1', qos: 1, payload, packetId: 7, dup })
      await device.drop()
    }
    await publish(other, 'a', false)
    await publish(keeper, 'a', true)
    await publish(keeper, 'b', false)
    await publish(other, 'b', true)
    // Not sent again: the device has come round to this Packet Identifier.
    await publish(other, 'b', false)
    // Only the second try has arrived.
    await publish(other, 'c', true)
    expect(await pullAll(keeper, 4)).toEqual(['a', 'b', 'b', 'c'])
    await expect.poll(() => redis.admin.xlen('sluicemq:lane:qi')).toBe(0)
    expect(await keeper.queues.get('jobs').pull(1, 1000)).toEqual([])
  })

  test('a retransmission is known to the node that keeps the queues next', async () => {
    const publish = async (dup: boolean) => {
      const device = await RawClient.connected(other.mqtt, { clientId: 'device', clean: false })
      await device.publish({ topic: 'once/1', qos: 1, payload: 'a', packetId: 7, dup })
      await device.drop()
    }
    await publish(false)
    await expect.poll(async () => (await keeper.queues.get('jobs').info()).ready).toBe(1)
    await keeper.stop()
    await publish(true)
    await expect.poll(() => other.queues.find('jobs')?.ready).toBe(1)
    const b = await connect(other, { clientId: 'b' })
    await b.publishAsync('jobs/1', 'last', { qos: 1 })
    expect(await pullAll(other, 2)).toEqual(['a', 'last'])
    keeper = await startNode(redis.url, 'keeper-2', { bridge })
  })

  test('the next keeper finds what the one before made: scheduled messages, priorities, groups, a pause, ids, leases', async () => {
    const { queues } = keeper
    await queues.define('made', { ...queues.settingsOf('jobs'), maxAttempts: 1 })
    await queues.addGroup('made', 'g')
    await queues.define('held', queues.settingsOf('jobs'))
    await queues.pause('held', true)
    const producer = makeProducer(keeper)
    const payload = (text: string) => ({ payload: Buffer.from(text) })
    await producer.produce('made', [payload('a'), payload('b'), { ...payload('first'), priority: 9 }])
    await producer.produce('made', [{ ...payload('later'), delayMs: 4000 }])
    await producer.produce('made', [{ ...payload('much later'), delayMs: 3_600_000 }])
    await producer.produce('held', [payload('x')])
    const [first, a] = await queues.get('made').pull(2, 30_000)
    await queues.get('made').nack([{ receipt: first!.receipt, reject: true }])
    await expect.poll(() => queues.find('made.dead')?.waiting).toBe(1)
    await keeper.stop()
    // How much waits in them is known before who has what: clients of the broker hear 503 until both are.
    const names = ['made', 'made@g', 'made.dead', 'held']
    await expect.poll(() => names.map((name) => other.queues.find(name)?.isOpen)).toEqual(names.map(() => true))
    const mine = other.queues.get('made')
    expect(mine.waiting).toBe(2)
    expect(mine.idOf(1)).toBe(queues.get('made').idOf(1))
    expect(await mine.ack([a!.receipt])).toEqual([{ receipt: a!.receipt, ok: true }])
    expect(texts(await mine.pull(10, 30_000))).toEqual(['b'])
    expect(texts(await mine.pull(10, 30_000, 15_000))).toEqual(['later'])
    expect(other.queues.intake('made').schedule.waiting).toBe(1)
    expect(texts(await other.queues.get('made@g').pull(10, 30_000))).toEqual(['first', 'a', 'b', 'later'])
    expect(texts(await other.queues.get('made.dead').pull(10, 30_000))).toEqual(['first'])
    expect(other.queues.get('held').paused).toBe(true)
    expect(other.queues.settingsOf('made').maxAttempts).toBe(1)
    keeper = await startNode(redis.url, 'keeper-2', { bridge })
  })

  test('a redrive goes on where the next node keeps the queues, and moves everything once', async () => {
    await keeper.queues.define('made', { ...keeper.queues.settingsOf('jobs'), maxAttempts: 1 })
    const payloads = Array.from({ length: 60 }, (_, i) => `${i}`)
    await makeProducer(keeper).produce(
      'made',
      payloads.map((text) => ({ payload: Buffer.from(text) })),
    )
    const got = await keeper.queues.get('made').pull(100, 30_000, 10_000)
    await keeper.queues.get('made').nack(got.map(({ receipt }) => ({ receipt, reason: 'broken' })))
    await expect.poll(() => keeper.queues.find('made.dead')?.waiting).toBe(got.length)
    const { id } = await keeper.queues.control.redrive('made.dead', {}, 20)
    await expect.poll(() => keeper.queues.control.jobs.get(id).count).toBeGreaterThan(4)
    await keeper.stop()
    await expect.poll(() => other.queues.control.jobs.list().map((job) => job.id)).toEqual([id])
    expect(other.queues.control.jobs.get(id).count).toBeGreaterThan(4)
    expect(await other.queues.control.jobs.ended(id)).toMatchObject({ state: 'done', count: got.length })
    const again = texts(await other.queues.get('made').pull(100, 30_000))
    expect(again.sort()).toEqual(payloads.sort())
    expect(other.queues.get('made.dead').waiting).toBe(0)
    keeper = await startNode(redis.url, 'keeper-2', { bridge })
  })

  test('when the keeper leaves, the other node keeps the queues, with what is in them', async () => {
    const b = await connect(other, { clientId: 'b' })
    for (let i = 0; i < 10; i++) await b.publishAsync('jobs/1', `${i}`, { qos: 1 })
    await expect.poll(async () => (await keeper.queues.get('jobs').info()).ready).toBe(10)
    const [first] = await keeper.queues.get('jobs').pull(1, 30_000)
    await keeper.queues.get('jobs').ack([first!.receipt])
    await keeper.stop()
    await expect.poll(() => other.cluster.leads).toBe(true)
    await expect.poll(() => other.queues.find('jobs')?.ready).toBe(9)
    for (let i = 10; i < 15; i++) await b.publishAsync('jobs/1', `${i}`, { qos: 1 })
    expect(await pullAll(other, 14)).toEqual(Array.from({ length: 14 }, (_, i) => `${i + 1}`))
    keeper = await startNode(redis.url, 'keeper-2', { bridge })
  })
})
