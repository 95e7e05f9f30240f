/**
 * The kill test: a real broker process is killed with SIGKILL at random moments under QoS 1 and QoS 2 publishers,
 * persistent subscribers and a queue worker; afterwards the account is made.
 *
 * Promises that are checked: every acknowledged message reaches every receiver it was owed to; a QoS 2 message enters a
 * session and a queue exactly once; the order of a publisher's messages on a topic is kept; a confirmed ack of a worker
 * holds; the retained message of a topic is the last acknowledged one or a later one; sessions survive.
 */
import { BrokerProcess } from '../support/broker-process.ts'
import { RawClient } from '../support/raw-client.ts'
import type { Version } from '../support/raw-packets.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { BrokerNodes, type Mortal } from './broker-nodes.ts'
import { Cast, castConfig, LEASE_MS } from './cast.ts'
import { type Account, Ledger } from './ledger.ts'

export interface KillOptions {
  seed: number
  rounds: number
  /**
   * `kill` (default): a life of up to a second, then SIGKILL. `restart-loop`: lives of a tenth of a second that end in every
   * way, starts included. `flapping`: the broker lives mostly, clients come and go all the time.
   */
  style?: 'kill' | 'restart-loop' | 'flapping'
  store?: 'lmdb' | 'redis'
  redisUrl?: string
  /** More than one: over a Redis of their own, killed one at a time or all at once. */
  nodes?: number
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

export async function runKillTest(options: KillOptions): Promise<Account> {
  const random = new SeededRandom(options.seed)
  const broker = await startBroker(options, random)
  const run = new KillRun(options, broker, random)
  try {
    return await run.run()
  } finally {
    await run.close()
    await broker.stop()
  }
}

/** Where the others go on while one is away, rounds are long: publishers take it easier. */
const paceOf = ({ nodes = 1 }: KillOptions): { paceMs?: number } => (nodes > 1 ? { paceMs: 30 } : {})

function startBroker({ nodes = 1, redisUrl, store = 'lmdb' }: KillOptions, random: SeededRandom): Promise<Mortal> {
  if (nodes > 1) return BrokerNodes.begin(nodes, castConfig, random.fork('nodes'))
  const config = redisUrl ? { ...castConfig, redisUrl } : castConfig
  return BrokerProcess.start({ config, store, readyTimeoutMs: 60_000 })
}

/** Messages that a run is about at least. */
const ACKNOWLEDGED_MIN = 600

/** How often a SUBSCRIBE may be refused before it is a fault. */
const REFUSED_MAX = 25

class KillRun {
  private readonly options: KillOptions
  private readonly broker: Mortal
  private readonly random: SeededRandom
  private readonly ledger: Ledger
  private readonly cast: Cast
  private kills = 0

  constructor(options: KillOptions, broker: Mortal, random: SeededRandom) {
    this.options = options
    this.broker = broker
    this.random = random
    this.ledger = new Ledger(options.seed)
    this.cast = new Cast(broker, this.ledger, random, { ...paceOf(options), ...options, kills: () => this.kills })
  }

  async run(): Promise<Account> {
    const { cast } = this
    cast.startReceivers()
    await this.until('the subscriptions stand', () => cast.ready)
    cast.startSenders()
    await this.until('every publisher has an acknowledgement', () =>
      cast.publishers.every((publisher) => publisher.acknowledgements > 0),
    )
    for (let round = 1; round <= this.options.rounds; round++) {
      this.ledger.round = round
      await this.round()
      if (round < this.options.rounds) await this.checkRetained(false)
    }
    // Rounds may be as short as the seed will have it: the account has to be about something.
    await this.until('enough is acknowledged', () => this.acknowledgements > ACKNOWLEDGED_MIN)
    await this.drain()
    await this.checkRetained(true)
    return this.ledger.account()
  }

  private get acknowledgements(): number {
    return this.cast.publishers.reduce((sum, publisher) => sum + publisher.acknowledgements, 0)
  }

