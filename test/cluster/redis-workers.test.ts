/** Workers that know nothing of the broker: they read a Redis Stream with a consumer group. */
import { Redis } from 'ioredis'
import mqtt, { type IClientOptions, type MqttClient } from 'mqtt'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, test } from 'vitest'
import { configSchema } from '../../src/config/schema.ts'
import type { QueueSettings } from '../../src/queue/settings.ts'
import { decodeMessage } from '../../src/router/message.ts'
import { type Node, startNode } from '../support/redis-nodes.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

const STREAM = 'sluicemq:work:jobs'
const ANSWERS = 'sluicemq:answers:jobs'
/** Long enough for a busy machine to say something in a third of it. */
const leaseMs = 1500
/** Where a test is not about leases that run out. */
const long = { leaseMs: 60_000, redisWorkers: { enabled: true, prefetch: 100 } }

interface Work {
  id: string
  fields: Record<string, string>
}

/** What the client libraries of all languages can do. */
class Worker {
  readonly redis: Redis
  readonly name: string
  readonly stream: string
  constructor(url: string, name: string, stream = STREAM) {
    this.redis = new Redis(url)
    this.name = name
    this.stream = stream
  }

  async read(count = 10, blockMs = 2000): Promise<Work[]> {
    const args = ['workers', this.name, 'COUNT', count, 'BLOCK', blockMs, 'STREAMS', this.stream, '>']
    const found = (await this.redis.call('XREADGROUP', 'GROUP', ...args)) as [string, [string, string[]][]][] | null
    return (found?.[0]?.[1] ?? []).map(([id, flat]) => ({ id, fields: fieldsOf(flat) }))
  }

  /** Reads until there is something to do. */
  async one(): Promise<Work> {
    for (;;) {
      const [work] = await this.read(1).catch((error: Error) => {
        if (!/NOGROUP|UNBLOCKED|no longer exists/.test(error.message)) throw error
        return []
      })
      if (work !== undefined) return work
    }
  }

  ack(...ids: string[]): Promise<number> {
    return this.redis.xack(this.stream, 'workers', ...ids)
  }

  answer(id: string, answer: string, more: Record<string, string | number> = {}): Promise<unknown> {
    const key = this.stream.replace(':work:', ':answers:')
    return this.redis.xadd(key, '*', 'id', id, 'answer', answer, ...Object.entries(more).flat())
  }
}

function fieldsOf(flat: readonly string[]): Record<string, string> {
  const fields: Record<string, string> = {}
  for (let i = 0; i < flat.length; i += 2) fields[flat[i]!] = flat[i + 1]!
  return fields
}

const settingsOf = (more: object): QueueSettings =>
  configSchema.parse({
    bridge: [],
    queues: { jobs: { leaseMs, backoff: { minMs: 1, maxMs: 1, jitter: 'none' }, ...more } },
  }).queues['jobs'] as QueueSettings

