import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import { SluiceError } from '../errors.ts'

/** Messages between two commits of a job that goes as fast as it can. */
export const BATCH = 500
/** A job with a rate moves what is due this often, in ms. */
const BEAT_MS = 100
/** Finished jobs that can still be asked for. */
const REMEMBERED_MAX = 100

export type JobKind = 'redrive' | 'replay'

/** Something that goes through many messages while the queues run on. It lives as long as the process. */
export interface Job {
  readonly id: string
  readonly kind: JobKind
  readonly from: string
  /** Absent: each message goes back to the queue it came from. */
  readonly to?: string
  state: 'running' | 'done' | 'cancelled' | 'failed'
  /** Messages moved or copied so far; durable. */
  count: number
  error?: string
}

/** What a job does: up to `max` messages more, durable when it resolves; null when nothing is left. */
export type JobStep = (max: number) => Promise<number | null>

/** The jobs of this process. */
export class Jobs {
  readonly #clock: Clock
  readonly #random: Random
  readonly #jobs = new Map<string, Job>()
  readonly #running = new Map<string, Promise<void>>()
  #closed = false

  constructor(clock: Clock, random: Random) {
    this.#clock = clock
    this.#random = random
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

  /** What it has moved stays moved. */
  cancel(id: string): Job {
    const job = this.get(id)
    if (job.state === 'running') job.state = 'cancelled'
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
      cancel = this.#clock.after(ms, resolve)
    })
    await Promise.race([running, over])
    cancel()
    return this.get(id)
  }

  /** @param perSecond messages a second; 0: as fast as it goes */
  start(what: { kind: JobKind; from: string; to?: string }, perSecond: number, step: JobStep): Job {
    const job: Job = { ...what, id: this.#random.id(6), state: 'running', count: 0 }
    this.#jobs.set(job.id, job)
    for (const [id, { state }] of this.#jobs) {
      if (this.#jobs.size <= REMEMBERED_MAX) break
      if (state !== 'running') this.#jobs.delete(id)
    }
    const running = this.#run(job, perSecond, step).finally(() => this.#running.delete(job.id))
    this.#running.set(job.id, running)
    return job
  }

  /** Ends all of them where they are. */
  async close(): Promise<void> {
    this.#closed = true
    for (const job of this.#jobs.values()) if (job.state === 'running') job.state = 'cancelled'
    await Promise.all(this.#running.values())
  }

  async #run(job: Job, perSecond: number, step: JobStep): Promise<void> {
    let allowance = 0
    try {
      while (job.state === 'running' && !this.#closed) {
        if (perSecond > 0) {
          allowance = Math.min(allowance + (perSecond * BEAT_MS) / 1000, Math.max(1, perSecond))
          if (allowance < 1) {
            await this.#beat()
            continue
          }
        }
        const moved = await step(perSecond > 0 ? Math.min(BATCH, Math.floor(allowance)) : BATCH)
        if (moved === null) {
          job.state = 'done'
          return
        }
        job.count += moved
        allowance -= moved
        if (perSecond > 0) await this.#beat()
      }
    } catch (error) {
      job.state = 'failed'
      job.error = (error as Error).message
    }
  }

  #beat(): Promise<void> {
    return new Promise((resolve) => {
      this.#clock.after(BEAT_MS, resolve)
    })
  }
}
