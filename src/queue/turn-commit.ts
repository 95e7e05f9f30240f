import type { Store } from '../store.ts'

/**
 * One commit for everything written in a turn of the event loop, whoever wrote it. A store has one committer: a second
 * one could find the group closed by the first, and would not hear that it failed.
 */
export class TurnCommit {
  readonly #store: Store
  #promise: Promise<void> | null = null

  constructor(store: Store) {
    this.#store = store
  }

  /** Resolves when all writes so far are durable; rejects when those of this turn are not. */
  committed(): Promise<void> {
    this.#promise ??= new Promise((resolve, reject) => {
      setImmediate(() => {
        this.#promise = null
        this.#store.commit().then(resolve, reject)
      })
    })
    return this.#promise
  }
}
