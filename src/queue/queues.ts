import type { Clock } from '../base/clock.ts'
import { type Random, systemRandom } from '../base/random.ts'
import type { DoorFacts } from '../door.ts'
import { SluiceError } from '../errors.ts'
import type { Store } from '../store.ts'
import { QueueControl } from './control.ts'
import { groupQueue } from './groups.ts'
import { Intake } from './intake.ts'
import { MessageIds } from './message-ids.ts'
import { WorkQueue } from './queue.ts'
import { LeaseIds } from './receipt.ts'
import { QueueRecords } from './records.ts'
import type { QueueInfo } from './requests.ts'
import { Schedule } from './schedule.ts'
import { defaultQueueLimits, type QueueEvents, type QueueLimits, type QueueSettings } from './settings.ts'
import { SettingsBook } from './settings-book.ts'
import { storedPriorities } from './stripe.ts'
import { TurnCommit } from './turn-commit.ts'
import { unknownQueue } from './unknown.ts'
import { Upkeep } from './upkeep.ts'
import { Workers } from './workers.ts'

const LANE_PREFIX = 'q/'
/** All lanes of queues begin so, whatever they are for. */
const LANES = 'q'

/** Pause before a queue that could not be opened is tried again, in ms. */
const RETRY_MS = 1000

export interface QueuesOptions {
  store: Store
  clock: Clock
  random?: Random
  /** Queues that exist because a bridge rule names them; read by `open`. */
  names?: Iterable<string>
  /** Settings by queue name; a queue listed here exists. */
  settings?: Readonly<Record<string, QueueSettings>>
  limits?: Partial<QueueLimits>
  events?: QueueEvents
  /** Resolves when everything written in this turn is durable. Default: one `store.commit()` per turn. */
  commit?: () => Promise<void>
  /** False: there is no Redis for workers that would take messages from there. */
  redisWorkers?: boolean
}

/**
 * The work queues of this node. A queue exists when a bridge rule or the settings name it, when the store holds
 * messages of it (it may have left the config file since), when it takes the dead letters of another one, or when it is
 * a consumer group of another one: `<queue>@<group>`.
 */
export class Queues {
  readonly #options: QueuesOptions
  readonly #random: Random
  readonly #settings: SettingsBook
  readonly #records: QueueRecords
  readonly #queues = new Map<string, WorkQueue>()
  /** Priorities of which the store holds lanes, by queue. */
  #priorities: ReadonlyMap<string, number[]> = new Map()
  readonly #intakes = new Map<string, Intake>()
  /** Queues made while running, on their way to be open. */
  readonly #opening = new Set<Promise<void>>()
  readonly #leaseIds: LeaseIds
  readonly #messageIds: MessageIds
  /** What people do with queues. */
  readonly control: QueueControl
  /** Workers that send heartbeats. */
  readonly workers: Workers
  /** What lies outside for workers that do not speak with the broker; undefined: the queue has no door. */
  doorOf: (name: string) => DoorFacts | undefined = () => undefined
  readonly #upkeep: Upkeep
  readonly #commit: () => Promise<void>