  /** Lets everything run, with broken connections, for a random while; kills; starts again. */
  private async round(): Promise<void> {
    const { random, broker } = this
    const { style = 'kill' } = this.options
    const early = style === 'restart-loop' || random.chance(0.2)
    const runMs = early ? random.int(0, 120) : random.int(150, this.options.roundMsMax ?? 1_000)
    const killed = sleep(runMs)
    void this.disturb(runMs)
    await killed
    const { round } = this.ledger
    const before = this.ledger.size
    if (style === 'flapping' && random.chance(0.8)) {
      this.options.report?.(`round ${round}: ${before} sent`)
      return
    }
    await this.kill(style === 'restart-loop' && random.chance(0.3) ? 'SIGTERM' : 'SIGKILL')
    // Now and then the broker is killed again while it opens its data.
    let again = style === 'restart-loop' ? random.int(0, 3) : random.chance(0.15) ? 1 : 0
    for (; again > 0; again--) {
      const started = broker.start().catch(() => {})
      await sleep(random.int(30, 500))
      await this.kill('SIGKILL')
      await started
    }
    const startedAt = performance.now()
    await broker.start()
    const tookMs = Math.round(performance.now() - startedAt)
    this.options.report?.(`round ${round}: killed after ${runMs} ms with ${before} sent, back in ${tookMs} ms`)
  }

  private async kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    this.kills++
    for (const holder of this.cast.holders) holder.killed()
    await this.broker.kill(signal)
  }

  private async disturb(runMs: number): Promise<void> {
    const { random, ledger } = this
    const { round } = ledger
    const acts = this.options.style === 'flapping' ? 60 : 5
    for (let i = 0; i < acts && ledger.round === round; i++) {
      this.cast.disturb(random)
      await sleep(random.int(0, (2.5 * runMs) / acts))
    }
  }

  /** No more faults and no new messages: everything owed must arrive. */
  private async drain(): Promise<void> {
    await this.cast.wind()
    const { stallMs = 15_000 } = this.options
    let movedAt = performance.now()
    let last = ''
    // The account is complete once nothing is owed; a few empty pulls more show what comes too often.
    while (!this.cast.drained) {
      const now = this.cast.progress
      if (now !== last) movedAt = performance.now()
      last = now
      if (performance.now() - movedAt > stallMs) break
      await sleep(50)
    }
    // A lease that ran over the worker's end would show its message once more.
    await sleep(LEASE_MS / 2)
    for (const queue of ['fault', 'doomed', 'doomed.dead']) await this.checkIsEmpty(queue)
  }

  private async checkIsEmpty(queue: string): Promise<void> {
    const answer = await fetch(`${this.broker.http}/api/v1/queues/${queue}`)
    const info = (await answer.json()) as { ready: number; leased: number; delayed: number }
    if (info.ready + info.leased + info.delayed > 0) {
      this.ledger.violation(`the drained queue ${queue} says ${JSON.stringify(info)}`)
    }
  }

  /** What a new subscriber finds retained: not older than the last acknowledged, not from nowhere. */
  private async checkRetained(final: boolean): Promise<void> {
    const atLeast = new Map(this.cast.publishers.flatMap((publisher) => [...publisher.lastAcknowledged]))
    const client = await RawClient.connected(this.broker.mqtt, { clientId: `retained-${this.ledger.round}` })
    // A store that is slow may refuse for a moment, and says so.
    let refused = 0
    while ((await client.subscribe('fault/state/+')).codes[0]! >= 0x80 && ++refused < REFUSED_MAX) await sleep(200)
    if (refused === REFUSED_MAX) this.ledger.violation('SUBSCRIBE is refused again and again')
    await client.ping()
    const found = new Map<string, number>()
    for (const { topic, payload, retain } of client.takeAll('publish')) {
      if (retain) found.set(topic, Number.parseInt(payload.toString(), 10))
    }
    await client.disconnect()
    const atMost = new Map(this.cast.publishers.flatMap((publisher) => [...publisher.lastSent]))
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
    const deadline = performance.now() + 30_000
    while (!condition()) {
      if (performance.now() > deadline) throw new Error(`not within 30 s: ${what}; broker log: ${this.broker.stderr}`)
      await sleep(10)
    }
  }

  close(): Promise<void> {
    return this.cast.close()
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
