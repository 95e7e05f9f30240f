import type { Clock } from '../base/clock.ts'

/** How often queues let go of what is past its time, and are measured, in ms. */
export const UPKEEP_MS = 5000

/** One timer for what every queue has to do now and then. It runs only while there is something to do. */
export class Upkeep {
  readonly #clock: Clock
  readonly #work: () => Promise<void>
  #cancel: (() => void) | null = null
  #wanted = false

  constructor(clock: Clock, work: () => Promise<void>) {
    this.#clock = clock
    this.#work = work
  }

  /** From now on, until `stop`. */
  start(): void {
    this.#wanted = true
    this.#cancel ??= this.#clock.after(UPKEEP_MS, () => {
      void this.#work().finally(() => {
        this.#cancel = null
        if (this.#wanted) this.start()
      })
    })
  }

  stop(): void {
    this.#wanted = false
    this.#cancel?.()
    this.#cancel = null
  }
}
