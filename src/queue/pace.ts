import type { Clock } from '../base/clock.ts'
import { RateLimit } from './rate.ts'
import type { QueueSettings } from './settings.ts'

/** Whether a queue as a whole may hand out one more message: paused, at its concurrency limit, faster than its rate? */
export class Pace {
  paused: boolean
  readonly #settings: () => QueueSettings
  readonly #leased: () => number
  readonly #clock: Clock
  readonly #resume: () => void
  readonly #rate = new RateLimit()
  #timer: (() => void) | null = null

  /** @param resume called when the rate allows the next message after it did not */
  constructor(paused: boolean, settings: () => QueueSettings, leased: () => number, clock: Clock, resume: () => void) {
    this.paused = paused
    this.#settings = settings
    this.#leased = leased
    this.#clock = clock
    this.#resume = resume
  }

  /** Whether anything but a pause can stand against it. */
  get limited(): boolean {
    const { leasedMax, rate } = this.#settings()
    return leasedMax > 0 || rate.perSecond > 0
  }

  allows(): boolean {
    if (this.paused) return false
    const { leasedMax, rate } = this.#settings()
    if (leasedMax > 0 && this.#leased() >= leasedMax) return false
    if (rate.perSecond <= 0) return true
    const waitMs = this.#rate.waitMs(rate, this.#clock.monotonic())
    if (waitMs <= 0) return true
    this.#timer ??= this.#clock.after(Math.max(1, Math.ceil(waitMs)), () => {
      this.#timer = null
      this.#resume()
    })
    return false
  }

  /** One was handed out at this time, monotonic ms. */
  spend(at: number): void {
    this.#rate.spend(this.#settings().rate, at)
  }

  stop(): void {
    this.#timer?.()
    this.#timer = null
  }
}
