/**
 * SIGKILL for the node that keeps the queues, for Redis and for workers that know only Redis, at random moments under load. Then the
 * account: every message whose PUBACK came is done or a dead letter, nobody had a message while another's lease ran, and what was
 * acknowledged in time never came again.
 */
import { BrokerProcess } from '../../support/broker-process.ts'
import { RedisProcess } from '../../support/redis-process.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { Device } from '../workers/device.ts'
import { ForeignWorker } from './foreign-worker.ts'
import { Holdings } from './holdings.ts'

export interface RedisWorkersOptions {
  seed: number
  rounds: number
  report?: (line: string) => void
}

export interface RedisWorkersAccount {
  acknowledged: number
  done: number
  deadLettered: number
  deliveries: number
  /** XACKs that were answered with 0. */
  late: number
  kills: Record<string, number>
  /** What is left in Redis outside the queue. */
  left: number
  violations: string[]
}

const QUEUE = 'work'
const leaseMs = 1000
const BACKLOG_MAX = 1000

export async function runRedisWorkers(options: RedisWorkersOptions): Promise<RedisWorkersAccount> {
  const redis = await RedisProcess.start()
  const brokers: BrokerProcess[] = []
  try {
    for (const nodeId of ['a', 'b']) {
      const config = {
        nodeId,
        redisUrl: redis.url,
        nodes: { timeoutMs: 1500, surrenderTimeoutMs: 1000 },
        bridge: [{ topicFilter: 'w/{device}', queue: QUEUE, deduplicate: '{retransmission}' }],
        queues: {
          [QUEUE]: {
            leaseMs,
            maxAttempts: 1000,
            backoff: { minMs: 1, maxMs: 50 },
            redisWorkers: { enabled: true, prefetch: 100 },
          },
        },
      }
      brokers.push(await BrokerProcess.start({ config, store: 'redis', supervised: true }))
    }
    return await run(options, redis, brokers)
  } finally {
    await Promise.all(brokers.map((broker) => broker.stop()))
    await redis.stop()
  }
}

async function run(
  { seed, rounds, report = () => {} }: RedisWorkersOptions,
  redis: RedisProcess,
  brokers: readonly BrokerProcess[],
): Promise<RedisWorkersAccount> {
  const random = new SeededRandom(seed)
  const holdings = new Holdings(leaseMs, 500)
  const any = (): BrokerProcess => {
    const running = brokers.filter((broker) => broker.running)
    return random.pick(running.length > 0 ? running : [...brokers])
  }
  const keeper = async (): Promise<BrokerProcess> =>
    (await redis.admin.get('sluicemq:led'))?.startsWith('a.') === true ? brokers[0]! : brokers[1]!
  const workers = ['v', 'w', 'x', 'y'].map(
    (name) => new ForeignWorker(name, redis.port, leaseMs, random.fork(name), holdings),
  )
  const devices = ['d1', 'd2'].map((name) => new Device(name, () => any().mqtt, random.fork(name)))
  const kills: Record<string, number> = { keeper: 0, worker: 0, redis: 0 }
  const acknowledgedSoFar = (): number => devices.reduce((sum, device) => sum + device.acknowledged.size, 0)
  // Devices are faster than workers that dawdle; what piles up has to be worked at the end.
  const pacing = setInterval(() => {
    const backlog = acknowledgedSoFar() - holdings.worked.size
    for (const device of devices) device.producing = backlog < BACKLOG_MAX
  }, 20)
  try {
    for (const each of [...workers, ...devices]) each.start()
    for (let round = 1; round <= rounds; round++) {
      await pause(random.int(100, 900))
      const victim = random.pick(['keeper', 'keeper', 'worker', 'redis'])
      kills[victim]!++
      if (victim === 'worker') random.pick(workers).die()
      if (victim === 'redis') {
        await redis.kill()
        await redis.start()
      }
      if (victim === 'keeper') {
        const broker = await keeper()
        await broker.kill('SIGKILL')
        if (random.int(0, 1) === 1) await pause(random.int(0, 1500))
        await broker.start()
      }
      // A node that was declared dead meanwhile ends by itself.
      for (const broker of brokers) if (!broker.running) await broker.start()
      report(`round ${round}: ${victim}; ${acknowledgedSoFar()} acknowledged, ${holdings.done.size} done`)
    }
    await until('a message was refused for good', async () => {
      for (const broker of brokers) if (!broker.running) await broker.start()
      return (await call<Record<string, number>>(any(), `/queues/${QUEUE}.dead`))['ready']! > 0
    })
    clearInterval(pacing)
    for (const device of devices) device.producing = false
    for (const worker of workers) worker.calm = true
    await until('every PUBLISH is acknowledged', () => devices.every(({ unacknowledged }) => unacknowledged === 0))
    await until('the queue is empty', async () => {
      for (const broker of brokers) if (!broker.running) await broker.start()
      const { ready, leased, delayed } = await call<Record<string, number>>(any(), `/queues/${QUEUE}`)
      return ready! + leased! + delayed! + (await redis.admin.xlen('sluicemq:lane:qi')) === 0
    })
    const left = async (): Promise<number> =>
      (await redis.admin.xlen(`sluicemq:work:${QUEUE}`)) + (await redis.admin.xlen(`sluicemq:answers:${QUEUE}`))
    await until('the stream is empty', async () => (await left()) === 0).catch(() => {})
    const dead = new Set<string>()
    await until('the dead letters are read', () => readDeadLetters(any(), dead))
    const violations = [...holdings.violations]
    const acknowledged = devices.flatMap((device) => [...device.acknowledged])
    for (const payload of acknowledged)
      if (!holdings.worked.has(payload) && !dead.has(payload)) violations.push(`lost: ${payload}`)
    const { done, deliveries, late } = holdings
    return {
      acknowledged: acknowledged.length,
      done: done.size,
      deadLettered: dead.size,
      deliveries,
      late,
      kills,
      left: await left(),
      violations,
    }
  } finally {
    clearInterval(pacing)
    await Promise.all([...devices, ...workers].map((each) => each.close()))
  }
}

async function readDeadLetters(broker: BrokerProcess, found: Set<string>): Promise<boolean> {
  for (;;) {
    const { messages } = await call<{ messages: { payload: string; receipt: string }[] }>(
      broker,
      `/queues/${QUEUE}.dead/pull`,
      { max: 1000 },
    ).catch((error: Error) => {
      if (!error.message.includes('404')) throw error
      return { messages: [] }
    })
    if (messages.length === 0) return true
    for (const { payload } of messages) found.add(payload)
    await call(broker, `/queues/${QUEUE}.dead/ack`, { receipts: messages.map(({ receipt }) => receipt) })
  }
}

async function call<T>(broker: BrokerProcess, path: string, body?: object): Promise<T> {
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const response = await fetch(`${broker.http}/api/v1${path}`, body === undefined ? {} : init)
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status} ${await response.text()}`)
  return (await response.json()) as T
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}

async function until(what: string, holds: () => boolean | Promise<boolean>): Promise<void> {
  const end = Date.now() + 60_000
  for (let troubled = ''; ; await pause(50)) {
    try {
      if (await holds()) return
    } catch (error) {
      troubled = ` (${(error as Error).message})`
    }
    if (Date.now() > end) throw new Error(`not within a minute: ${what}${troubled}`)
  }
}
