/** A node that starts while no other keeps the work queues: when it says that it is ready. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { BrokerProcess } from '../support/broker-process.ts'
import { lastingPort } from '../support/ports.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'

describe.skipIf(!hasRedis)('a node that starts where the one that led has died', () => {
  let redis: RedisProcess
  let brokers: BrokerProcess[]

  beforeEach(async () => {
    redis = await RedisProcess.start()
    brokers = []
  })
  afterEach(async () => {
    await Promise.all(brokers.map((broker) => broker.stop()))
    await redis.stop()
  })

  async function start(timeoutMs: number, httpPort?: number): Promise<BrokerProcess> {
    const config = { nodes: { timeoutMs }, bridge: [{ topicFilter: 't', queue: 'work' }] }
    const args = ['--redis-url', redis.url, ...(httpPort === undefined ? [] : ['--http-port', String(httpPort)])]
    const broker = await BrokerProcess.start({ config, store: 'redis', args })
    brokers.push(broker)
    return broker
  }

  /** Leaves a leader that is dead and passes for alive. @returns ends that: others see that nobody leads */
  async function deadLeader(timeoutMs: number): Promise<() => Promise<void>> {
    const dead = await start(timeoutMs)
    const { admin } = redis
    const [nodeId, facts] = Object.entries(await admin.hgetall('sluicemq:nodes'))[0]!
    await dead.kill('SIGKILL')
    // On another machine: of its own, a node takes out at once whose process is gone.
    await admin.hset('sluicemq:nodes', nodeId, JSON.stringify({ ...JSON.parse(facts), machine: 'elsewhere' }))
    const led = (await admin.get('sluicemq:led'))!
    const keys = ['sluicemq:leader', `sluicemq:alive:${nodeId}`] as const
    await admin.mset(keys[0], led, keys[1], led.slice(nodeId.length + 1))
    return async () => void (await admin.del(...keys))
  }

  const health = async (http: string): Promise<{ status: number; body: unknown } | null> => {
    const response = await fetch(`${http}/health/ready`).catch(() => null)
    return response === null ? null : { status: response.status, body: await response.json() }
  }

  const unkept = { reason: expect.stringContaining('work queues') }
  const ready = { status: 200, body: { status: 'ready' } }

  test('it is ready when requests about queues are answered, and until then /health/ready says what is missing', async () => {
    const end = await deadLeader(4000)
    const port = await lastingPort()
    const http = `http://127.0.0.1:${port}`
    const started = start(4000, port)
    await expect.poll(() => health(http), { interval: 20, timeout: 20_000 }).not.toBeNull()
    expect(await health(http)).toMatchObject({ status: 503, body: unkept })
    await end()
    await started
    expect((await fetch(`${http}/api/v1/queues/work`)).status).toBe(200)
    expect(await health(http)).toEqual(ready)
  }, 60_000)

  test('it is ready without queues when none takes the lead for long, and says so', async () => {
    const end = await deadLeader(1500)
    const { http } = await start(1500)
    expect(await health(http)).toMatchObject({ status: 200, body: { status: 'degraded', ...unkept } })
    expect((await fetch(`${http}/api/v1/queues/work`)).status).toBe(503)
    await end()
    await expect.poll(() => health(http), { timeout: 10_000 }).toEqual(ready)
    expect((await fetch(`${http}/api/v1/queues/work`)).status).toBe(200)
  }, 60_000)
})
