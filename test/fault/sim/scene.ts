/**
 * A broker in a bottle with the models that watch it: what the simulation, the walk and the crash points have in common.
 * Clients belong to it; `finish` ends all faults, lets everything arrive and makes the account.
 */
import type { ConfigInput } from '../../../src/config/schema.ts'
import type { Store } from '../../../src/store.ts'
import type { PublishPacket } from '../../support/raw-packets.ts'
import type { SeededRandom } from '../../support/seeded-random.ts'
import { type ClientOptions, LabClient } from '../lab/client.ts'
import type { EngineRules } from '../lab/engine.ts'
import { differences } from '../lab/view.ts'
import { LabWorld } from '../lab/world.ts'
import { Book } from './book.ts'
import { QueueBook } from './queue-book.ts'
import { Trace } from './trace.ts'
import { WillBook } from './will-book.ts'
import { SimWorker } from './worker.ts'

const QUEUE = 'sim'
const MAX_ATTEMPTS = 4
const inQueue = (topic: string): boolean => topic.startsWith('q/')

const backoff = { minMs: 20, maxMs: 200, factor: 2, jitter: 'full' as const }
const config: ConfigInput = {
  bridge: [{ topicFilter: 'q/#', queue: QUEUE }],
  queues: { [QUEUE]: { leaseMs: 500, maxAttempts: MAX_ATTEMPTS, backoff } },
}

export interface Actor {
  readonly client: LabClient
  /** Topics only it publishes to. */
  readonly topics: readonly { topic: string; retain: boolean }[]
  /** Filters it may subscribe to. */
  readonly filters: readonly string[]
  readonly subscribed: Set<string>
  readonly will: { topic: string; delaySeconds: number } | null
}

export interface SceneOptions {
  readonly seed: number
  readonly random: SeededRandom
  readonly rules?: Partial<EngineRules>
  readonly wrap?: (store: Store) => Store
}

export class Scene {
  readonly world: LabWorld
  readonly trace = new Trace()
  readonly wills: WillBook
  readonly book: Book
  readonly queueBook: QueueBook
  readonly worker: SimWorker
  readonly deadWorker: SimWorker
  readonly actors: Actor[] = []
  /** Topics that may have a retained message. */
  readonly retainedTopics = new Set<string>()
  readonly #seed: number
  #refusing = false

  constructor({ seed, random, rules, wrap }: SceneOptions) {
    this.#seed = seed
    this.world = new LabWorld({ seed, config, ...(rules && { rules }), ...(wrap && { wrap }) })
    this.wills = new WillBook(
      this.trace,
      () => this.world.crashes,
      () => this.world.time.now(),
    )
    this.book = new Book(this.trace, this.wills)
    this.queueBook = new QueueBook(this.trace, this.book, MAX_ATTEMPTS)
    this.worker = new SimWorker(this.world, random.fork('worker'), this.queueBook, QUEUE)
    this.deadWorker = new SimWorker(this.world, random.fork('dead'), this.queueBook, `${QUEUE}.dead`)
  }

  /** The store may refuse writes: what that excuses is excused. */
  refusing(yes: boolean): void {
    this.#refusing = yes
    this.book.ordersRetransmissions = !yes
    this.wills.refusing = yes
  }

  actor(options: ClientOptions, more: Partial<Pick<Actor, 'topics' | 'filters' | 'will'>> = {}): Actor {
    const { topics = [], filters = [], will = null } = more
    const actor = { client: new LabClient(options, this.book), topics, filters, subscribed: new Set<string>(), will }
    for (const { topic, retain } of topics) if (retain) this.retainedTopics.add(topic)
    if (filters.some((filter) => filter.startsWith('$share/'))) this.book.sharesOnly(actor.client)
    this.actors.push(actor)
    return actor
  }

  connect({ client, will, subscribed }: Actor): void {
    const line = this.world.connect()
    if (line === null) return
    if (client.options.clean) subscribed.clear()
    if (will !== null) this.wills.make(client, will.topic, will.delaySeconds)
    client.connect(line)
  }

  subscribe(client: LabClient, filters: readonly string[], qos: 0 | 1 | 2): void {
    for (const filter of filters) this.book.subscribing(client, filter, qos)
    client.subscribe([...filters], qos)
  }

  unsubscribe(client: LabClient, filter: string): void {
    this.book.unsubscribing(client, filter)
    client.unsubscribe([filter])
  }

  publish(client: LabClient, topic: string, qos: 0 | 1 | 2, retain = false, clears = false): void {
    client.publish(this.book.message(client, topic, qos, retain, clears))
  }

  disconnect(client: LabClient): void {
    this.wills.leaving(client)
    client.disconnect()
  }

