import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import { SluiceError } from '../errors.ts'
import type { Store } from '../store.ts'
import { type Job, type JobFacts, JobRecords } from './job-records.ts'

/** Messages between two commits of a job that goes as fast as it can. */
export const BATCH = 500
/** Bytes of their bodies from which on no further message is taken into it: by so much the room of the store may be exceeded. */
export const BATCH_BYTES = 1024 * 1024
/** A job with a rate moves what is due this often, in ms. */
const BEAT_MS = 100
/** Pause before a job goes on whose store failed or that waits for room, in ms. */
const RETRY_MS = 1000
/** Finished jobs that can still be asked for. */
const REMEMBERED_MAX = 100
/** Jobs at one time. */
const RUNNING_MAX = 100

/** Where a job goes on: JSON, of the job's own kind. */
export type Progress = unknown

/** What a job cannot go on without: room in a queue. */
export class Wait {
  readonly waitsFor: string

  constructor(waitsFor: string) {
    this.waitsFor = waitsFor
  }
}

/**
 * What a job does: up to `max` messages more, durable when it resolves with their number; null when nothing is left.
 * @param note to be called in the turn in which the messages are written: says how far the job is then, in the same group
 */
export type JobStep = (max: number, note: (progress: Progress, count: number) => void) => Promise<number | Wait | null>

/** A job from its beginning, or from where it had come. */
export interface Course {
  /** Where it begins; what it is to look at is settled with that. */
  readonly progress: Progress
  readonly step: JobStep
}

export interface JobsParts {
  readonly store: Store
  readonly clock: Clock
  readonly random: Random
  commit(): Promise<void>
  /** Why nothing is to be written at the moment that has to be kept; null: it may be. */
  shortage(): Promise<SluiceError | null>
  /**
   * @param progress null: from the beginning
   * @throws SluiceError what it needs is not there
   */
  course(facts: JobFacts, progress: Progress): Course
}

/**
 * Jobs go through many messages while the queues run on. How far each is stands in the store, in one group with what it
 * moved: after a restart, or on the node that keeps the queues next, it goes on there, and moves nothing twice.
 *
 *     running ──nothing left──▶ done
 *        │ ├────cancel───────▶ cancelled
 *        │ └────cannot go on─▶ failed
 *        └ while the store fails, or has no room, or the queue is full into which it puts messages, it waits (`waitsFor`) and tries again
 */
export class Jobs {
  readonly #parts: JobsParts
  readonly #records: JobRecords
  readonly #jobs = new Map<string, Job>()
  readonly #running = new Map<string, Promise<void>>()
  /** Wake those who sleep, for `close`. */
  readonly #sleepers = new Set<() => void>()
  #closed = false

  constructor(parts: JobsParts) {
    this.#parts = parts
    this.#records = new JobRecords(parts.store)
  }

