import type { Clock } from '../base/clock.ts'
import type { Store } from '../store.ts'

/** A connection that publishes. */
export interface Pausable {
  pausePublishing(): void
  resumePublishing(): void
}

/** Unsent bytes of a subscriber at which those who publish to it are slowed down. */
export const SLOW_DOWN_BYTES = 1024 * 1024

/** How long a subscriber may slow others down before it counts as slow, and costs only itself, in ms. */
const PATIENCE_MS = 50

/**
 * Publishers that are faster than the disk or their subscribers are slowed down by TCP instead of filling memory: their
 * connections are not read for a while.
 *
 * - **Disk**: when too many published bytes wait for a commit, whoever goes on publishing is paused until half of them
 *   are on disk.
 * - **Subscriber**: one with much unsent pauses who publishes to it until it has taken everything, for 50 ms at most. One
 *   that needs longer is slow: until it has caught up it pauses nobody, and what does not fit its own cap is dropped
 *   (architecture invariant 2: a slow reader costs only itself).
 */
export class Backpressure {
  /** The connection whose PUBLISH is on its way through the router. */
  publisher: Pausable | null = null
  readonly #store: Store
  readonly #pausedBytes: number
  readonly #clock: Clock
  readonly #pausedByDisk = new Set<Pausable>()
  readonly #pausedByMemory = new Set<Pausable>()
  /** Publishers by the subscriber that pauses them. */
  readonly #pausedBy = new Map<object, Set<Pausable>>()
  /** Subscribers that used up their patience. */
  readonly #slow = new Set<object>()
  /** How many reasons there are to pause each publisher. */
  readonly #reasons = new Map<Pausable, number>()

  constructor(store: Store, pausedBytes: number, clock: Clock) {
    this.#store = store
    this.#pausedBytes = pausedBytes
    this.#clock = clock
  }

  /** Called after a publish that waits for the disk. */
  published(connection: Pausable): void {
    if (this.#store.pendingBytes < this.#pausedBytes || this.#pausedByDisk.has(connection)) return
    this.#pausedByDisk.add(connection)
    this.#pause(connection)
  }

  /** Called after each commit. */
  committed(): void {
    if (this.#pausedByDisk.size === 0 || this.#store.pendingBytes > this.#pausedBytes / 2) return
    const paused = [...this.#pausedByDisk]
    this.#pausedByDisk.clear()
    for (const connection of paused) this.#resume(connection)
  }

  /** The publisher is faster than it may be: it is not read for `ms`. */
  pauseFor(connection: Pausable, ms: number): void {
    this.#pause(connection)
    // A timer holds at most 2^31 - 1 ms.
    this.#clock.after(Math.min(ms, 0x7fffffff), () => this.#resume(connection))
  }

  /** Memory is short (`MemoryLevel` 3): whoever goes on publishing is not read until it is freed. */
  pauseForMemory(connection: Pausable): void {
    if (this.#pausedByMemory.has(connection)) return
    this.#pausedByMemory.add(connection)
    this.#pause(connection)
  }

  /** Memory is no longer short. */
  memoryFreed(): void {
    if (this.#pausedByMemory.size === 0) return
    const paused = [...this.#pausedByMemory]
    this.#pausedByMemory.clear()
    // Not at once: what made memory free is in the middle of something.
    for (const connection of paused) this.#clock.after(0, () => this.#resume(connection))
  }

  /**
   * The subscriber has much unsent: whoever is publishing waits for it.
   * @param patienceMs for how long at most
   */
  full(subscriber: object, patienceMs = PATIENCE_MS): void {
    const publisher = this.publisher
    if (publisher === null || this.#slow.has(subscriber)) return
    let paused = this.#pausedBy.get(subscriber)
    if (paused === undefined) {
      paused = new Set()
      this.#pausedBy.set(subscriber, paused)
      const mine = paused
      this.#clock.after(patienceMs, () => {
        if (this.#pausedBy.get(subscriber) !== mine) return
        this.#slow.add(subscriber)
        this.#release(subscriber)
      })
    }
    if (paused.has(publisher)) return
    paused.add(publisher)
    this.#pause(publisher)
  }

  /** The subscriber has taken everything. */
  drained(subscriber: object): void {
    this.#slow.delete(subscriber)
    this.#release(subscriber)
  }

  /** The connection is gone. */
  forget(connection: Pausable): void {
    this.drained(connection)
    this.#pausedByDisk.delete(connection)
    this.#pausedByMemory.delete(connection)
    for (const paused of this.#pausedBy.values()) paused.delete(connection)
    this.#reasons.delete(connection)
  }

  #release(subscriber: object): void {
    const paused = this.#pausedBy.get(subscriber)
    if (paused === undefined) return
    this.#pausedBy.delete(subscriber)
    for (const publisher of paused) this.#resume(publisher)
  }

  #pause(connection: Pausable): void {
    const reasons = this.#reasons.get(connection) ?? 0
    this.#reasons.set(connection, reasons + 1)
    if (reasons === 0) connection.pausePublishing()
  }

  #resume(connection: Pausable): void {
    const reasons = this.#reasons.get(connection)
    if (reasons === undefined) return
    if (reasons > 1) {
      this.#reasons.set(connection, reasons - 1)
    } else {
      this.#reasons.delete(connection)
      connection.resumePublishing()
    }
  }
}
