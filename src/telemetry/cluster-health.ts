import type { Clock } from '../base/clock.ts'
import type { Events } from './events.ts'

/** How often it is said again while it lasts, in ms. */
const AGAIN_MS = 10_000

/** Tells when Redis cannot be asked about the other nodes: once when that begins, now and then while it lasts, and when it is over. */
export class ClusterHealth {
  readonly #events: Events
  readonly #clock: Clock
  #since: number | null = null
  #toldAt = 0
  /** Since it was last told. */
  #failures = 0

  constructor(events: Events, clock: Clock) {
    this.#events = events
    this.#clock = clock
  }

  failed(where: string, error: unknown): void {
    const now = this.#clock.monotonic()
    this.#failures++
    if (this.#since !== null && now - this.#toldAt < AGAIN_MS) return
    this.#since ??= now
    this.#toldAt = now
    this.#events.emit('clusterTroubled', { where, error: String(error), failures: this.#failures })
    this.#failures = 0
  }

  succeeded(): void {
    if (this.#since === null) return
    const failedForMs = Math.round(this.#clock.monotonic() - this.#since)
    this.#events.emit('clusterRecovered', { failedForMs, failures: this.#failures })
    this.#since = null
    this.#failures = 0
  }
}
