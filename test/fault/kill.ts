/**
 * The kill test: a real broker process is killed with SIGKILL at random moments under QoS 1 and QoS 2 publishers,
 * persistent subscribers and a queue worker; afterwards the account is made.
 *
 * Promises that are checked: every acknowledged message reaches every receiver it was owed to; a QoS 2 message enters a
 * session and a queue exactly once; the order of a publisher's messages on a topic is kept; a confirmed ack of a worker
 * holds; the retained message of a topic is the last acknowledged one or a later one; sessions survive.
 */
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient, type Target } from '../support/raw-client.ts'
import type { Version } from '../support/raw-packets.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { type Account, Ledger } from './ledger.ts'
import { FaultPublisher } from './publisher.ts'
import { QueueWorker } from './queue-worker.ts'
import { FaultSubscriber } from './subscriber.ts'

export interface KillOptions {
  seed: number
  rounds: number
  store?: 'lmdb' | 'redis'
  redisUrl?: string
  /** Publishers; odd ones speak QoS 1, even ones QoS 2. */
  publishers?: number
  versions?: Version[]
  /** Average pause of a publisher between bursts of one to eight messages, ms. */
  paceMs?: number
  window?: number
  /** Longest time from ready to kill. */
  roundMsMax?: number
  /** Patience with the drain at the end when nothing moves. */
  stallMs?: number
  report?: (line: string) => void
}

const leaseMs = 1_500

const config = {
  log: { level: 'warn', format: 'json' },
  bridge: [
    { topicFilter: 'fault/queue/#', queue: 'fault' },
    { topicFilter: 'fault/both/#', queue: 'fault' },
  ],
  queues: { fault: { leaseMs, maxAttempts: 1000, backoff: { minMs: 10, maxMs: 100, factor: 2, jitter: 'none' } } },
}

export async function runKillTest(options: KillOptions): Promise<Account> {
  const random = new SeededRandom(options.seed)
  const settings = options.redisUrl ? { ...config, redisUrl: options.redisUrl } : config
  const broker = await BrokerProcess.start({ config: settings, store: options.store ?? 'lmdb' })
  const run = new KillRun(options, broker, random)
  try {
    return await run.run()
  } finally {
    await run.close()
    await broker.stop()
  }
}

class KillRun {
  private readonly options: KillOptions
  private readonly broker: BrokerProcess
  private readonly random: SeededRandom
  private readonly ledger: Ledger
  private readonly publishers: FaultPublisher[]
  private readonly online: FaultSubscriber
  private readonly flapping: FaultSubscriber
  private readonly worker: QueueWorker
  private readonly receivers

  constructor(options: KillOptions, broker: BrokerProcess, random: SeededRandom) {
    this.options = options
    this.broker = broker
    this.random = random
    const ledger = new Ledger(options.seed)
    this.ledger = ledger
    const inSession = (topic: string) => /^fault\/(session|both|state)\//.test(topic)
    const inQueue = (topic: string) => /^fault\/(queue|both)\//.test(topic)
    const online = ledger.addReceiver({ name: 'online session', kind: 'session', wants: inSession })
    const flapping = ledger.addReceiver({ name: 'flapping session', kind: 'session', wants: inSession })
    const queue = ledger.addReceiver({ name: 'queue', kind: 'queue', wants: inQueue })
    this.receivers = [online, flapping, queue]
    const { versions = [3, 4], publishers = 6, paceMs = 6, window = 40 } = options
    const target = () => broker.mqtt
    this.publishers = Array.from({ length: publishers }, (_, i) => {
      const clientId = `publisher-${i}`
      return new FaultPublisher({
        clientId,
        qos: i % 2 === 0 ? 2 : 1,
        version: versions[i % versions.length]!,
        topics: ['queue', 'session', 'both', 'state'].map((kind) => ({
          topic: `fault/${kind}/${i}`,
          retain: kind === 'state',
        })),
        target: (): Target => (i % 3 === 2 ? broker.ws : broker.mqtt),
        ledger,
        random: random.fork(clientId),
        window,
        paceMs,
      })
    })
    const filters = ['fault/session/#', 'fault/both/+', 'fault/state/#']
    const subscriber = (clientId: string, receiver: typeof online, version: Version) => {
      const own = random.fork(clientId)
      return new FaultSubscriber({ clientId, version, filters, receiver, target, ledger, random: own, ackDelayMs: 10 })
    }
    this.online = subscriber('online', online, versions.at(-1)!)
    this.flapping = subscriber('flapping', flapping, versions[0]!)
    const url = () => broker.http
    this.worker = new QueueWorker({
      queue: 'fault',
      url,
      receiver: queue,
      ledger,
      random: random.fork('worker'),
      leaseMs,
    })
  }

