/**
 * Several broker processes over one Redis, while processes die and come back: publishers, persistent subscribers and a worker
 * that go to whatever node there is. Afterwards the account is made, with the same promises as on one node.
 */
import { type Account, Ledger } from '../fault/ledger.ts'
import { FaultPublisher } from '../fault/publisher.ts'
import { QueueWorker } from '../fault/queue-worker.ts'
import { FaultSubscriber } from '../fault/subscriber.ts'
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient, type Target } from '../support/raw-client.ts'
import { unownedKeysAtRest } from '../support/redis-keys.ts'
import { RedisProcess } from '../support/redis-process.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { TcpProxy } from '../support/tcp-proxy.ts'
import { Partition } from './partition.ts'

export type Fault = 'kill-node' | 'kill-redis' | 'roll' | 'partition'

export interface NodesFaultOptions {
  seed: number
  rounds: number
  nodes?: number
  /** What happens, one of them in each round. */
  faults?: readonly Fault[]
  publishers?: number
  roundMsMax?: number
  nodeTimeoutMs?: number
  report?: (line: string) => void
}

type Options = NodesFaultOptions & { nodeTimeoutMs: number }

const leaseMs = 1500
/** How long a node may take to serve again, once it is left alone. */
const HEALED_MS = 20_000

/** Messages that a run is about at least, however short its rounds are. */
const ACKNOWLEDGED_MIN = 100

/** A node that is silent for so long is declared dead, unless the options say otherwise. */
const NODE_TIMEOUT_MS = 2000

export async function runNodesFault(asked: NodesFaultOptions): Promise<Account> {
  const options = { nodeTimeoutMs: NODE_TIMEOUT_MS, ...asked }
  const redis = await RedisProcess.start()
  const brokers: BrokerProcess[] = []
  const proxies: TcpProxy[] = []
  const partitions = options.faults?.includes('partition') === true
  const { nodeTimeoutMs } = options
  // Where a node may be away for long without being dead, what it left half done comes to light afterwards.
  const surrenderTimeoutMs = nodeTimeoutMs > 3000 ? 700 : 1000
  // A commit that was given up and delivered by another node meanwhile is the one case in which QoS 2 comes twice (decision 6): only
  // runs by hand look for it.
  const commitTimeoutMs = nodeTimeoutMs > 3000 ? 1000 : 10_000
  try {
    const config = {
      log: { level: 'warn', format: 'json' },
      redisUrl: redis.url,
      nodes: { timeoutMs: nodeTimeoutMs, surrenderTimeoutMs },
      redis: partitions ? { commitTimeoutMs, answerTimeoutMs: 400 } : {},
      bridge: [
        { topicFilter: 'fault/queue/#', queue: 'fault' },
        { topicFilter: 'fault/both/#', queue: 'fault' },
      ],
      queues: { fault: { leaseMs, maxAttempts: 1000, backoff: { minMs: 10, maxMs: 100, factor: 2, jitter: 'none' } } },
    }
    for (let i = 0; i < (options.nodes ?? 3); i++) {
      if (partitions) {
        const proxy = await TcpProxy.start(redis.port)
        proxies.push(proxy)
        config.redisUrl = `redis://127.0.0.1:${proxy.port}`
      }
      brokers.push(await BrokerProcess.start({ config, store: 'redis' }))
    }
    const run = new NodesFault(options, redis, brokers, proxies)
    try {
      return await run.run()
    } finally {
      await run.close()
    }
  } finally {
    await Promise.all(brokers.map((broker) => broker.stop()))
    await Promise.all(proxies.map((proxy) => proxy.stop()))
    await redis.stop()
  }
}

class NodesFault {
  readonly #options: Options
  readonly #redis: RedisProcess
  readonly #brokers: BrokerProcess[]
  /** One for each broker, between it and Redis; none where nothing disturbs that. */
  readonly #proxies: TcpProxy[]
  readonly #random: SeededRandom
  readonly #ledger: Ledger
  readonly #publishers: FaultPublisher[]
  readonly #subscribers: FaultSubscriber[]
  readonly #worker: QueueWorker
  readonly #receivers
  /** Nodes that are down on purpose. */
  readonly #down = new Set<BrokerProcess>()
  #over = false