  /** @throws SluiceError config_invalid: a queue is its own dead-letter queue */
  constructor(options: QueuesOptions) {
    const { store, clock, random = systemRandom } = options
    this.#options = options
    this.#random = random
    this.#records = new QueueRecords(store, random)
    this.#settings = new SettingsBook(options.settings ?? {}, this.#records)
    this.#leaseIds = new LeaseIds(clock.now())
    this.#messageIds = new MessageIds(clock, random)
    this.#upkeep = new Upkeep(clock, () => this.#lookAfter())
    const turn = new TurnCommit(store)
    this.#commit = options.commit ?? (() => turn.committed())
    this.control = new QueueControl({ queues: this, store, clock, random, commit: this.#commit })
    this.workers = new Workers(clock, (queue, id) => this.control.heard(queue, id))
  }

  /** Opens every queue there is. The store must be open. Rejects when the store cannot be read. */
  async open(): Promise<void> {
    const { store, clock, names = [] } = this.#options
    // Another node may have kept the queues while this one ran.
    await store.shared?.lanes(LANES)
    this.#records.take()
    this.#leaseIds.seen(LeaseIds.at(clock.now()))
    this.#priorities = storedPriorities(store)
    const stored = store.laneNames(LANE_PREFIX).map((lane) => lane.slice(LANE_PREFIX.length))
    const scheduled = Schedule.queues(store)
    const found = [...names, ...this.#settings.names, ...stored, ...this.#priorities.keys(), ...scheduled]
    for (const name of new Set(found)) this.#make(name)
    await Promise.all([...this.#queues.values()].map((queue) => queue.open()))
    for (const name of this.#queues.keys()) if (this.#settings.parentOf(name) === null) this.intake(name)
    await Promise.all([...this.#intakes.values()].map((intake) => intake.restore()))
    this.#startUpkeep()
    this.control.open()
    // The epochs of new queues: no id may be given that a restart would change.
    await this.#commit()
  }

  /** @throws SluiceError queue_unknown */
  get(name: string): WorkQueue {
    const queue = this.#queues.get(name)
    if (queue === undefined) throw unknownQueue(name, this)
    return queue
  }

  /**
   * The queue of this name, made if there is none: for rules that are applied while the broker runs. When its opening fails, the
   * next one who asks tries again.
   * @throws SluiceError store_unavailable
   */
  async ensure(name: string): Promise<WorkQueue> {
    const known = this.#queues.get(name)
    if (known?.isOpen === true) return known
    const made = known ?? this.#make(name)
    await this.#open(made)
    await this.#commit()
    return made
  }

  find(name: string): WorkQueue | undefined {
    return this.#queues.get(name)
  }

  /**
   * The way into the queue of this name, for bridge rules and producers. That of a consumer group is the way into its queue.
   * @throws SluiceError queue_unknown
   */
  intake(name: string): Intake {
    const parent = this.#settings.parentOf(name) ?? name
    const known = this.#intakes.get(parent)
    if (known !== undefined) return known
    this.get(parent)
    const { store, clock, events } = this.#options
    const intake = new Intake({
      name: parent,
      store,
      clock,
      ids: this.#messageIds,
      settings: () => this.settingsOf(parent),
      members: () => this.#settings.membersOf(parent).map((member) => this.get(member)),
      overflow: (other) => this.intake(other),
      commit: this.#commit,
      onError: (error) => {
        if (!(error instanceof SluiceError)) events?.internalError?.({ where: `queue ${parent}`, error })
      },
    })
    this.#intakes.set(parent, intake)
    return intake
  }

  /** Lease of a pull that names none, in ms. */
  leaseMs(name: string): number {
    return this.settingsOf(name).leaseMs
  }

  settingsOf(name: string): QueueSettings {
    return this.#settings.of(name)
  }

  /**
   * Gives a queue, which is made when absent, settings that take the place of those in the config file; null: those of the
   * config file count again. Resolves when that is durable.
   * @throws SluiceError config_invalid
   */
  async define(name: string, settings: QueueSettings | null): Promise<WorkQueue> {
    if (settings !== null) this.#settings.check(name, settings)
    if (settings?.redisWorkers.enabled && this.#options.redisWorkers === false)
      throw new SluiceError('config_invalid', `queues.${name}.redisWorkers.enabled: needs store: redis`)
    const { settings: _, ...kept } = this.#records.of(name)
    this.#records.remove(name)
    this.#records.change(name, settings === null ? kept : { ...kept, settings })
    const queue = await this.ensure(name)
    await this.#settingsChanged(name)
    await this.#commit()
    return queue
  }

  /** Adds a consumer group that sees every message from now on. Resolves with its queue when that is durable. */
  async addGroup(name: string, group: string): Promise<WorkQueue> {
    const queue = this.get(name)
    const groups = this.#records.of(name).groups ?? []
    if (!this.#settings.groupsOf(name).includes(group)) this.#records.change(name, { groups: [...groups, group] })
    await this.#settingsChanged(queue.name)
    await this.#commit()
    return this.get(groupQueue(name, group))
  }

  /** Nobody gets messages of a paused queue; that is durable when it resolves. */
  async pause(name: string, paused: boolean): Promise<void> {
    const queue = this.get(name)
    this.#records.change(name, { paused })
    queue.paused = paused
    await this.#commit()
  }

  [Symbol.iterator](): IterableIterator<WorkQueue> {
    return this.#queues.values()
  }

  /** Counts of every queue, by name. */
  list(): Promise<QueueInfo[]> {
    const byName = [...this.#queues.values()].sort((a, b) => (a.name < b.name ? -1 : 1))
    return Promise.all(byName.map((queue) => queue.info()))
  }

  /** Answers every waiting pull with nothing and takes no more; acknowledgements still count while the store is open. */
  async close(): Promise<void> {
    this.#upkeep.stop()
    await this.control.close()
    await Promise.allSettled(this.#opening)
    for (const intake of this.#intakes.values()) intake.close()
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()))
  }

  /** Makes the queue and those it needs. */
  #make(name: string): WorkQueue {
    const known = this.#queues.get(name)
    if (known !== undefined) return known
    const { store, clock, limits, events = {} } = this.#options
    const deadLetterQueue = this.#settings.deadLetterQueueOf(name)
    const { epoch, paused = false } = this.#records.of(name)
    const queue = new WorkQueue({
      name,
      store,
      clock,
      random: this.#random,
      leaseIds: this.#leaseIds,
      settings: this.#settings.effective(name),
      priorities: this.#priorities.get(name) ?? [],
      paused,
      deadLetterQueue,
      limits: { ...defaultQueueLimits, ...limits },
      events,
      epoch,
      commit: this.#commit,
      left: () => this.#intakes.get(this.#settings.parentOf(name) ?? name)?.left(),
      deadLane: () => this.#deadQueue(this.#records.assured(deadLetterQueue)).lane,
    })
    this.#queues.set(name, queue)
    for (const other of this.#settings.needs(name)) this.#make(other)
    return queue
  }

  async #settingsChanged(name: string): Promise<void> {
    for (const other of this.#settings.needs(name)) await this.ensure(other)
    for (const queue of this.#queues.values())
      if (queue.name === name || this.#settings.parentOf(queue.name) === name)
        queue.settings = this.#settings.effective(queue.name)
    this.intake(name).relink()
    this.#startUpkeep()
  }

  #open(queue: WorkQueue): Promise<void> {
    const opening = Promise.all(this.#settings.needs(queue.name).map((name) => this.get(name).open()))
      .then(() => (this.#settings.parentOf(queue.name) === null ? this.intake(queue.name).restore() : undefined))
      .finally(() => this.#opening.delete(opening))
    this.#opening.add(opening)
    return opening
  }

  #deadQueue(name: string): WorkQueue {
    const known = this.#queues.get(name)
    if (known !== undefined) return known
    this.#settings.takesDead(name)
    const queue = this.#make(name)
    this.#openPatiently(queue)
    return queue
  }

  /** A queue that nothing is stored of yet: what could not be read is read again. */
  #openPatiently(queue: WorkQueue): void {
    const { clock, events } = this.#options
    this.#open(queue).catch((error: unknown) => {
      // The store tells of its own failures.
      if (!(error instanceof SluiceError)) events?.internalError?.({ where: `queue ${queue.name}`, error })
      clock.after(RETRY_MS, () => this.#openPatiently(queue))
    })
  }

  #startUpkeep(): void {
    for (const { settings } of this.#queues.values())
      if (settings.limits.ageMs > 0 || settings.retention.ms > 0) this.#upkeep.start()
  }

  async #lookAfter(): Promise<void> {
    for (const queue of this.#queues.values()) await queue.expire().catch(() => {})
    for (const intake of this.#intakes.values()) await intake.retained.trim().catch(() => {})
  }
}
