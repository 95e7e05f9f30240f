/** Two brokers over one Redis, spoken to by real clients. */
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { unownedKeysAtRest } from '../support/redis-keys.ts'
import { type Node, startNode } from '../support/redis-nodes.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

interface Got {
  topic: string
  payload: string
  qos: number
  retain: boolean
}

class Client {
  readonly mqtt: MqttClient
  readonly got: Got[] = []
  sessionPresent = false
  #heard: () => void = () => {}

  private constructor(client: MqttClient) {
    this.mqtt = client
    client.on('connect', ({ sessionPresent }) => {
      this.sessionPresent = sessionPresent
    })
    client.on('message', (topic, payload, { qos, retain }) => {
      this.got.push({ topic, payload: payload.toString(), qos, retain })
      this.#heard()
    })
    client.on('error', () => {})
  }

  static async to(node: Node, options: IClientOptions): Promise<Client> {
    const client = new Client(mqtt.connect({ ...node.mqtt, reconnectPeriod: 0, protocolVersion: 5, ...options }))
    clients.push(client)
    await new Promise<void>((resolve, reject) => {
      client.mqtt.once('connect', () => resolve())
      client.mqtt.once('close', () => reject(new Error('refused')))
    })
    return client
  }

  publish(topic: string, payload: string, qos: 0 | 1 | 2 = 1, retain = false): Promise<unknown> {
    return this.mqtt.publishAsync(topic, payload, { qos, retain })
  }

  subscribe(filter: string, qos: 0 | 1 | 2 = 1): Promise<unknown> {
    return this.mqtt.subscribeAsync(filter, { qos })
  }

  /** Resolves with the payloads once there are as many. */
  async payloads(count: number): Promise<string[]> {
    while (this.got.length < count)
      await new Promise<void>((resolve) => {
        this.#heard = resolve
      })
    return this.got.map(({ payload }) => payload)
  }

  end(): Promise<unknown> {
    return this.mqtt.endAsync()
  }
}

let clients: Client[] = []

