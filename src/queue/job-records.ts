import type { Store } from '../store.ts'
import type { Selection } from './selection.ts'

export type JobKind = 'redrive' | 'replay'

/** What somebody asked for. */
export interface JobFacts {
  readonly id: string
  readonly kind: JobKind
  readonly from: string
  /** Absent: each message goes back to the queue it came from. */
  readonly to?: string
  readonly selection: Selection
  /** Messages a second; 0: as fast as it goes. */
  readonly perSecond: number
  /** Wall clock ms. */
  readonly startedAt: number
}

/** Something that goes through many messages while the queues run on. */
export interface Job extends JobFacts {
  state: 'running' | 'done' | 'cancelled' | 'failed'
  /** Messages moved or copied so far; durable. */
  count: number
  /** Wall clock ms. */
  endedAt?: number
  /** Why it failed, or waits for the store, which failed. */
  error?: string
  /** What a running one waits for: room. Absent: for nothing. It goes on by itself. */
  waitsFor?: string
}

const FACTS = 'job/'
const STATE = 'jobAt/'

type StoredState = Pick<Job, 'state' | 'count' | 'endedAt' | 'error'> & { progress: unknown }

/**
 * What the store keeps of jobs, as small named records: what was asked for, written once, and how far it is, written with
 * each step. Changes are durable with the next commit.
 */
export class JobRecords {
  readonly #store: Store

  constructor(store: Store) {
    this.#store = store
  }

  /** Oldest first. */
  all(): { job: Job; progress: unknown }[] {
    const states = this.#store.meta(STATE)
    const found: { job: Job; progress: unknown }[] = []
    for (const [key, facts] of this.#store.meta(FACTS)) {
      const stored = states.get(STATE + key.slice(FACTS.length)) as StoredState | undefined
      if (stored === undefined) continue
      const { progress, ...state } = stored
      found.push({ job: { ...(facts as JobFacts), ...state }, progress })
    }
    return found.sort((a, b) => a.job.startedAt - b.job.startedAt)
  }

  put(job: Job, progress: unknown): void {
    const { id, kind, from, to, selection, perSecond, startedAt } = job
    const facts: JobFacts = { id, kind, from, selection, perSecond, startedAt, ...(to !== undefined && { to }) }
    this.#store.putMeta(FACTS + id, facts)
    this.advance(job, progress)
  }

  /** The job has come this far. */
  advance({ id, state, count, endedAt, error }: Job, progress: unknown): void {
    const stored: StoredState = { state, count, progress }
    if (endedAt !== undefined) stored.endedAt = endedAt
    if (error !== undefined) stored.error = error
    this.#store.putMeta(STATE + id, stored)
  }

  remove(id: string): void {
    this.#store.deleteMeta(FACTS + id)
    this.#store.deleteMeta(STATE + id)
  }
}
