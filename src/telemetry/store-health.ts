import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Events } from './events.ts'

/** Tells when the store stops and starts taking commits. */
export class CommitHealth {
  readonly #events: Events
  readonly #clock: Clock
  #failingSince = 0

  constructor(events: Events, clock: Clock) {
    this.#events = events
    this.#clock = clock
  }

  failed(error: unknown): void {
    if (this.#failingSince === 0) this.#failingSince = this.#clock.monotonic()
    const code = error instanceof SluiceError ? error.code : null
    this.#events.emit('commitFailed', { error: error instanceof Error ? error.message : String(error), code })
  }

  succeeded(): void {
    if (this.#failingSince === 0) return
    const failedForMs = this.#clock.monotonic() - this.#failingSince
    this.#failingSince = 0
    this.#events.emit('commitRecovered', { failedForMs })
  }
}

/** Ready while commits succeed. */
export function watchHealth(events: Events): () => { ready: true } | { ready: false; reason: string } {
  let failing: string | null = null
  events.on('commitFailed', ({ error }) => {
    failing = error
  })
  events.on('commitRecovered', () => {
    failing = null
  })
  return () => (failing === null ? { ready: true } : { ready: false, reason: `the store takes no writes: ${failing}` })
}
