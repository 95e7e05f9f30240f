/**
 * SIGKILL for the broker and for workers at random moments under load. Then the account: every message whose PUBACK came
 * was worked at least once or is a dead letter, nothing waits any more, and a message that its device sent again is one
 * message for the workers. On one node with its own disk, or on several over one Redis, where devices and workers go to whatever
 * node there is.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import path from 'node:path'
import { BrokerProcess, projectRoot } from '../../support/broker-process.ts'
import { RedisProcess } from '../../support/redis-process.ts'
import { SeededRandom } from '../../support/seeded-random.ts'
import { Device } from './device.ts'

export interface WorkersOptions {
  seed: number
  rounds: number
  /** More than one: over Redis. Default 1. */
  nodes?: number
  report?: (line: string) => void
}

export interface WorkersAccount {
  acknowledged: number
  retransmitted: number
  worked: number
  deadLettered: number
  /** Deliveries beyond the first of a message. */
  repeated: number
  brokerKills: number
  workerKills: number
  violations: string[]
}

const QUEUE = 'work'
/** Messages acknowledged and not worked yet beyond which devices pause. */
const BACKLOG_MAX = 5000
/** Workers reject every fiftieth message of a device. */
const REJECTED_EVERY = 50
const WORKER_FILE = path.join(projectRoot(), 'dist/test/fault/workers/worker-process.js')

class WorkerSlot {
  readonly #url: () => string
  readonly #onLine: (line: string) => void
  #child: ChildProcess | null = null
  #closed: Promise<unknown> = Promise.resolve()

  constructor(url: () => string, onLine: (line: string) => void) {
    this.#url = url
    this.#onLine = onLine
  }