describe.skipIf(!hasRedis)('workers that read a Redis Stream', () => {
  let redis: RedisProcess
  let node: Node
  const clients: MqttClient[] = []
  const workers: Worker[] = []
  const nodes: Node[] = []

  const worker = (name: string, stream?: string): Worker => {
    const made = new Worker(redis.url, name, stream)
    workers.push(made)
    return made
  }
  const connect = async (to: Node, options: IClientOptions): Promise<MqttClient> => {
    const client = mqtt.connect({ ...to.mqtt, reconnectPeriod: 0, protocolVersion: 5, ...options })
    clients.push(client)
    await new Promise<void>((resolve) => client.once('connect', () => resolve()))
    return client
  }
  const start = async (name: string, more: object = {}): Promise<Node> => {
    const started = await startNode(redis.url, name, {
      bridge: [
        { name: 'jobs', topicFilter: 'jobs/#', queue: 'jobs' },
        { name: 'keyed', topicFilter: 'keyed/+', queue: 'jobs', key: '{topic}' },
      ],
      nodes: { timeoutMs: 1000 },
      queues: {
        jobs: {
          leaseMs,
          backoff: { minMs: 1, maxMs: 1, jitter: 'none' },
          redisWorkers: { enabled: true, prefetch: 100 },
          ...more,
        },
        'jobs.dead': { redisWorkers: { enabled: true } },
      },
    })
    nodes.push(started)
    return started
  }
  const publish = async (count: number, topic = 'jobs/1'): Promise<void> => {
    const client = clients[0] ?? (await connect(node, { clientId: 'device' }))
    await Promise.all(Array.from({ length: count }, (_, i) => client.publishAsync(topic, `${i}`, { qos: 1 })))
  }
  const waiting = (): number => node.queues.get('jobs').waiting
  const empty = async (): Promise<void> => {
    await expect.poll(waiting).toBe(0)
    await expect.poll(() => redis.admin.xlen(STREAM)).toBe(0)
  }

  beforeAll(async () => {
    redis = await RedisProcess.start({ appendfsync: 'no' })
  })
  afterAll(() => redis.stop())
  beforeEach(async () => {
    await redis.flush()
    node = await start('node')
  })
  afterEach(async () => {
    for (const client of clients.splice(0)) client.end(true)
    for (const { redis: client } of workers.splice(0)) client.disconnect()
    await Promise.all(nodes.splice(0).map((each) => each.stop()))
  })

  test('XREADGROUP takes a message with its origin, XACK says that it is done', async () => {
    const device = await connect(node, { clientId: 'device' })
    const userProperties = { unit: 'C' }
    await device.publishAsync('jobs/1', '{"celsius":21}', { qos: 1, properties: { userProperties } })
    const w = worker('w')
    const { id, fields } = await w.one()
    const { time, receipt: _, id: messageId, ...rest } = fields
    expect(Date.now() - Number(time)).toBeLessThan(5000)
    expect(messageId).toMatch(/^[0-9a-f]{16}-1$/)
    expect(rest).toEqual({
      topic: 'jobs/1',
      clientId: 'device',
      qos: '1',
      payload: '{"celsius":21}',
      attempt: '1',
      leaseMs: String(leaseMs),
      properties: '{"userProperties":[["unit","C"]]}',
    })
    expect(node.queues.get('jobs').leased).toBe(1)
    expect(await w.ack(id)).toBe(1)
    await empty()
    expect(node.queues.get('jobs').counters).toMatchObject({ delivered: 1, acked: 1, failed: 0 })
  })

  test('what a worker is silent about is another attempt, and its late XACK is answered with 0', async () => {
    await publish(1)
    const w = worker('w')
    const first = await w.one()
    const again = await w.one()
    expect(again.id).not.toBe(first.id)
    expect(again.fields).toMatchObject({ id: first.fields['id'], attempt: '2' })
    expect(JSON.parse(again.fields['failures']!)).toMatchObject([{ attempt: 1, reason: 'lease expired' }])
    expect(await w.ack(first.id)).toBe(0)
    expect(await w.ack(again.id)).toBe(1)
    await empty()
    expect(node.queues.get('jobs').counters).toMatchObject({ acked: 1, failed: 1, leasesExpired: 1 })
  })

  test('a lease goes on while its worker says extend, or claims the message for itself', async () => {
    await publish(2)
    const w = worker('w')
    const [a, b] = [await w.one(), await w.one()]
    for (let i = 0; i < 6; i++) {
      await new Promise((resolve) => setTimeout(resolve, leaseMs / 3))
      await w.answer(a.id, 'extend', { consumer: 'w' })
      await w.redis.call('XCLAIM', STREAM, 'workers', 'w', 0, b.id, 'JUSTID')
    }
    expect(await w.ack(a.id, b.id)).toBe(2)
    await empty()
    expect(node.queues.get('jobs').counters).toMatchObject({ acked: 2, failed: 0 })
  })

  test('an extension names how long it is', async () => {
    await publish(1)
    const w = worker('w')
    const { id } = await w.one()
    await w.answer(id, 'extend', { leaseMs: leaseMs * 4 })
    await new Promise((resolve) => setTimeout(resolve, leaseMs * 1.5))
    expect(await w.ack(id)).toBe(1)
    await empty()
  })

  test('nack brings a message back after the delay, reject makes a dead letter, release counts no attempt', async () => {
    const w = worker('w')
    await publish(1)
    const first = await w.one()
    await w.answer(first.id, 'nack', { delayMs: 300, reason: 'busy' })
    const saidAt = performance.now()
    const second = await w.one()
    expect(performance.now() - saidAt).toBeGreaterThan(250)
    expect(second.fields['attempt']).toBe('2')
    expect(JSON.parse(second.fields['failures']!)).toMatchObject([{ reason: 'busy' }])
    await w.answer(second.id, 'release')
    const third = await w.one()
    expect(third.fields['attempt']).toBe('2')
    await w.answer(third.id, 'reject', { reason: 'never' })
    await empty()
    expect(await redis.admin.xlen(ANSWERS)).toBe(0)
    expect(await w.ack(third.id)).toBe(0)
    const dead = worker('d', 'sluicemq:work:jobs.dead')
    const letter = await dead.one()
    expect(letter.fields['id']).toBe(first.fields['id'])
    expect(JSON.parse(letter.fields['deadLetter']!)).toMatchObject({ queue: 'jobs', attempts: 2 })
    expect(JSON.parse(letter.fields['failures']!).map(({ reason }: { reason: string }) => reason)).toEqual([
      'busy',
      'never',
    ])
    expect(await dead.ack(letter.id)).toBe(1)
    await expect.poll(() => node.queues.get('jobs.dead').waiting).toBe(0)
  })

  test('what somebody says who does not have the message changes nothing', async () => {
    await publish(1)
    const w = worker('w')
    const { id } = await w.one()
    await w.answer(id, 'reject', { consumer: 'somebody else' })
    await w.answer('1-1', 'reject')
    await w.answer('nonsense', 'nack')
    await w.answer(id, 'nonsense')
    await expect.poll(() => redis.admin.xlen(ANSWERS)).toBe(0)
    expect(await w.ack(id)).toBe(1)
    await empty()
    expect(node.queues.get('jobs').counters).toMatchObject({ acked: 1, failed: 0 })
  })

  test('a message that used up its attempts is a dead letter', async () => {
    await node.queues.define('jobs', settingsOf({ maxAttempts: 2, leaseMs: 100, redisWorkers: { enabled: true } }))
    await publish(1)
    const w = worker('w')
    await w.one()
    await w.one()
    await expect.poll(() => node.queues.find('jobs.dead')?.waiting).toBe(1)
    await empty()
  })

  test('XAUTOCLAIM gives a message to another worker, whose lease it then is', async () => {
    await publish(1)
    const [a, b] = [worker('a'), worker('b')]
    const { id } = await a.one()
    await new Promise((resolve) => setTimeout(resolve, leaseMs / 2))
    const [, claimed] = (await b.redis.call('XAUTOCLAIM', STREAM, 'workers', 'b', leaseMs / 4, '0')) as [
      string,
      [string][],
    ]
    expect(claimed.map(([claimedId]) => claimedId)).toEqual([id])
    await new Promise((resolve) => setTimeout(resolve, (leaseMs * 3) / 4))
    expect(node.queues.get('jobs').counters.failed).toBe(0)
    expect(await b.ack(id)).toBe(1)
    await empty()
  })

  test('a message that is claimed by one worker after another runs out of attempts', async () => {
    await node.queues.define('jobs', settingsOf({ maxAttempts: 3, redisWorkers: { enabled: true } }))
    await publish(1)
    const { id } = await worker('w').one()
    for (const name of ['a', 'b', 'c', 'd']) {
      await redis.admin.xclaim(STREAM, 'workers', name, 0, id)
      await new Promise((resolve) => setTimeout(resolve, (leaseMs * 3) / 4))
    }
    await expect.poll(() => node.queues.find('jobs.dead')?.waiting).toBe(1)
    await empty()
  })

  test('foreign, HTTP and MQTT workers share a queue; nothing is worked twice', async () => {
    await node.queues.define('jobs', settingsOf(long))
    const count = 600
    const got: string[] = []
    let over = false
    const foreign = async (name: string): Promise<number> => {
      const w = worker(name)
      let mine = 0
      while (!over) {
        const found = await w.read(5, 50)
        got.push(...found.map(({ fields }) => fields['payload']!))
        mine += found.length
        if (found.length > 0) await w.ack(...found.map(({ id }) => id))
      }
      return mine
    }
    const inside = async (): Promise<number> => {
      let mine = 0
      while (!over) {
        const found = await node.queues.get('jobs').pull(5, 30_000, 50)
        got.push(...found.map(({ message }) => decodeMessage(message).payload.toString()))
        mine += found.length
        await node.queues.get('jobs').ack(found.map(({ receipt }) => receipt))
      }
      return mine
    }
    const member = await connect(node, { clientId: 'member', properties: { receiveMaximum: 10 } })
    let byMember = 0
    member.on('message', (_topic, payload) => {
      byMember++
      got.push(payload.toString())
    })
    await member.subscribeAsync('$queue/jobs', { qos: 1 })
    const shares = Promise.all([foreign('a'), foreign('b'), inside()])
    const device = await connect(node, { clientId: 'device' })
    for (let i = 0; i < count; i += 20)
      await Promise.all(Array.from({ length: 20 }, (_, n) => device.publishAsync('jobs/1', `${i + n}`, { qos: 1 })))
    await empty()
    over = true
    const [a, b, c] = await shares
    expect(got.length).toBe(count)
    expect(new Set(got).size).toBe(count)
    expect({ foreign: a + b > 0, inside: c > 0, member: byMember > 0 }).toEqual({
      foreign: true,
      inside: true,
      member: true,
    })
  })

  test('with no worker outside, the others get everything at once', async () => {
    await node.queues.define('jobs', settingsOf(long))
    await publish(50)
    const got: string[] = []
    while (got.length < 50) {
      const found = await node.queues.get('jobs').pull(100, 30_000, 2000)
      expect(found.length).toBeGreaterThan(0)
      got.push(...found.map(({ message, attempt }) => `${decodeMessage(message).payload} ${attempt}`))
      await node.queues.get('jobs').ack(found.map(({ receipt }) => receipt))
    }
    expect(got.sort()).toEqual(Array.from({ length: 50 }, (_, i) => `${i} 1`).sort())
    await empty()
  })

  test('what a busy worker has been given ahead goes to workers that have nothing to do', async () => {
    await node.queues.define('jobs', settingsOf({ leaseMs: 10_000, redisWorkers: { enabled: true } }))
    const w = worker('w')
    await publish(1)
    expect(await w.ack((await w.one()).id)).toBe(1)
    await publish(20)
    await expect.poll(() => redis.admin.xlen(STREAM)).toBe(20)
    const busy = await w.read(1)
    const got: string[] = []
    while (got.length < 19) {
      const found = await node.queues.get('jobs').pull(5, 30_000, 3000)
      expect(found.length).toBeGreaterThan(0)
      got.push(...found.map(({ message, attempt }) => `${decodeMessage(message).payload} ${attempt}`))
      await node.queues.get('jobs').ack(found.map(({ receipt }) => receipt))
    }
    expect(got.every((text) => text.endsWith(' 1'))).toBe(true)
    expect(await w.ack(busy[0]!.id)).toBe(1)
    await empty()
  })

  test('messages of one key are worked one after the other, in order', async () => {
    const device = await connect(node, { clientId: 'device' })
    for (let i = 0; i < 10; i++)
      for (const key of ['a', 'b']) await device.publishAsync(`keyed/${key}`, `${i}`, { qos: 1 })
    const [a, b] = [worker('a'), worker('b')]
    const seen: Record<string, string[]> = {}
    const held = new Set<string>()
    let count = 0
    const work = async (w: Worker): Promise<void> => {
      while (count < 20) {
        const found = await w.read(10, 50)
        for (const { fields } of found) {
          const topic = fields['topic']!
          expect(fields['key']).toBe(topic)
          expect(held.has(topic)).toBe(false)
          held.add(topic)
          seen[topic] = [...(seen[topic] ?? []), fields['payload']!]
          count++
        }
        await new Promise((resolve) => setTimeout(resolve, 5))
        for (const { fields } of found) held.delete(fields['topic']!)
        if (found.length > 0) await w.ack(...found.map(({ id }) => id))
      }
    }
    await Promise.all([work(a), work(b)])
    const order = Array.from({ length: 10 }, (_, i) => `${i}`)
    expect(seen).toEqual({ 'keyed/a': order, 'keyed/b': order })
    await empty()
  })

  test.each(['the stream', 'the group'])('nothing is lost when somebody removes %s', async (what) => {
    const w = worker('w')
    await publish(1)
    expect(await w.ack((await w.one()).id)).toBe(1)
    await publish(10)
    await expect.poll(() => redis.admin.xlen(STREAM)).toBe(10)
    const [held] = await w.read(1)
    await expect.poll(() => node.queues.doorOf('jobs')?.taken).toBe(1)
    if (what === 'the stream') await redis.admin.del(STREAM)
    else await redis.admin.xgroup('DESTROY', STREAM, 'workers')
    const took = performance.now()
    const got: string[] = []
    while (got.length < 10) {
      const work = await w.one()
      got.push(work.fields['payload']!)
      expect(await w.ack(work.id)).toBe(1)
      // Nobody else gets what a worker may still be working on.
      if (work.fields['id'] === held!.fields['id']) {
        expect(work.fields['attempt']).toBe('2')
        expect(performance.now() - took).toBeGreaterThan(leaseMs / 2)
      }
    }
    expect(new Set(got).size).toBe(10)
    await empty()
  })

  test('what somebody cuts off the stream is laid out again', async () => {
    const w = worker('w')
    await publish(1)
    expect(await w.ack((await w.one()).id)).toBe(1)
    await publish(10)
    await expect.poll(() => redis.admin.xlen(STREAM)).toBe(10)
    await redis.admin.xtrim(STREAM, 'MAXLEN', 0)
    await expect.poll(() => redis.admin.xlen(STREAM)).toBe(10)
    await redis.admin.xadd(STREAM, '*', 'no', 'message of ours')
    const got = new Set<string>()
    while (got.size < 10) {
      const work = await w.one()
      if (work.fields['payload'] !== undefined) got.add(work.fields['payload'])
      await w.ack(work.id)
    }
    await empty()
  })

  test('the messages of a worker that is removed from the group come again', async () => {
    await publish(3)
    const [a, b] = [worker('a'), worker('b')]
    const ids: string[] = []
    while (ids.length < 3) ids.push((await a.one()).fields['id']!)
    await expect.poll(() => node.queues.doorOf('jobs')?.taken).toBe(3)
    await redis.admin.xgroup('DELCONSUMER', STREAM, 'workers', 'a')
    const again: string[] = []
    while (again.length < 3) {
      const work = await b.one()
      again.push(work.fields['id']!)
      expect(work.fields['attempt']).toBe('2')
      expect(await b.ack(work.id)).toBe(1)
    }
    expect(again.sort()).toEqual(ids.sort())
    await empty()
  })

  test('a door is opened and shut while the broker runs, and leaves nothing behind', async () => {
    await publish(5)
    const w = worker('w')
    const { id } = await w.one()
    await node.queues.define('jobs', settingsOf({ leaseMs: 10_000 }))
    await expect.poll(() => node.queues.get('jobs').ready).toBe(4)
    expect(await w.ack(id)).toBe(1)
    await expect.poll(() => redis.admin.exists(STREAM, ANSWERS)).toBe(0)
    expect(await redis.admin.sismember('sluicemq:doors', 'jobs')).toBe(0)
    expect(node.queues.doorOf('jobs')).toBeUndefined()
    expect(node.queues.get('jobs').ready).toBe(4)
    await node.queues.define('jobs', settingsOf({ redisWorkers: { enabled: true } }))
    const got: string[] = []
    while (got.length < 4) {
      const work = await w.one()
      got.push(work.fields['attempt']!)
      expect(await w.ack(work.id)).toBe(1)
    }
    expect(got).toEqual(['1', '1', '1', '1'])
    await empty()
  })

  test('nobody gets messages of a queue that is paused, not even what lay in the stream', async () => {
    await node.queues.define('jobs', settingsOf(long))
    const w = worker('w')
    await publish(1)
    expect(await w.ack((await w.one()).id)).toBe(1)
    await publish(10)
    await expect.poll(() => redis.admin.xlen(STREAM)).toBe(10)
    const [held] = await w.read(1)
    await node.queues.pause('jobs', true)
    await expect.poll(() => redis.admin.xlen(STREAM)).toBe(1)
    expect(await w.ack(held!.id)).toBe(1)
    expect(await w.read(10, 300)).toEqual([])
    await node.queues.pause('jobs', false)
    const attempts: string[] = []
    while (attempts.length < 9) {
      const work = await w.one()
      attempts.push(work.fields['attempt']!)
      expect(await w.ack(work.id)).toBe(1)
    }
    expect(new Set(attempts)).toEqual(new Set(['1']))
    await empty()
  })

  test('a consumer group of the queue has a stream of its own', async () => {
    await node.queues.addGroup('jobs', 'audit')
    await publish(3)
    for (const stream of [STREAM, `${STREAM}@audit`]) {
      const w = worker('w', stream)
      const got: string[] = []
      while (got.length < 3) {
        const work = await w.one()
        got.push(work.fields['payload']!)
        expect(await w.ack(work.id)).toBe(1)
      }
      expect(got.sort()).toEqual(['0', '1', '2'])
    }
    await empty()
    await expect.poll(() => node.queues.get('jobs@audit').waiting).toBe(0)
  })

  test('where another node leads, workers go on with what they have, and hear who was late', async () => {
    await publish(4)
    const w = worker('w')
    const held: Work[] = []
    while (held.length < 4) held.push(await w.one())
    const other = await start('other')
    expect(await w.ack(held[0]!.id)).toBe(1)
    await node.stop()
    nodes.splice(nodes.indexOf(node), 1)
    expect(await w.ack(held[1]!.id)).toBe(1)
    await w.answer(held[2]!.id, 'reject', { reason: 'never' })
    await expect.poll(() => other.queues.doorOf('jobs')?.place).toBe(STREAM)
    node = other
    const again = await w.one()
    expect(again.fields).toMatchObject({ id: held[3]!.fields['id'], attempt: '2' })
    expect(await w.ack(held[3]!.id)).toBe(0)
    expect(await w.ack(again.id)).toBe(1)
    await empty()
    expect(other.queues.find('jobs.dead')?.waiting).toBe(1)
  })
})
