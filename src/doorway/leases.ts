import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { WorkQueue } from '../queue/queue.ts'
import type { Laid } from './laid.ts'

/** Pause before an extension that failed is tried again, in ms. */
const RETRY_MS = 500
/** Extensions are asked for to the next full step of this, in ms, so that many share a lease. */
const STEP_MS = 1000

/**
 * Keeps the queue's leases on what lies outside longer than the time the workers have: the place decides who was in time. Most messages
 * are done before that costs anything.
 */
export class Leases {
  readonly #queue: WorkQueue
  readonly #clock: Clock
  readonly #graceMs: number
  readonly #leaseMs: () => number
  readonly #failed: (error: unknown) => void
  /** Those whose lease is lost. */
  #lost: Laid[] = []
  /** Nothing has to be done before this, monotonic ms. */
  #next = Number.NEGATIVE_INFINITY

  constructor(
    queue: WorkQueue,
    clock: Clock,
    graceMs: number,
    leaseMs: () => number,
    failed: (error: unknown) => void,
  ) {
    this.#queue = queue
    this.#clock = clock
    this.#graceMs = graceMs
    this.#leaseMs = leaseMs
    this.#failed = failed
  }

  /** Extends what needs it, a few times a second at most. Returns those whose lease is lost. */
  extend(outside: Iterable<Laid>): Laid[] {
    const now = this.#clock.monotonic()
    const lost = this.#lost
    this.#lost = []
    if (now < this.#next) return lost
    this.#next = now + Math.min(STEP_MS, this.#graceMs / 10)
    const due = new Map<number, Laid[]>()
    for (const laid of outside) {
      const { state } = laid
      if (state === 'ending' || laid.extending || now < laid.heldUntil - this.#graceMs / 2) continue
      const workerMs = state === 'lying' ? this.#leaseMs() : laid.deadline - now
      if (workerMs <= 0) continue
      const leaseMs = Math.ceil((workerMs + this.#graceMs) / STEP_MS) * STEP_MS
      const same = due.get(leaseMs)
      if (same === undefined) due.set(leaseMs, [laid])
      else same.push(laid)
    }
    for (const [leaseMs, laids] of due) void this.#extend(laids, leaseMs)
    return lost
  }

  async #extend(laids: readonly Laid[], leaseMs: number): Promise<void> {
    for (const laid of laids) laid.extending = true
    const now = this.#clock.monotonic()
    try {
      const results = await this.#queue.extend(laids.map(({ receipt }) => ({ receipt, leaseMs })))
      results.forEach(({ ok }, i) => {
        const laid = laids[i]!
        laid.extending = false
        if (ok) laid.heldUntil = now + leaseMs
        else if (laid.state !== 'ending') this.#lost.push(laid)
      })
    } catch (error) {
      if (!(error instanceof SluiceError)) this.#failed(error)
      this.#clock.after(RETRY_MS, () => {
        for (const laid of laids) laid.extending = false
      })
    }
  }
}
