/** The door of a queue when things go wrong between the broker and Redis, and who may keep it. */
import { type ChildProcess, spawn } from 'node:child_process'
import { Redis } from 'ioredis'
import mqtt from 'mqtt'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { systemRandom } from '../../src/base/random.ts'
import { connectRedis } from '../../src/base/redis-connection.ts'
import { loadConfig } from '../../src/config/load.ts'
import type { DoorOrder } from '../../src/door.ts'
import { RedisDoor } from '../../src/doors/redis.ts'
import { BrokerProcess, projectRoot } from '../support/broker-process.ts'
import { lastingPort } from '../support/ports.ts'
import { type Node, startNode } from '../support/redis-nodes.ts'
import { hasRedis, RedisProcess, RedisProxy } from '../support/redis-process.ts'

const STREAM = 'sluicemq:work:jobs'

const nothing: DoorOrder = {
  queue: 'jobs',
  remove: [],
  answered: [],
  answersAfter: '',
  takeBack: [],
  overdue: [],
  lay: [],
  since: '',
  workers: 0,
  look: false,
  survey: false,
  close: false,
}

describe.skipIf(!hasRedis)('the door of a queue', () => {
  const undo: (() => unknown)[] = []
  let redis: RedisProcess

  const redisWith = async (args: string[] = []): Promise<RedisProcess> => {
    const started = await RedisProcess.start({ appendfsync: 'no', args })
    undo.push(() => started.stop())
    return started
  }
  const doorTo = async (url: string, leader = '', cluster = false): Promise<RedisDoor> => {
    const client = connectRedis({ url, cluster }, 'door')
    const door = new RedisDoor({
      connect: () => client,
      clock: systemClock,
      random: systemRandom,
      prefix: cluster ? '{sluicemq}:' : 'sluicemq:',
      leader: () => leader,
      answerTimeoutMs: 2000,
    })
    undo.push(() => door.close())
    if (client.status !== 'ready') await new Promise<void>((resolve) => void client.once('ready', () => resolve()))
    return door
  }
  const startWith = async (more: Parameters<typeof startNode>[3] = {}): Promise<Node> => {
    const config = {
      bridge: [{ topicFilter: 'jobs/#', queue: 'jobs' }],
      nodes: { timeoutMs: 1000 },
      queues: {
        jobs: { leaseMs: 10_000, redisWorkers: { enabled: true, prefetch: 50 } },
        more: { redisWorkers: { enabled: true } },
      },
    }
    const node = await startNode(redis.url, 'node', config, more)
    undo.push(() => node.stop())
    return node
  }
  const put = async (node: Node, queue: string, count: number, from = 0, pad = ''): Promise<void> => {
    const device = mqtt.connect({ ...node.mqtt, reconnectPeriod: 0, clientId: 'device' })
    await new Promise<void>((resolve) => device.once('connect', () => resolve()))
    const payloads = Array.from({ length: count }, (_, i) => `${from + i}${pad}`)
    await Promise.all(payloads.map((payload) => device.publishAsync(`${queue}/1`, payload, { qos: 1 })))
    await device.endAsync()
  }
  const readFrom = async (client: Redis, stream = STREAM, count = 10): Promise<[string, string][]> => {
    const found = (await client
      .call('XREADGROUP', 'GROUP', 'workers', 'w', 'COUNT', count, 'BLOCK', 200, 'STREAMS', stream, '>')
      .catch(() => null)) as [string, [string, string[]][]][] | null
    return (found?.[0]?.[1] ?? []).map(([id, flat]) => [id, flat[flat.indexOf('payload') + 1]!])
  }
  const worker = (url = redis.url): Redis => {
    const client = new Redis(url)
    undo.push(() => client.disconnect())
    return client
  }

  beforeEach(async () => {
    redis = await redisWith()
  })
  afterEach(async () => {
    for (const each of undo.splice(0).reverse()) await each()
  })

  test('only one keeps it: what an earlier keeper still has on its way is refused', async () => {
    const [first, second] = [await doorTo(redis.url), await doorTo(redis.url)]
    await first.begin(true)
    const lay = [['receipt', '1-a', 'payload', 'x']]
    expect((await first.exchange([{ ...nothing, lay }]))[0]!.laid).toHaveLength(1)
    expect(await second.begin(false)).toEqual(['jobs'])
    await expect(first.exchange([{ ...nothing, lay }])).rejects.toMatchObject({ code: 'store_unavailable' })
    const [report] = await second.exchange([{ ...nothing, survey: true }])
    expect(report!.lying!.map(({ receipt }) => receipt)).toEqual(['1-a'])
  })

  test('a node that does not lead keeps none', async () => {
    await redis.admin.set('sluicemq:led', 'other 4')
    const door = await doorTo(redis.url, 'me 3')
    await expect(door.begin(true)).rejects.toMatchObject({ code: 'node_fenced' })
    await redis.admin.set('sluicemq:led', 'me 3')
    await door.begin(true)
    await redis.admin.set('sluicemq:led', 'other 4')
    await expect(door.exchange([nothing])).rejects.toMatchObject({ code: 'node_fenced' })
    expect(await redis.admin.exists(STREAM)).toBe(0)
  })

  test('who was in time is decided in one step: an entry that was acknowledged is not overdue', async () => {
    const door = await doorTo(redis.url)
    await door.begin(true)
    const lay = ['a', 'b', 'c'].map((receipt) => ['receipt', receipt, 'payload', receipt])
    const { laid } = (await door.exchange([{ ...nothing, lay }]))[0]!
    const w = worker()
    await readFrom(w, STREAM, 2)
    expect(await w.xack(STREAM, 'workers', laid[0]!)).toBe(1)
    const overdue = laid.map((id) => ({ id, idleMs: 0 }))
    const [report] = await door.exchange([{ ...nothing, overdue, takeBack: laid }])
    expect(report).toMatchObject({ overdue: [laid[1]], takenBack: [laid[2]], held: [], lastTaken: laid[1], entries: 1 })
    expect(await w.xack(STREAM, 'workers', laid[1]!)).toBe(0)
  })

  test('a keeper hears every answer on which an earlier one may not have acted', async () => {
    const [first, second] = [await doorTo(redis.url), await doorTo(redis.url)]
    await first.begin(true)
    const lay = Array.from({ length: 700 }, (_, i) => ['receipt', `${i}`, 'payload', 'x'])
    await first.exchange([{ ...nothing, lay }])
    const w = worker()
    const taken = await readFrom(w, STREAM, 1000)
    for (const [id] of taken) void w.xadd('sluicemq:answers:jobs', '*', 'id', id, 'answer', 'nack')
    await expect.poll(() => redis.admin.xlen('sluicemq:answers:jobs')).toBe(700)
    const [heard] = await first.exchange([{ ...nothing, answersAfter: '0-1' }])
    expect(heard!.answers.length).toBe(500)
    await second.begin(true)
    const [report] = await second.exchange([{ ...nothing, survey: true }])
    expect(report!.answers.map(({ of }) => of)).toEqual(taken.map(([id]) => id))
  })

  test('works in a Redis Cluster, where all its keys lie in one slot', async () => {
    const bus = ['--cluster-port', String(await lastingPort()), '--cluster-announce-ip', '127.0.0.1']
    const cluster = await redisWith(['--cluster-enabled', 'yes', ...bus])
    await cluster.admin.call('CLUSTER', 'ADDSLOTSRANGE', '0', '16383')
    await expect
      .poll(async () => String(await cluster.admin.call('CLUSTER', 'INFO')), { timeout: 10_000 })
      .toMatch(/cluster_state:ok/)
    const door = await doorTo(cluster.url, '', true)
    expect(await door.begin(true)).toEqual([])
    const lay = [['receipt', '1-a', 'payload', 'x']]
    expect((await door.exchange([{ ...nothing, lay }]))[0]!.laid).toHaveLength(1)
    expect((await readFrom(worker(cluster.url), door.placeOf('jobs'))).map(([, payload]) => payload)).toEqual(['x'])
    const keys = await cluster.admin.keys('*')
    expect(keys.filter((key) => !key.startsWith('{sluicemq}:'))).toEqual([])
  })

  test('an order whose report is lost is neither forgotten nor carried out twice', async () => {
    const proxy = await RedisProxy.start(redis.port)
    undo.push(() => proxy.stop())
    const node = await startWith({ doorUrl: proxy.url, answerTimeoutMs: 150 })
    const w = worker()
    const got: string[] = []
    const work = async (): Promise<void> => {
      const found = await readFrom(w)
      for (const [id, payload] of found) {
        expect(await w.xack(STREAM, 'workers', id)).toBe(1)
        got.push(payload)
      }
    }
    for (let round = 0; round < 5; round++) {
      await put(node, 'jobs', 40, round * 40)
      await work()
      proxy.dropAnswers = true
      for (let i = 0; i < 3; i++) await work()
      // The connection ends after a while without an answer.
      await new Promise((resolve) => setTimeout(resolve, 200))
      if (round % 2 === 0) proxy.cut()
      proxy.dropAnswers = false
    }
    const queue = node.queues.get('jobs')
    await expect
      .poll(
        async () => {
          await work()
          return queue.waiting
        },
        { timeout: 15_000, interval: 10 },
      )
      .toBe(0)
    expect(got.length).toBe(200)
    expect(new Set(got).size).toBe(200)
    expect(queue.counters).toMatchObject({ acked: 200, failed: 0 })
    await expect.poll(() => redis.admin.xlen(STREAM)).toBe(0)
  })

  test('about 32 MiB lie outside at most, and what is larger gets there in turn', async () => {
    const node = await startWith()
    const settings = node.queues.settingsOf('jobs')
    await node.queues.define('jobs', { ...settings, redisWorkers: { enabled: true, prefetch: 1000 } })
    const w = worker()
    await put(node, 'jobs', 1)
    let done = 0
    const work = async (): Promise<number> => {
      for (const [id] of await readFrom(w, STREAM, 1)) done += await w.xack(STREAM, 'workers', id)
      return done
    }
    await expect.poll(work).toBe(1)
    await put(node, 'jobs', 48, 0, 'x'.repeat(1_000_000))
    await expect.poll(() => redis.admin.xlen(STREAM), { timeout: 10_000 }).toBeGreaterThan(30)
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await redis.admin.xlen(STREAM)).toBeLessThan(40)
    await expect.poll(work, { timeout: 15_000, interval: 1 }).toBe(49)
  })

  test('a place that somebody spoiled troubles no other queue, and is used again when it is mended', async () => {
    const troubles: string[] = []
    const node = await startWith()
    node.events.on('doorTroubled', ({ where }) => troubles.push(where))
    await expect.poll(() => redis.admin.exists(STREAM)).toBe(1)
    await redis.admin.set(STREAM, 'no stream')
    await expect.poll(() => troubles).toEqual(['the door of queue jobs'])
    await node.rules.apply('more', { topicFilter: 'more/+', queue: 'more' })
    await put(node, 'jobs', 3)
    await put(node, 'more', 3)
    const w = worker()
    await expect.poll(() => readFrom(w, 'sluicemq:work:more')).not.toEqual([])
    // Other workers get what would have gone out.
    const [delivery] = await node.queues.get('jobs').pull(1, 30_000, 10_000)
    expect(delivery!.attempt).toBe(1)
    await redis.admin.del(STREAM)
    await expect.poll(() => readFrom(w)).not.toEqual([])
  })

  test('where Redis has no memory left, what could not be laid out is laid out later', async () => {
    const node = await startWith()
    await node.queues.pause('jobs', true)
    await put(node, 'jobs', 20)
    await redis.admin.config('SET', 'maxmemory', '1mb')
    await node.queues.pause('jobs', false).catch(() => {})
    await new Promise((resolve) => setTimeout(resolve, 300))
    expect(await redis.admin.xlen(STREAM)).toBe(0)
    await redis.admin.config('SET', 'maxmemory', '0')
    const w = worker()
    const got = new Set<string>()
    await expect
      .poll(
        async () => {
          for (const [id, payload] of await readFrom(w)) {
            got.add(payload)
            await w.xack(STREAM, 'workers', id)
          }
          return got.size
        },
        { timeout: 10_000, interval: 10 },
      )
      .toBe(20)
    await expect.poll(() => node.queues.get('jobs').waiting).toBe(0)
  })
})