  start(): void {
    const child = spawn(process.execPath, [WORKER_FILE, this.#url(), QUEUE], { stdio: ['ignore', 'pipe', 'inherit'] })
    let rest = ''
    child.stdout.setEncoding('utf8').on('data', (text: string) => {
      const lines = (rest + text).split('\n')
      rest = lines.pop()!
      for (const line of lines) if (line !== 'ready') this.#onLine(line)
    })
    this.#child = child
    this.#closed = once(child, 'close')
  }

  async kill(): Promise<void> {
    const child = this.#child
    if (child === null) return
    this.#child = null
    child.kill('SIGKILL')
    await this.#closed
  }
}

export async function runWorkers(options: WorkersOptions): Promise<WorkersAccount> {
  const { nodes = 1 } = options
  const settings = { leaseMs: 500, maxAttempts: 1000, backoff: { minMs: 1, maxMs: 50 } }
  const config = {
    bridge: [{ topicFilter: 'w/{device}', queue: QUEUE, deduplicate: '{retransmission}' }],
    queues: { [QUEUE]: settings },
  }
  if (nodes === 1) {
    const broker = await BrokerProcess.start({ config })
    return run(options, [broker]).finally(() => broker.stop())
  }
  const redis = await RedisProcess.start()
  const brokers: BrokerProcess[] = []
  const shared = { ...config, redisUrl: redis.url, nodes: { timeoutMs: 2000, surrenderTimeoutMs: 1000 } }
  try {
    for (let i = 0; i < nodes; i++)
      brokers.push(await BrokerProcess.start({ config: shared, store: 'redis', supervised: true }))
    return await run(options, brokers, () => redis.admin.xlen('sluicemq:lane:qi'))
  } finally {
    await Promise.all(brokers.map((broker) => broker.stop()))
    await redis.stop()
  }
}

/** @param inbox messages on their way to the queue */
async function run(
  { seed, rounds, report = () => {} }: WorkersOptions,
  brokers: BrokerProcess[],
  inbox: () => Promise<number> = async () => 0,
): Promise<WorkersAccount> {
  const random = new SeededRandom(seed)
  const any = (): BrokerProcess => {
    const running = brokers.filter((broker) => broker.running)
    return random.pick(running.length > 0 ? running : brokers)
  }
  /** Ids under which each payload was worked, and how often. */
  const ids = new Map<string, Set<string>>()
  let deliveries = 0
  const onLine = (line: string): void => {
    const space = line.indexOf(' ')
    const payload = line.slice(space + 1)
    const known = ids.get(payload) ?? new Set()
    ids.set(payload, known.add(line.slice(0, space)))
    deliveries++
  }
  const urls = [() => any().http, () => mqttUrl(any())]
  const workers = [...urls, ...urls].map((url) => new WorkerSlot(url, onLine))
  const devices = ['d1', 'd2', 'd3'].map((name) => new Device(name, () => any().mqtt, random.fork(name)))
  let brokerKills = 0
  let workerKills = 0
  const first = shuffled(['broker', 'worker', 'both', 'device'], random)
  try {
    for (const worker of workers) worker.start()
    for (const device of devices) device.start()
    for (let round = 1; round <= rounds; round++) {
      await pause(random.int(50, 500))
      // Each of them once, in the first rounds: otherwise a short run might leave one out.
      const victims = first.pop() ?? random.pick(['broker', 'worker', 'worker', 'both', 'device'])
      if (victims === 'device') await random.pick(devices).cut()
      if (victims === 'worker' || victims === 'both') {
        const worker = random.pick(workers)
        await worker.kill()
        worker.start()
        workerKills++
      }
      if (victims === 'broker' || victims === 'both') {
        const broker = random.pick(brokers)
        await broker.kill('SIGKILL')
        await broker.start()
        brokerKills++
      }
      const acknowledged = devices.reduce((sum, device) => sum + device.acknowledged.size, 0)
      // On several nodes devices go on while the one with the queues is down: what waits has to be worked off at the end.
      for (const device of devices) device.producing = acknowledged - ids.size < BACKLOG_MAX
      report(`round ${round}: ${victims}; ${acknowledged} acknowledged, ${ids.size} worked`)
    }
    for (const device of devices) device.producing = true
    await until('every device has sent a message that cannot be worked', () =>
      devices.every(({ acknowledged }) => acknowledged.size >= REJECTED_EVERY),
    )
    for (const device of devices) device.producing = false
    await until('every PUBLISH is acknowledged', () => devices.every(({ unacknowledged }) => unacknowledged === 0))
    await until('the queue is empty', async () => {
      // Asked in the order in which messages go: one that is on its way is seen in one of them.
      if ((await inbox()) > 0) return false
      const { ready, leased, delayed } = await counts(any(), QUEUE)
      return ready + leased + delayed === 0
    })
    // A node that was killed last may not keep the queues again at once.
    const dead = new Map<string, Set<string>>()
    await until('the dead letters are read', () => readDeadLetters(any(), dead))
    // What the workers wrote may still lie in a pipe: it is read when they have ended.
    await Promise.all(workers.map((worker) => worker.kill()))
    const violations: string[] = []
    const acknowledged = devices.flatMap((device) => [...device.acknowledged])
    for (const payload of acknowledged) {
      const found = [...(ids.get(payload) ?? []), ...(dead.get(payload) ?? [])]
      if (found.length === 0) violations.push(`lost: ${payload} was acknowledged and never worked`)
      if (new Set(found).size > 1) violations.push(`twice: ${payload} entered the queue as ${found.join(', ')}`)
    }
    return {
      acknowledged: acknowledged.length,
      retransmitted: devices.reduce((sum, device) => sum + device.retransmitted, 0),
      worked: ids.size,
      deadLettered: dead.size,
      repeated: deliveries - ids.size,
      brokerKills,
      workerKills,
      violations,
    }
  } finally {
    await Promise.all([...devices.map((device) => device.close()), ...workers.map((worker) => worker.kill())])
  }
}

export function formatWorkersAccount(account: WorkersAccount): string {
  const { acknowledged, retransmitted, worked, deadLettered, repeated, brokerKills, workerKills, violations } = account
  return [
    `${brokerKills} brokers and ${workerKills} workers killed`,
    `${acknowledged} messages acknowledged, ${retransmitted} sent again`,
    `${worked} worked (${repeated} deliveries repeated), ${deadLettered} dead letters`,
    `${violations.length} violations`,
    ...violations.slice(0, 20),
  ].join('\n')
}

function shuffled<T>(list: readonly T[], random: SeededRandom): T[] {
  const rest = [...list]
  return list.map(() => rest.splice(random.int(0, rest.length - 1), 1)[0]!)
}

const mqttUrl = ({ mqtt }: BrokerProcess): string => `mqtt://${mqtt.host}:${mqtt.port}`

async function call<T>(broker: BrokerProcess, path: string, body?: object): Promise<T> {
  const init = { method: 'POST', headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }
  const response = await fetch(`${broker.http}/api/v1${path}`, body === undefined ? {} : init)
  if (!response.ok) throw new Error(`${path}: HTTP ${response.status} ${await response.text()}`)
  return (await response.json()) as T
}

function counts(broker: BrokerProcess, queue: string): Promise<{ ready: number; leased: number; delayed: number }> {
  return call(broker, `/queues/${queue}`)
}

/** Adds the ids of the dead letters by payload. */
async function readDeadLetters(broker: BrokerProcess, found: Map<string, Set<string>>): Promise<boolean> {
  const { queues } = await call<{ queues: { name: string }[] }>(broker, '/queues')
  if (!queues.some(({ name }) => name === `${QUEUE}.dead`)) return true
  for (;;) {
    const { messages } = await call<{ messages: { id: string; payload: string; receipt: string }[] }>(
      broker,
      `/queues/${QUEUE}.dead/pull`,
      { max: 1000 },
    )
    if (messages.length === 0) return true
    for (const { id, payload } of messages) found.set(payload, (found.get(payload) ?? new Set()).add(id))
    await call(broker, `/queues/${QUEUE}.dead/ack`, { receipts: messages.map(({ receipt }) => receipt) })
  }
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