describe.skipIf(!hasRedis)('two nodes over one Redis', () => {
  let redis: RedisProcess
  let a: Node
  let b: Node

  beforeAll(async () => {
    redis = await RedisProcess.start()
  })
  afterAll(() => redis.stop())
  beforeEach(async () => {
    await redis.flush()
    a = await startNode(redis.url, 'a')
    b = await startNode(redis.url, 'b')
  })
  afterEach(async () => {
    for (const { mqtt: client } of clients) client.end(true)
    clients = []
    const unowned = await unownedKeysAtRest(redis.admin, { queues: [] })
    await Promise.all([a.stop(), b.stop()])
    expect(unowned).toEqual([])
  })

  test.each([0, 1, 2] as const)('a clean session gets QoS %d from the other node, once and in order', async (qos) => {
    const reader = await Client.to(b, { clientId: 'reader' })
    await reader.subscribe('t/#', qos)
    const writer = await Client.to(a, { clientId: 'writer' })
    const sent = Array.from({ length: 50 }, (_, i) => `${i}`)
    for (const payload of sent) await writer.publish('t/1', payload, qos)
    expect(await reader.payloads(50)).toEqual(sent)
    await writer.publish('t/last', 'last', 1)
    expect(await reader.payloads(51)).toEqual([...sent, 'last'])
  })

  test('a stored session gets what was published on either node while it was away, wherever it comes back', async () => {
    const options = { clientId: 'sleeper', clean: false, properties: { sessionExpiryInterval: 600 } }
    const before = await Client.to(a, options)
    await before.subscribe('jobs/+', 2)
    await before.end()
    const onA = await Client.to(a, { clientId: 'wa' })
    const onB = await Client.to(b, { clientId: 'wb' })
    await onA.publish('jobs/1', 'one')
    await onB.publish('jobs/2', 'two')
    await onA.publish('jobs/3', 'three')
    const after = await Client.to(b, options)
    expect(after.sessionPresent).toBe(true)
    expect(await after.payloads(3)).toEqual(['one', 'two', 'three'])
    await onA.publish('jobs/4', 'four')
    expect(await after.payloads(4)).toEqual(['one', 'two', 'three', 'four'])
    await onA.publish('jobs/5', 'five', 0)
    expect(await after.payloads(5)).toEqual(['one', 'two', 'three', 'four', 'five'])
  })

  test('a new stored session gets what the other node publishes while it is connected', async () => {
    const options = { clientId: 'fresh', clean: false, properties: { sessionExpiryInterval: 600 } }
    const reader = await Client.to(b, options)
    await reader.subscribe('jobs/+', 1)
    const writer = await Client.to(a, { clientId: 'wa' })
    for (let i = 0; i < 5; i++) await writer.publish('jobs/1', `${i}`)
    expect(await reader.payloads(5)).toEqual(['0', '1', '2', '3', '4'])
  })

  test('a session that moves while messages flow gets each QoS 2 message once', async () => {
    // The client keeps what it knows of exchanges under way, as it must.
    const incomingStore = new mqtt.Store({ clean: false })
    const options = { clientId: 'mover', clean: false, incomingStore, properties: { sessionExpiryInterval: 600 } }
    const writer = await Client.to(a, { clientId: 'writer' })
    let current = await Client.to(a, options)
    await current.subscribe('m', 2)
    const all: Client[] = [current]
    let next = 0
    let moving = true
    const writing = (async () => {
      while (moving || next < 200) await writer.publish('m', `${next++}`, 2)
    })()
    for (let i = 0; i < 6; i++) {
      current = await Client.to(i % 2 === 0 ? b : a, options)
      expect(current.sessionPresent).toBe(true)
      all.push(current)
    }
    moving = false
    await writing
    const total = (): string[] => all.flatMap(({ got }) => got.map(({ payload }) => payload))
    await expect.poll(() => total().length, { timeout: 10_000 }).toBe(next)
    expect(new Set(total()).size).toBe(next)
  })

  test('one client id connecting on both nodes at once leaves exactly one connection, every time', async () => {
    for (let round = 0; round < 50; round++) {
      const closed: string[] = []
      const attempts = [a, b].map(async (node) => {
        const client = await Client.to(node, { clientId: 'twin' }).catch(() => null)
        client?.mqtt.on('close', () => closed.push(node.nodeId))
        return client
      })
      const both = (await Promise.all(attempts)).filter((client) => client !== null)
      await expect.poll(() => both.filter(({ mqtt: { connected } }) => connected).length).toBe(1)
      const survivor = both.find(({ mqtt: { connected } }) => connected)!
      await survivor.subscribe('alive')
      for (const { mqtt: client } of both) client.end(true)
    }
  })

  test('a retained message is found on the other node, and gone there when it is removed', async () => {
    const writer = await Client.to(a, { clientId: 'writer' })
    await writer.publish('state/1', 'on', 1, true)
    const first = await Client.to(b, { clientId: 'first' })
    await first.subscribe('state/+')
    await first.payloads(1)
    expect(first.got).toEqual([{ topic: 'state/1', payload: 'on', qos: 1, retain: true }])
    await writer.publish('state/1', '', 1, true)
    const second = await Client.to(b, { clientId: 'second' })
    await second.subscribe('state/+')
    await writer.publish('state/2', 'live')
    expect(await second.payloads(1)).toEqual(['live'])
  })

  test('a shared subscription spans the nodes: each message goes to one member', async () => {
    const one = await Client.to(a, { clientId: 'one' })
    const two = await Client.to(b, { clientId: 'two' })
    await one.subscribe('$share/g/work')
    await two.subscribe('$share/g/work')
    const writer = await Client.to(a, { clientId: 'writer' })
    for (let i = 0; i < 40; i++) await writer.publish('work', `${i}`)
    await expect.poll(() => one.got.length + two.got.length).toBe(40)
    const all = [...one.got, ...two.got].map(({ payload }) => payload)
    expect(new Set(all).size).toBe(40)
    expect(one.got.length).toBeGreaterThan(0)
    expect(two.got.length).toBeGreaterThan(0)
  })

  test('shared.localFirst: a message stays on its node while a member there can take it', async () => {
    const [here, there] = await Promise.all([
      startNode(redis.url, 'near', { shared: { localFirst: true } }),
      startNode(redis.url, 'far', { shared: { localFirst: true } }),
    ])
    try {
      const near = await Client.to(here, { clientId: 'near' })
      const far = await Client.to(there, { clientId: 'far' })
      await near.subscribe('$share/local/work')
      await far.subscribe('$share/local/work')
      const writer = await Client.to(here, { clientId: 'writer' })
      for (let i = 0; i < 10; i++) await writer.publish('work', `${i}`)
      expect((await near.payloads(10)).length).toBe(10)
      expect(far.got).toEqual([])
      await near.mqtt.endAsync()
      for (let i = 10; i < 20; i++) await writer.publish('work', `${i}`)
      expect((await far.payloads(10)).length).toBe(10)
    } finally {
      await Promise.all([here.stop(), there.stop()])
    }
  })

  test('a will is published to both nodes, once', async () => {
    const will = { topic: 'wills/x', payload: Buffer.from('gone'), qos: 1 as const, retain: false }
    const mortal = await Client.to(a, { clientId: 'mortal', will })
    const onA = await Client.to(a, { clientId: 'ra' })
    const onB = await Client.to(b, { clientId: 'rb' })
    await onA.subscribe('wills/#')
    await onB.subscribe('wills/#')
    mortal.mqtt.stream.destroy()
    expect(await onA.payloads(1)).toEqual(['gone'])
    expect(await onB.payloads(1)).toEqual(['gone'])
    await onA.publish('wills/end', 'end')
    expect(await onB.payloads(2)).toEqual(['gone', 'end'])
    expect(await onA.payloads(2)).toEqual(['gone', 'end'])
  })

  test('what nodes keep for connections is gone when the connections are', async () => {
    const reader = await Client.to(b, { clientId: 'reader' })
    await reader.subscribe('t/#')
    const writer = await Client.to(a, { clientId: 'writer' })
    for (let i = 0; i < 20; i++) await writer.publish('t/1', `${i}`)
    await reader.payloads(20)
    await reader.end()
    await writer.end()
    await expect.poll(() => redis.admin.hkeys('sluicemq:owners')).toEqual([])
    await expect
      .poll(async () => (await redis.admin.hkeys('sluicemq:meta')).filter((k) => k.startsWith('interest')))
      .toEqual([])
    await expect.poll(() => redis.admin.xlen('sluicemq:lane:n/b')).toBe(0)
  })
})
