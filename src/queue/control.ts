import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import { SluiceError } from '../errors.ts'
import type { Store } from '../store.ts'
import { browseLane, browseQueue, type Page, type Seen } from './browse.ts'
import { Capacity, TARGET_WAIT_SECONDS } from './capacity.ts'
import type { Forecast, Measured } from './forecast.ts'
import type { Intake } from './intake.ts'
import type { Job, JobFacts } from './job-records.ts'
import { type Course, Jobs } from './jobs.ts'
import type { WorkQueue } from './queue.ts'
import type { Queues } from './queues.ts'
import { type RedriveProgress, redriveCourse } from './redrive.ts'
import { type ReplayProgress, replayCourse } from './replay.ts'
import type { Found, Selection } from './selection.ts'
import type { EntryTerms } from './terms.ts'
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
  /** Why nothing that has to be kept is taken at the moment; null: it is. */
  shortage: () => Promise<SluiceError | null> = async () => null
  readonly #parts: ControlParts
  readonly #capacities = new Map<string, Capacity>()
  readonly #measuring: Upkeep

  constructor(parts: ControlParts) {
    this.#parts = parts
    const { store, clock, random, commit } = parts
    const course = (facts: JobFacts, progress: unknown): Course => this.#course(facts, progress)
    this.jobs = new Jobs({ store, clock, random, commit, course, shortage: () => this.shortage() })
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
   * Moves messages back into the queue they came from, or all of them into `to`. Resolves when it is durable that this is to be
   * done; goes on from there, whatever happens to the process.
   * @param perSecond 0: as fast as it goes
   * @throws SluiceError queue_unknown, topic_filter_invalid, quota_exceeded, store_unavailable, store_full
   */
  async redrive(from: string, selection: Selection, perSecond = 0, to?: string): Promise<Job> {
    const { queues } = this.#parts
    queues.get(from)
    if (to !== undefined) queues.get(to)
    return this.jobs.start({ kind: 'redrive', from, selection, perSecond, ...(to !== undefined && { to }) })
  }

  /**
   * Copies messages that a queue kept into it once more, or into another: a queue with its groups, or one group alone.
   * Otherwise as `redrive`.
   * @throws SluiceError as `redrive`; nothing_retained
   */
  async replay(from: string, selection: Selection, perSecond = 0, to = from): Promise<Job> {
    const { queues } = this.#parts
    const intake = queues.intake(from)
    queues.get(to)
    if (intake.retained.lane.waiting === 0)
      throw new SluiceError('nothing_retained', `the queue ${intake.name} keeps nothing: see queues.*.retention`)
    return this.jobs.start({ kind: 'replay', from, to, selection, perSecond })
  }

  /** Jobs that were running go on. The queues must be open. */
  open(): void {
    this.jobs.open()
  }

  #course({ kind, from, to, selection }: JobFacts, progress: unknown): Course {
    const { queues, store, clock, commit } = this.#parts
    if (kind === 'redrive') {
      const target = (name: string) => queues.ensure(name)
      return redriveCourse(
        queues.get(from),
        selection,
        to,
        { store, commit, target, hasRoom: (queue) => queues.intake(queue.name).hasRoomIn(queue) },
        progress as RedriveProgress | null,
      )
    }
    const intake = queues.intake(from)
    const name = to ?? from
    const groupOf = (into: Intake): WorkQueue | undefined => (into.name === name ? undefined : queues.get(name))
    const targets = (terms: EntryTerms) => {
      const into = queues.intake(name)
      return into.targetsOf(terms, groupOf(into))
    }
    const full = (): string | null => {
      const into = queues.intake(name)
      const group = groupOf(into)
      return (group === undefined ? into.hasRoom : into.hasRoomIn(group)) ? null : name
    }
    return replayCourse(intake, selection, { store, clock, commit, targets, full }, progress as ReplayProgress | null)
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
