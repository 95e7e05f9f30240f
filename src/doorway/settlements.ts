import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { WorkQueue } from '../queue/queue.ts'
import type { NackEntry } from '../queue/requests.ts'

/** Pause before a fate that the store did not take is written again, in ms. */
const RETRY_MS = 500

/** What became of messages outside, on its way into the queue: told again until it is durable. */
export class Settlements {
  readonly #queue: WorkQueue
  readonly #clock: Clock
  readonly #failed: (error: unknown) => void
  /** Under way. */
  #open = new Set<Promise<void>>()

  constructor(queue: WorkQueue, clock: Clock, failed: (error: unknown) => void) {
    this.#queue = queue
    this.#clock = clock
    this.#failed = failed
  }

  /** A worker says that these are done, and the place agrees. `then`: it is durable. */
  ack(receipts: readonly string[], then: () => void): void {
    if (receipts.length > 0) this.#tell(() => this.#queue.ack(receipts, true), then)
  }

  /** Nobody said anything about these in time. */
  over(receipts: readonly string[], then: () => void): void {
    if (receipts.length > 0) this.#tell(() => this.#queue.leaseOver(receipts), then)
  }

  nack(entries: readonly NackEntry[], then: () => void): void {
    if (entries.length > 0) this.#tell(() => this.#queue.nack(entries), then)
  }

  /** They never reached a worker: the attempt does not count. */
  release(receipts: readonly string[], then: () => void): void {
    this.nack(
      receipts.map((receipt) => ({ receipt, release: true })),
      then,
    )
  }

  /** Resolves when everything told so far is durable. */
  async idle(): Promise<void> {
    while (this.#open.size > 0) await Promise.all(this.#open)
  }

  #tell(what: () => Promise<unknown>, then: () => void): void {
    const told = this.#until(what)
      .then(then)
      .finally(() => this.#open.delete(told))
    this.#open.add(told)
  }

  /** What the queue was told it keeps in memory, also when the store fails: told again, the receipts count for nothing. */
  async #until(what: () => Promise<unknown>): Promise<void> {
    for (;;) {
      try {
        await what()
        return
      } catch (error) {
        if (!(error instanceof SluiceError) || error.code === 'node_fenced') {
          this.#failed(error)
          return
        }
        await new Promise<void>((resolve) => this.#clock.after(RETRY_MS, resolve))
      }
    }
  }
}
