import type { Store } from '../store.ts'

export interface Pausable {
  pausePublishing(): void
  resumePublishing(): void
}

/**
 * A publisher faster than the disk is slowed by TCP: when too many published bytes wait for a commit, the connections
 * that go on publishing are not read until half of them are on disk.
 */
export class Backpressure {
  readonly #store: Store
  readonly #pausedBytes: number
  readonly #paused = new Set<Pausable>()

  constructor(store: Store, pausedBytes: number) {
    this.#store = store
    this.#pausedBytes = pausedBytes
  }

  /** Called after a publish that waits for the disk. */
  published(connection: Pausable): void {
    if (this.#store.pendingBytes < this.#pausedBytes || this.#paused.has(connection)) return
    this.#paused.add(connection)
    connection.pausePublishing()
  }

  /** Called after each commit. */
  committed(): void {
    if (this.#paused.size === 0 || this.#store.pendingBytes > this.#pausedBytes / 2) return
    const paused = [...this.#paused]
    this.#paused.clear()
    for (const connection of paused) connection.resumePublishing()
  }

  forget(connection: Pausable): void {
    this.#paused.delete(connection)
  }
}