  async run(): Promise<Account> {
    this.online.start()
    this.flapping.start()
    await this.until('the subscriptions stand', () => this.online.ready && this.flapping.ready)
    this.worker.start()
    for (const publisher of this.publishers) publisher.start()
    await this.until('every publisher has an acknowledgement', () =>
      this.publishers.every((publisher) => publisher.acknowledgements > 0),
    )
    for (let round = 1; round <= this.options.rounds; round++) {
      this.ledger.round = round
      await this.round()
      if (round < this.options.rounds) await this.checkRetained(false)
    }
    await this.drain()
    await this.checkRetained(true)
    return this.ledger.account()
  }

  /** Lets everything run, with broken connections, for a random while; kills; starts again. */
  private async round(): Promise<void> {
    const { random, broker } = this
    const early = random.chance(0.2)
    const runMs = early ? random.int(0, 120) : random.int(150, this.options.roundMsMax ?? 1_000)
    const killed = sleep(runMs)
    void this.disturb(runMs)
    await killed
    const before = this.ledger.size
    await broker.kill('SIGKILL')
    // Now and then the broker is killed again while it opens its data.
    if (random.chance(0.15)) {
      const again = broker.start().catch(() => {})
      await sleep(random.int(30, 500))
      await broker.kill('SIGKILL')
      await again
    }
    const startedAt = performance.now()
    await broker.start()
    const tookMs = Math.round(performance.now() - startedAt)
    const { round } = this.ledger
    this.options.report?.(`round ${round}: killed after ${runMs} ms with ${before} sent, back in ${tookMs} ms`)
  }

  private async disturb(runMs: number): Promise<void> {
    const { random, publishers, flapping, online, ledger } = this
    const { round } = ledger
    const acts = [
      () => random.pick(publishers).breakConnection(),
      () => random.pick(publishers).abandonConnection(),
      () => online.breakConnection(),
      () => flapping.goOffline(),
      () => flapping.goOnline(),
    ]
    for (let i = 0; i < 4 && ledger.round === round; i++) {
      random.pick(acts)()
      await sleep(random.int(0, runMs / 2))
    }
  }

  /** No more faults and no new messages: everything owed must arrive. */
  private async drain(): Promise<void> {
    this.worker.chaos = false
    this.flapping.goOnline()
    for (const publisher of this.publishers) publisher.stopProducing()
    const publishersDone = () => this.publishers.every((publisher) => publisher.unacknowledged === 0)
    const owed = () => this.receivers.reduce((sum, receiver) => sum + this.ledger.outstanding(receiver), 0)
    const arrivals = () => this.receivers.reduce((sum, receiver) => sum + this.ledger.arrivals(receiver), 0)
    const { stallMs = 8_000 } = this.options
    let movedAt = performance.now()
    let last = ''
    // The account is complete once nothing is owed; a few empty pulls more show what comes too often.
    while (!publishersDone() || this.worker.emptyPulls < 3 || owed() > 0) {
      const now = `${arrivals()} ${this.worker.acknowledged}`
      if (now !== last) movedAt = performance.now()
      last = now
      if (performance.now() - movedAt > stallMs) break
      await sleep(50)
    }
    // A lease that ran over the worker's end would show its message once more.
    await sleep(leaseMs / 2)
    await this.checkQueueIsEmpty()
  }

  private async checkQueueIsEmpty(): Promise<void> {
    const answer = await fetch(`${this.broker.http}/api/v1/queues/fault`)
    const info = (await answer.json()) as { ready: number; leased: number; delayed: number }
    if (info.ready + info.leased + info.delayed > 0) {
      this.ledger.violation(`the drained queue says ${JSON.stringify(info)}`)
    }
  }

  /** What a new subscriber finds retained: not older than the last acknowledged, not from nowhere. */
  private async checkRetained(final: boolean): Promise<void> {
    const atLeast = new Map(this.publishers.flatMap((publisher) => [...publisher.lastAcknowledged]))
    const client = await RawClient.connected(this.broker.mqtt, { clientId: `retained-${this.ledger.round}` })
    await client.subscribe('fault/state/+')
    await client.ping()
    const found = new Map<string, number>()
    for (const { topic, payload, retain } of client.takeAll('publish')) {
      if (retain) found.set(topic, Number.parseInt(payload.toString(), 10))
    }
    await client.disconnect()
    const atMost = new Map(this.publishers.flatMap((publisher) => [...publisher.lastSent]))
    for (const [topic, least] of atLeast) {
      if (!topic.startsWith('fault/state/')) continue
      const seq = found.get(topic) ?? 0
      const most = atMost.get(topic) ?? 0
      if (seq < least || seq > most || (final && seq !== most)) {
        this.ledger.violation(`retained on ${topic}: ${seq}, last acknowledged ${least}, last sent ${most}`)
      }
    }
  }

  private async until(what: string, condition: () => boolean): Promise<void> {
    const deadline = performance.now() + 10_000
    while (!condition()) {
      if (performance.now() > deadline) throw new Error(`not within 10 s: ${what}; broker log: ${this.broker.stderr}`)
      await sleep(10)
    }
  }

  async close(): Promise<void> {
    const clients = [...this.publishers, this.online, this.flapping, this.worker]
    await Promise.all(clients.map((client) => client.close()))
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