describe('settings', () => {
  test('redisWorkers needs Redis', () => {
    const env = { SLUICEMQ_QUEUES: '{ jobs: { redisWorkers: { enabled: true } } }' }
    expect(() => loadConfig({ env })).toThrow('queues.jobs.redisWorkers.enabled: needs store: redis')
    const redis = { SLUICEMQ_STORE: 'redis', SLUICEMQ_REDIS_URL: 'redis://127.0.0.1' }
    expect(loadConfig({ env: { ...env, ...redis } }).queues['jobs']!.redisWorkers.prefetch).toBe(1000)
  })
})

describe.skipIf(!hasRedis)('examples', () => {
  let redis: RedisProcess
  let broker: BrokerProcess
  const children: ChildProcess[] = []

  beforeEach(async () => {
    redis = await RedisProcess.start({ appendfsync: 'no' })
    const config = { redisUrl: redis.url, queues: { jobs: { redisWorkers: { enabled: true } } } }
    broker = await BrokerProcess.start({ store: 'redis', config })
  })
  afterEach(async () => {
    for (const { pid } of children.splice(0)) {
      try {
        process.kill(-pid!, 'SIGKILL')
      } catch {
        // It has ended.
      }
    }
    await broker.stop()
    await redis.stop()
  })

  test.each([
    [
      'worker_redis.py',
      'python3',
      (port: number) => ['-u', 'examples/worker_redis.py', 'jobs', '127.0.0.1', `${port}`],
    ],
    ['worker_redis.sh', 'sh', (port: number) => ['examples/worker_redis.sh', 'jobs', '-p', `${port}`]],
  ])(
    '%s works messages, and the API tells of it',
    async (_name, command, args) => {
      const child = spawn(command, args(redis.port), {
        cwd: projectRoot(),
        stdio: ['ignore', 'pipe', 'pipe'],
        detached: true,
      })
      children.push(child)
      let said = ''
      for (const stream of [child.stdout, child.stderr])
        stream.setEncoding('utf8').on('data', (text: string) => {
          said += text
        })
      const messages = ['{"celsius":21}', '{"celsius":22}', '{"celsius":23}'].map((payload) => ({
        topic: 'jobs/1',
        payload,
      }))
      const answer = await fetch(`${broker.http}/api/v1/queues/jobs/messages`, {
        method: 'POST',
        headers: { 'content-type': 'application/json' },
        body: JSON.stringify({ messages }),
      })
      expect(answer.status).toBe(201)
      const info = async () => (await (await fetch(`${broker.http}/api/v1/queues/jobs`)).json()) as object
      await expect
        .poll(info, { timeout: 15_000, interval: 20 })
        .toMatchObject({ ready: 0, leased: 0, redisWorkers: { stream: STREAM, waiting: 0, taken: 0, workers: 1 } })
      for (const { payload } of messages) expect(said).toContain(`jobs/1 ${payload}`)
      const metrics = await (await fetch(`${broker.http}/metrics`)).text()
      expect(metrics).toContain('sluicemq_queue_redis_messages{queue="jobs",state="taken"} 0')
    },
    30_000,
  )
})
