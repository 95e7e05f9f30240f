import type { Clock } from '../base/clock.ts'
import { type Random, systemRandom } from '../base/random.ts'
import { SluiceError } from '../errors.ts'
import type { Store } from '../store.ts'
import { Intake } from './intake.ts'
import { WorkQueue } from './queue.ts'
import { LeaseIds } from './receipt.ts'
import type { QueueInfo } from './requests.ts'
import {
  defaultQueueLimits,
  defaultQueueSettings,
  type QueueEvents,
  type QueueLimits,
  type QueueSettings,
} from './settings.ts'
import { TurnCommit } from './turn-commit.ts'

const DEAD = '.dead'
const LANE_PREFIX = 'q/'

export interface QueuesOptions {
  store: Store
  clock: Clock
  random?: Random
  /** Queues that exist because a bridge rule names them. */
  names?: Iterable<string>
  /** Settings by queue name; a queue listed here exists. */
  settings?: Readonly<Record<string, QueueSettings>>
  limits?: Partial<QueueLimits>
  events?: QueueEvents
  /** Resolves when everything written in this turn is durable. Default: one `store.commit()` per turn. */
  commit?: () => Promise<void>
}

/**
 * The work queues of this node. A queue exists when a bridge rule or the settings name it, when the store holds
 * messages of it (it may have left the config file since), or when it takes the dead letters of another one.
 */
export class Queues {
  readonly #options: QueuesOptions
  readonly #settings: ReadonlyMap<string, QueueSettings>
  readonly #queues = new Map<string, WorkQueue>()
  readonly #intakes = new Map<string, Intake>()
  /** Queues made while running, on their way to be open. */
  readonly #opening = new Set<Promise<void>>()
  readonly #leaseIds: LeaseIds
  readonly #commit: () => Promise<void>
  /** Names under which dead letters arrive: their messages stay, however often they fail, unless settings say otherwise. */
  readonly #deadNames = new Set<string>()

  /** @throws SluiceError config_invalid: a queue is its own dead-letter queue */
  constructor(options: QueuesOptions) {
    this.#options = options
    this.#settings = new Map(Object.entries(options.settings ?? {}))
    this.#leaseIds = new LeaseIds(options.clock.now())
    const turn = new TurnCommit(options.store)
    this.#commit = options.commit ?? (() => turn.committed())
    for (const [name, settings] of this.#settings) {
      if (settings.deadLetterQueue === name)
        throw new SluiceError(
          'config_invalid',
          `queues.${name}.deadLetterQueue: a queue cannot take its own dead letters`,
        )
      if (settings.deadLetterQueue !== undefined) this.#deadNames.add(settings.deadLetterQueue)
    }
  }

  /** Opens every queue there is. The store must be open. Rejects when the store cannot be read. */
  async open(): Promise<void> {
    const { store, names = [] } = this.#options
    const stored = store.laneNames(LANE_PREFIX).map((lane) => lane.slice(LANE_PREFIX.length))
    const made = [...new Set([...names, ...this.#settings.keys(), ...stored])].map((name) => this.#make(name))
    await Promise.all(made.map((queue) => queue.open()))
    // The epochs of new queues: no id may be given that a restart would change.
    await this.#commit()
  }

  /** @throws SluiceError queue_unknown */
  get(name: string): WorkQueue {
    const queue = this.#queues.get(name)
    if (queue === undefined) throw new SluiceError('queue_unknown', `there is no queue named ${JSON.stringify(name)}`)
    return queue
  }

  find(name: string): WorkQueue | undefined {
    return this.#queues.get(name)
  }

  /**
   * The way into the queue of this name, for bridge rules and producers.
   * @throws SluiceError queue_unknown
   */
  intake(name: string): Intake {
    const known = this.#intakes.get(name)
    if (known !== undefined) return known
    const queue = this.get(name)
    const intake = new Intake({
      name,
      clock: this.#options.clock,
      limits: this.settingsOf(name).limits,
      lanes: () => [queue.lane],
      overflow: (other) => this.intake(other),
    })
    this.#intakes.set(name, intake)
    return intake
  }

  /** Lease of a pull that names none, in ms. */
  leaseMs(name: string): number {
    return this.settingsOf(name).leaseMs
  }

  settingsOf(name: string): QueueSettings {
    return this.#settings.get(name) ?? defaultQueueSettings
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
    await Promise.allSettled(this.#opening)
    await Promise.all([...this.#queues.values()].map((queue) => queue.close()))
  }

  #make(name: string): WorkQueue {
    const { store, clock, random = systemRandom, limits, events = {} } = this.#options
    const settings = this.settingsOf(name)
    const deadLetterQueue = settings.deadLetterQueue ?? name + DEAD
    const takesDead = this.#deadNames.has(name) || name.endsWith(DEAD)
    const queue = new WorkQueue({
      name,
      store,
      clock,
      random,
      leaseIds: this.#leaseIds,
      maxAttempts: takesDead && !this.#settings.has(name) ? Number.POSITIVE_INFINITY : settings.maxAttempts,
      backoff: settings.backoff,
      deadLetterQueue,
      limits: { ...defaultQueueLimits, ...limits },
      events,
      epoch: this.#epochOf(name, random),
      commit: this.#commit,
      left: () => this.#intakes.get(name)?.left(),
      deadLane: () => this.#deadQueue(deadLetterQueue).lane,
    })
    this.#queues.set(name, queue)
    return queue
  }

  #deadQueue(name: string): WorkQueue {
    const known = this.#queues.get(name)
    if (known !== undefined) return known
    this.#deadNames.add(name)
    const queue = this.#make(name)
    const opening = queue
      .open()
      .catch((error: unknown) => this.#options.events?.internalError?.({ where: `queue ${name}`, error }))
      .finally(() => this.#opening.delete(opening))
    this.#opening.add(opening)
    return queue
  }

  /** Made once for each lane and kept in the store; a lane that is made anew gets another one. */
  #epochOf(name: string, random: Random): string {
    const { store } = this.#options
    const key = `queue/${name}`
    const known = store.meta(key).get(key) as { epoch?: unknown } | undefined
    if (typeof known?.epoch === 'string') return known.epoch
    const epoch = random.id(8)
    store.putMeta(key, { epoch })
    return epoch
  }
}