  constructor(options: Options, redis: RedisProcess, brokers: BrokerProcess[], proxies: TcpProxy[]) {
    this.#options = options
    this.#redis = redis
    this.#brokers = brokers
    this.#proxies = proxies
    const random = new SeededRandom(options.seed)
    this.#random = random
    const ledger = new Ledger(options.seed)
    this.#ledger = ledger
    const inSession = (topic: string): boolean => /^fault\/(session|both)\//.test(topic)
    const inQueue = (topic: string): boolean => /^fault\/(queue|both)\//.test(topic)
    const online = ledger.addReceiver({ name: 'online session', kind: 'session', wants: inSession })
    const flapping = ledger.addReceiver({ name: 'flapping session', kind: 'session', wants: inSession })
    const queue = ledger.addReceiver({ name: 'queue', kind: 'queue', wants: inQueue })
    this.#receivers = [online, flapping, queue]
    const any = (): BrokerProcess => {
      const running = brokers.filter((broker) => broker.running)
      return random.pick(running.length > 0 ? running : brokers)
    }
    const target = (): Target => any().mqtt
    this.#publishers = Array.from({ length: options.publishers ?? 4 }, (_, i) => {
      const clientId = `publisher-${i}`
      const topics = ['queue', 'session', 'both'].map((kind) => ({ topic: `fault/${kind}/${i}`, retain: false }))
      const own = random.fork(clientId)
      const qos = i % 2 === 0 ? 2 : 1
      return new FaultPublisher({
        clientId,
        qos,
        version: 4,
        topics,
        target,
        ledger,
        random: own,
        window: 20,
        paceMs: 8,
      })
    })
    const filters = ['fault/session/#', 'fault/both/+']
    this.#subscribers = [online, flapping].map((receiver, i) => {
      const clientId = `subscriber-${i}`
      const own = random.fork(clientId)
      return new FaultSubscriber({
        clientId,
        version: 4,
        filters,
        receiver,
        target,
        ledger,
        random: own,
        ackDelayMs: 10,
      })
    })
    this.#worker = new QueueWorker({
      queue: 'fault',
      url: () => any().http,
      receiver: queue,
      ledger,
      random: random.fork('worker'),
      leaseMs,
    })
  }

  async run(): Promise<Account> {
    void this.#supervise()
    for (const subscriber of this.#subscribers) subscriber.start()
    await this.#until('the subscriptions stand', () => this.#subscribers.every(({ ready }) => ready))
    this.#worker.start()
    for (const publisher of this.#publishers) publisher.start()
    for (let round = 1; round <= this.#options.rounds; round++) {
      this.#ledger.round = round
      await this.#round(round)
    }
    const acknowledged = (): number => this.#publishers.reduce((sum, { acknowledgements }) => sum + acknowledgements, 0)
    await this.#until('the account is about something', () => acknowledged() > ACKNOWLEDGED_MIN)
    await this.#drain()
    for (const what of await unownedKeysAtRest(this.#redis.admin, { queues: ['fault'] })) this.#ledger.violation(what)
    return this.#ledger.account()
  }

  /** Starts again what has ended, as a supervisor does: a node that was declared dead ends itself. */
  async #supervise(): Promise<void> {
    while (!this.#over) {
      await sleep(100)
      for (const broker of this.#brokers)
        if (!broker.running && !this.#down.has(broker) && !this.#over) {
          const { code, signal } = await broker.exit()
          // It was declared dead (75), or could not start without Redis (74). Anything else is a crash.
          const mayEnd = code === 75 || (code === 74 && !broker.stdout.includes('ready mqtt='))
          if (!mayEnd) this.#ledger.violation(`a node ended by itself with ${signal ?? code}: ${broker.stderr}`)
          await broker.start().catch(() => {})
        }
    }
  }

  async #round(round: number): Promise<void> {
    const random = this.#random
    await sleep(random.int(200, this.#options.roundMsMax ?? 1200))
    const fault = random.pick([...(this.#options.faults ?? (['kill-node', 'kill-redis', 'roll'] as const))])
    const broker = random.pick(this.#brokers)
    if (random.chance(0.5)) this.#subscribers[1]!.goOffline()
    const startedAt = performance.now()
    let what: string = fault
    if (fault === 'partition') {
      what = await this.#partition()
    } else if (fault === 'kill-redis') {
      await this.#redis.kill()
      await sleep(random.int(0, 1500))
      await this.#redis.start()
    } else {
      this.#down.add(broker)
      await broker.kill(fault === 'kill-node' ? 'SIGKILL' : 'SIGTERM')
      await sleep(random.int(0, 2500))
      await this.#startAgain(broker)
      this.#down.delete(broker)
    }
    this.#subscribers[1]!.goOnline()
    this.#options.report?.(`round ${round}: ${what}, back after ${Math.round(performance.now() - startedAt)} ms`)
  }

  /** A node that on a busy machine takes too long over its start is declared dead meanwhile, and started again. */
  async #startAgain(broker: BrokerProcess): Promise<void> {
    for (let tries = 1; ; tries++) {
      try {
        await broker.start()
        return
      } catch (error) {
        const { code } = await broker.exit()
        if ((code !== 75 && code !== 74) || tries === 3) throw error
      }
    }
  }

  /** Half of the time it is the node that leads. Some clients move to another node meanwhile, before their old one knows. */
  async #partition(): Promise<string> {
    const random = this.#random
    const leader = random.chance(0.5) ? await this.#leader() : -1
    const of = leader >= 0 ? leader : random.int(0, this.#brokers.length - 1)
    const partition = new Partition(this.#proxies[of]!, random, this.#options.nodeTimeoutMs)
    partition.begin()
    const until = performance.now() + partition.durationMs
    while (performance.now() < until) {
      await sleep(Math.min(random.int(50, 400), until - performance.now()))
      if (random.chance(0.4)) random.pick(this.#publishers).abandonConnection()
      if (random.chance(0.3)) random.pick(this.#subscribers).abandonConnection()
    }
    partition.end()
    await this.#served(this.#brokers[of]!)
    return `${leader >= 0 ? 'leader' : 'node'} ${of} ${partition}`
  }

  /** Which broker leads; -1: nobody says. */
  async #leader(): Promise<number> {
    const leads = await Promise.all(
      this.#brokers.map(({ http }) =>
        fetch(`${http}/api/v1/node`).then(
          async (answer) => ((await answer.json()) as { leads: boolean }).leads,
          () => false,
        ),
      ),
    )
    return leads.indexOf(true)
  }

  /** The broker is there again, by itself or started again by the supervisor, and takes a message in. */
  async #served(broker: BrokerProcess): Promise<void> {
    const deadline = performance.now() + HEALED_MS
    let last = 'not running'
    while (performance.now() < deadline) {
      try {
        const client = await RawClient.connected(broker.mqtt, { clientId: 'probe' })
        await client.publish({ topic: 'probe', payload: 'x', qos: 1 })
        await client.disconnect()
        return
      } catch (error) {
        last = String(error)
        await sleep(100)
      }
    }
    this.#ledger.violation(`a node does not serve ${HEALED_MS} ms after it was left alone: ${last}; ${broker.stderr}`)
  }

  async #drain(): Promise<void> {
    this.#worker.chaos = false
    for (const publisher of this.#publishers) publisher.stopProducing()
    const done = (): boolean => this.#publishers.every(({ unacknowledged }) => unacknowledged === 0)
    const owed = (): number => this.#receivers.reduce((sum, receiver) => sum + this.#ledger.outstanding(receiver), 0)
    const arrived = (): number => this.#receivers.reduce((sum, receiver) => sum + this.#ledger.arrivals(receiver), 0)
    let movedAt = performance.now()
    let toldAt = movedAt
    let last = ''
    while (!done() || this.#worker.emptyPulls < 3 || owed() > 0) {
      const now = `${arrived()} ${this.#worker.acknowledged}`
      if (now !== last) movedAt = performance.now()
      last = now
      if (performance.now() - movedAt > 20_000) {
        await this.#tellWhatStands()
        break
      }
      if (performance.now() - toldAt > 5000) {
        toldAt = performance.now()
        this.#options.report?.(`draining: ${owed()} owed, ${this.#worker.emptyPulls} empty pulls, moved ${now}`)
      }
      await sleep(50)
    }
  }

  /** Nothing moves any more although something is owed: what each node says of its clients. */
  async #tellWhatStands(): Promise<void> {
    for (const broker of this.#brokers) {
      const ask = async (path: string): Promise<string> =>
        (await fetch(`${broker.http}/api/v1/${path}`).catch((error: unknown) => new Response(String(error)))).text()
      this.#options.report?.(
        `${broker.running} ${broker.http} ${await ask('node')} ${await ask('clients')} ${await ask('queues')}`,
      )
    }
  }

  async #until(what: string, condition: () => boolean): Promise<void> {
    const deadline = performance.now() + 30_000
    while (!condition()) {
      if (performance.now() > deadline)
        throw new Error(`not in time: ${what}; ${this.#brokers.map(({ stderr }) => stderr).join('\n')}`)
      await sleep(10)
    }
  }

  async close(): Promise<void> {
    this.#over = true
    if (process.env['FAULT_LOG']) for (const { stderr } of this.#brokers) console.error(stderr.slice(-30000))
    await Promise.all([...this.#publishers, ...this.#subscribers, this.#worker].map((client) => client.close()))
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
