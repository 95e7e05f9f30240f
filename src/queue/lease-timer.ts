import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Heap, HeapItem } from './heap.ts'

/** Pause before what was due is looked at again, when the store could not be asked, in ms. */
const RETRY_MS = 1000

/** One timer for everything in a heap keyed by monotonic ms. */
export class LeaseTimer {
  readonly #clock: Clock
  readonly #heap: Heap<HeapItem>
  readonly #onDue: () => unknown
  #at = Number.POSITIVE_INFINITY
  #cancel: (() => void) | null = null

  /** @param onDue false: the caller calls `arm` itself when it is done */
  constructor(clock: Clock, heap: Heap<HeapItem>, onDue: () => unknown) {
    this.#clock = clock
    this.#heap = heap
    this.#onDue = onDue
  }

  /** Call when something was added. A timer for what has left the heap meanwhile is let run: it does no harm. */
  arm(): void {
    const next = this.#heap.peek()
    if (next === undefined || next.key >= this.#at) return
    this.stop()
    this.#at = next.key
    const ms = Math.max(0, Math.ceil(next.key - this.#clock.monotonic()))
    this.#cancel = this.#clock.after(ms, () => {
      this.#at = Number.POSITIVE_INFINITY
      this.#cancel = null
      try {
        if (this.#onDue() === false) return
      } catch (error) {
        if (!(error instanceof SluiceError) || error.kind !== 'dependency') throw error
        // The store reports its own failures; what is due stays due.
        this.#cancel = this.#clock.after(RETRY_MS, () => this.arm())
        return
      }
      this.arm()
    })
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
    this.#at = Number.POSITIVE_INFINITY
  }
}