  /** Reads what there is; jobs that were running go on. */
  open(): void {
    for (const { job, progress } of this.#records.all()) {
      if (this.#jobs.has(job.id)) continue
      this.#jobs.set(job.id, job)
      if (job.state === 'running') this.#begin(job, progress)
    }
  }

  /** Newest first. */
  list(): Job[] {
    return [...this.#jobs.values()].reverse()
  }

  /** @throws SluiceError job_unknown */
  get(id: string): Job {
    const job = this.#jobs.get(id)
    if (job === undefined) throw new SluiceError('job_unknown', `there is no job ${JSON.stringify(id)}`)
    return job
  }

  /**
   * What it has moved stays moved. Resolves when it is durable that it does not go on.
   * @throws SluiceError job_unknown, store_unavailable, store_full
   */
  async cancel(id: string): Promise<Job> {
    const job = this.get(id)
    if (job.state !== 'running' && job.state !== 'cancelled') return job
    this.#end(job, 'cancelled')
    await this.#parts.commit()
    return job
  }

  /** Waits until the job has ended, at most `ms`. */
  async ended(id: string, ms = Number.POSITIVE_INFINITY): Promise<Job> {
    const running = this.#running.get(id)
    if (running === undefined || ms === Number.POSITIVE_INFINITY) {
      await running
      return this.get(id)
    }
    let cancel = (): void => {}
    const over = new Promise<void>((resolve) => {
      cancel = this.#parts.clock.after(ms, resolve)
    })
    await Promise.race([running, over])
    cancel()
    return this.get(id)
  }

  /**
   * Resolves when it is durable that the job is to be done.
   * @throws SluiceError quota_exceeded; store_unavailable, store_full; as `course`
   */
  async start(what: Omit<JobFacts, 'id' | 'startedAt'>): Promise<Job> {
    if (this.#running.size >= RUNNING_MAX)
      throw new SluiceError('quota_exceeded', `${RUNNING_MAX} jobs are running; cancel one, or wait`)
    const { clock, random, commit } = this.#parts
    const job: Job = { ...what, id: random.id(6), startedAt: clock.now(), state: 'running', count: 0 }
    const { progress } = this.#parts.course(job, null)
    this.#records.put(job, progress)
    await commit()
    this.#jobs.set(job.id, job)
    this.#forget()
    if (!this.#closed) this.#begin(job, progress)
    return job
  }

  /** Ends all of them where they are; they go on at the next start. */
  async close(): Promise<void> {
    this.#closed = true
    for (const wake of this.#sleepers) wake()
    await Promise.all(this.#running.values())
  }

  #begin(job: Job, progress: Progress): void {
    const running = this.#run(job, progress).finally(() => this.#running.delete(job.id))
    this.#running.set(job.id, running)
  }

  #forget(): void {
    for (const [id, { state }] of this.#jobs) {
      if (this.#jobs.size <= REMEMBERED_MAX) break
      if (state === 'running') continue
      this.#jobs.delete(id)
      this.#records.remove(id)
    }
  }

  #end(job: Job, state: 'done' | 'cancelled' | 'failed'): void {
    job.state = state
    delete job.waitsFor
    job.endedAt = this.#parts.clock.now()
    this.#records.advance(job, null)
  }

  async #run(job: Job, progress: Progress): Promise<void> {
    let at = progress
    while (job.state === 'running' && !this.#closed) {
      try {
        const { step } = this.#parts.course(job, at)
        const done = await this.#walk(job, step, (reached) => {
          at = reached
        })
        if (done && job.state === 'running') this.#end(job, 'done')
        await this.#parts.commit().catch(() => {})
        return
      } catch (error) {
        job.error = (error as Error).message
        if (error instanceof SluiceError && error.kind === 'dependency') {
          await this.#sleep(RETRY_MS)
        } else {
          this.#end(job, 'failed')
          await this.#parts.commit().catch(() => {})
        }
      }
    }
  }

  /** True when nothing is left. */
  async #walk(job: Job, step: JobStep, reached: (progress: Progress) => void): Promise<boolean> {
    const { perSecond } = job
    let allowance = 0
    while (job.state === 'running' && !this.#closed) {
      if (perSecond > 0) {
        allowance = Math.min(allowance + (perSecond * BEAT_MS) / 1000, Math.max(1, perSecond))
        if (allowance < 1) {
          await this.#sleep(BEAT_MS)
          continue
        }
      }
      const shortage = await this.#parts.shortage()
      if (shortage !== null) {
        await this.#wait(job, shortage.message)
        continue
      }
      let noted: Progress
      const moved = await step(perSecond > 0 ? Math.min(BATCH, Math.floor(allowance)) : BATCH, (progress, count) => {
        noted = progress
        this.#records.advance({ ...job, count: job.count + count }, progress)
      })
      delete job.error
      if (moved instanceof Wait) {
        await this.#wait(job, moved.waitsFor)
        continue
      }
      delete job.waitsFor
      if (moved === null) return true
      job.count += moved
      if (noted !== undefined) reached(noted)
      allowance -= moved
      if (perSecond > 0) await this.#sleep(BEAT_MS)
    }
    return false
  }

  #wait(job: Job, waitsFor: string): Promise<void> {
    job.waitsFor = waitsFor
    return this.#sleep(RETRY_MS)
  }

  #sleep(ms: number): Promise<void> {
    if (this.#closed) return Promise.resolve()
    return new Promise((resolve) => {
      const wake = (): void => {
        this.#sleepers.delete(wake)
        cancel()
        resolve()
      }
      this.#sleepers.add(wake)
      const cancel = this.#parts.clock.after(ms, wake)
    })
  }
}
