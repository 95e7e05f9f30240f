import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import { SluiceError } from '../errors.ts'
import type { Store } from '../store.ts'
import { browseLane, browseQueue, type Page, type Seen } from './browse.ts'
import { Capacity, TARGET_WAIT_SECONDS } from './capacity.ts'
import type { Forecast, Measured } from './forecast.ts'
import { type Job, Jobs } from './jobs.ts'
import type { Queues } from './queues.ts'
import { redriveStep } from './redrive.ts'
import { replayStep } from './replay.ts'
import type { Found, Selection } from './selection.ts'
import { Upkeep } from './upkeep.ts'

export interface ControlParts {
  readonly queues: Queues
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  commit(): Promise<void>
}

/** Queue, measurements and forecast, for people. */
export interface Outlook {
  readonly queue: string
  readonly measured: Measured
  readonly forecast: Forecast
}

/** What people do with queues, beside working on their messages: look, move, replay, plan. */
export class QueueControl {
  readonly jobs: Jobs
  readonly #parts: ControlParts
  readonly #capacities = new Map<string, Capacity>()
  readonly #measuring: Upkeep

  constructor(parts: ControlParts) {
    this.#parts = parts
    this.jobs = new Jobs(parts.clock, parts.random)
    this.#measuring = new Upkeep(parts.clock, async () => this.sample())
  }

  /** Measures every queue from now on. */
  measure(): void {
    this.sample()
    this.#measuring.start()
  }

  /** One sample of every queue. */
  sample(): void {
    for (const { name } of this.#parts.queues) this.#capacity(name).sample()
  }

  /**
   * A page of the messages of a queue.
   * @throws SluiceError queue_unknown, topic_filter_invalid
   */
  browse(name: string, selection: Selection, limit: number, cursor?: number): Promise<Page<Seen>> {
    return browseQueue(this.#parts.queues.get(name), this.#parts.store, selection, limit, cursor)
  }

  /** One message of a queue by its id; null: it is not there. Looks through the queue. */
  async find(name: string, id: string): Promise<Seen | null> {
    for (let cursor: number | undefined; ; ) {
      const page = await this.browse(name, { ids: [id] }, 1, cursor)
      if (page.messages.length > 0) return page.messages[0]!
      if (page.next === undefined) return null
      cursor = page.next
    }
  }

  /** A page of what a queue keeps for replay. Errors as `browse`. */
  browseRetained(name: string, selection: Selection, limit: number, cursor?: number): Promise<Page<Found>> {
    const { retained } = this.#parts.queues.intake(name)
    return browseLane(this.#parts.store, retained.lane, () => '', selection, limit, cursor)
  }

  /**
   * Moves messages back into the queue they came from, or all of them into `to`. Goes on after it has returned.
   * @param perSecond 0: as fast as it goes
   * @throws SluiceError queue_unknown, topic_filter_invalid
   */
  redrive(from: string, selection: Selection, perSecond = 0, to?: string): Job {
    const { queues, store, commit } = this.#parts
    const queue = queues.get(from)
    if (to !== undefined) queues.get(to)
    const target = (name: string) => queues.ensure(name)
    const step = redriveStep(queue, selection, to, { store, commit, target })
    return this.jobs.start({ kind: 'redrive', from, ...(to !== undefined && { to }) }, perSecond, step)
  }

  /**
   * Copies messages that a queue kept into it once more, or into another: a queue with its groups, or one group alone.
   * Goes on after it has returned.
   * @throws SluiceError queue_unknown, topic_filter_invalid, nothing_retained
   */
  replay(from: string, selection: Selection, perSecond = 0, to = from): Job {
    const { queues, store, clock, commit } = this.#parts
    const intake = queues.intake(from)
    const queue = queues.get(to)
    if (intake.retained.lane.waiting === 0)
      throw new SluiceError('nothing_retained', `the queue ${intake.name} keeps nothing: see queues.*.retention`)
    const step = replayStep(intake, selection, {
      store,
      clock,
      commit,
      targets: (terms) => {
        const into = queues.intake(to)
        return into.targetsOf(terms, into.name === to ? undefined : queue)
      },
    })
    return this.jobs.start({ kind: 'replay', from, to }, perSecond, step)
  }

  /**
   * @param targetWaitSeconds mean wait for which the workers needed are asked
   * @param workers how many there are to be; absent: as measured
   * @throws SluiceError queue_unknown
   */
  forecast(name: string, targetWaitSeconds = TARGET_WAIT_SECONDS, workers?: number): Outlook {
    const capacity = this.#capacity(this.#parts.queues.get(name).name)
    const measured = capacity.measured(workers)
    return { queue: name, measured, forecast: capacity.forecast(targetWaitSeconds, workers) }
  }

  /** A worker with a name says that it works on this queue. */
  heard(name: string, worker: string): void {
    if (this.#parts.queues.find(name) !== undefined) this.#capacity(name).heard(worker)
  }

  async close(): Promise<void> {
    this.#measuring.stop()
    await this.jobs.close()
  }

  #capacity(name: string): Capacity {
    let capacity = this.#capacities.get(name)
    if (capacity === undefined) {
      capacity = new Capacity(this.#parts.queues.get(name), this.#parts.clock)
      this.#capacities.set(name, capacity)
    }
    return capacity
  }
}