  /** Starts the broker after a crash or stop, until it is up. */
  async restart(beforeTry: (tries: number) => void = () => {}): Promise<void> {
    this.#forgotten()
    for (let tries = 0; !this.world.running; tries++) {
      beforeTry(tries)
      this.trace.note('the broker starts')
      if (await this.world.start()) return
      this.trace.note('the broker did not come up')
    }
  }

  #forgotten(): void {
    this.wills.crashed()
    const workers = [this.worker, this.deadWorker]
    for (const worker of workers) worker.crashed()
    if (!this.#refusing) return
    this.queueBook.leasesUnsure()
    for (const worker of workers) worker.leasesUnsure()
  }

  /** No more faults: everything owed must arrive, and memory must say what the disk says. */
  async finish(watcher: LabClient): Promise<void> {
    const { world, trace } = this
    if (!world.running) await this.restart()
    for (const { client } of this.actors) {
      client.holdsAcks = false
      client.acknowledge()
    }
    for (const line of world.lines) line.frozen = false
    // Wills whose delay runs are due before their clients come back.
    await world.pass(3000, 50)
    for (const line of world.lines) if (!this.actors.some(({ client }) => client.line === line)) line.reset(0)
    await this.#drain()
    this.book.account()
    this.wills.account(watcher)
    this.queueBook.account(inQueue)
    await this.#checkRetained()
    await world.pass(50)
    for (const difference of await differences(world)) trace.violation(difference, ...namesIn(difference))
    for (const { client } of this.actors) {
      const { clientId } = client.options
      if (client.state !== 'online') trace.violation(`${clientId} cannot connect`, clientId)
      if (client.inFlight > 0) trace.violation(`${clientId} has ${client.inFlight} in flight for ever`, clientId)
      // A short session may have ended and begun again without its client hearing of it.
      const lasts = (client.options.expirySeconds ?? 3600) > 60
      if (client.halfDone > 0 && lasts) trace.violation(`${clientId} has QoS 2 half done`, clientId)
      if (client.asking) trace.violation(`${clientId} has a SUBSCRIBE without answer`, clientId)
    }
  }

  async #drain(): Promise<void> {
    const { world, worker, deadWorker, actors } = this
    for (let round = 0; round < 60; round++) {
      for (const { client } of actors)
        if (client.state === 'offline') this.connect(actors.find((a) => a.client === client)!)
      for (const one of [worker, deadWorker]) {
        one.pull(100, 10_000, 0)
        await world.settle()
        one.ackAll()
      }
      await world.pass(100, 50)
      const allOnline = actors.every(({ client }) => client.state === 'online')
      if (allOnline && worker.emptyPulls > 2 && deadWorker.emptyPulls > 2 && this.#empty) return
    }
  }

  get #empty(): boolean {
    const { broker, queues } = this.world.life
    for (const session of broker.core.sessions.values()) if (session.waiting > 0) return false
    for (const queue of queues) if (queue.lane.waiting > 0) return false
    return true
  }

  async #checkRetained(): Promise<void> {
    const found = new Map<string, string>()
    const nothing = (): void => {}
    const seeker = new LabClient(
      { clientId: 'seeker', version: 4, clean: true },
      {
        connecting: nothing,
        connected: nothing,
        connectRefused: nothing,
        gone: nothing,
        acknowledged: nothing,
        refused: nothing,
        abandoned: nothing,
        subscribed: nothing,
        unsubscribed: nothing,
        violation: (what) => this.trace.violation(what),
        received: (_client, { topic, payload }: PublishPacket) => void found.set(topic, payload.toString()),
      },
    )
    seeker.connect(this.world.connect()!)
    await this.world.settle()
    seeker.subscribe(['r/#'], 2)
    await this.world.settle()
    for (const topic of this.retainedTopics) {
      const possible = this.book.retainedMayBe(topic)
      const is = found.get(topic) ?? ''
      if (!possible.has(is))
        this.trace.violation(`retained on ${topic}: "${is}", possible: ${[...possible]}`, is, ...possible)
    }
    seeker.reset()
    await this.world.settle()
  }

  /** The broker's own complaints, and the stories of all violations. Ends the world. */
  violations(): string[] {
    if (this.world.running) this.world.crash()
    for (const error of this.world.internalErrors) this.trace.violation(`internal error: ${error}`)
    return this.trace.violations.map((violation) => this.trace.story(violation))
  }

  counts(): Record<string, number> {
    const { deliveries, confirmed } = this.queueBook
    const { crashes } = this.world
    return {
      ...this.book.counts(),
      duplicates: this.book.duplicates,
      crashes,
      deliveries,
      confirmed,
      wills: this.wills.size,
    }
  }

  get seed(): number {
    return this.#seed
  }
}

function namesIn(text: string): string[] {
  return text.split(/[ [\]:]+/).filter((word) => word.length > 1)
}
