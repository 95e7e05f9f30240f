import type { Clock } from '../base/clock.ts'

/** A failure takes the open group and commits of the next turn with it: the marks are written anew after that. */
const FIRST_MS = 5
/** A store that stays away is not asked in a circle. */
const PAUSE_MS = 1000

/** After a group that did not become durable: what it said still stands in memory, and is written again until the store takes it. */
export class Repair {
  readonly #clock: Clock
  readonly #rewrite: () => Promise<void>
  #running = false
  #closed = false

  /** @param rewrite writes everything anew and resolves when it is durable */
  constructor(clock: Clock, rewrite: () => Promise<void>) {
    this.#clock = clock
    this.#rewrite = rewrite
  }

  start(): void {
    if (this.#running || this.#closed) return
    this.#running = true
    this.#later(FIRST_MS)
  }

  /** What is still to be written is written, for the last commit before the store closes. */
  close(): void {
    if (this.#running && !this.#closed) this.#rewrite().catch(() => {})
    this.#closed = true
  }

  #later(ms: number): void {
    this.#clock.after(ms, () => {
      if (this.#closed) return
      this.#rewrite().then(
        () => {
          this.#running = false
        },
        () => this.#later(PAUSE_MS),
      )
    })
  }
}
