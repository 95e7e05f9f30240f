import type { Clock } from '../base/clock.ts'
import type { Counters } from './counters.ts'
import type { DropCause, Events } from './events.ts'

/** Drops of one client and cause are announced together, this often at most, in ms. */
const GATHER_MS = 1000

/** Counts messages that were not delivered, and announces them by client and cause: never one event a message. */
export class Drops {
  readonly #events: Events
  readonly #counters: Counters
  readonly #clock: Clock
  /** Counts since the last announcement, by cause and client. */
  #gathered = new Map<string, { clientId: string; cause: DropCause; count: number }>()
  #cancel: (() => void) | null = null

  constructor(events: Events, counters: Counters, clock: Clock) {
    this.#events = events
    this.#counters = counters
    this.#clock = clock
  }

  /** @param clientId whose message it was; empty when it had no single receiver */
  count(clientId: string, cause: DropCause, count: number): void {
    this.#counters.dropped[cause] += count
    if (!this.#events.has('messageDropped')) return
    const key = `${cause}/${clientId}`
    const known = this.#gathered.get(key)
    if (known === undefined) this.#gathered.set(key, { clientId, cause, count })
    else known.count += count
    this.#cancel ??= this.#clock.after(GATHER_MS, () => this.#announce())
  }

  /** Announces what is gathered. */
  stop(): void {
    this.#cancel?.()
    this.#announce()
  }

  #announce(): void {
    this.#cancel = null
    const gathered = this.#gathered
    this.#gathered = new Map()
    for (const drop of gathered.values()) this.#events.emit('messageDropped', drop)
  }
}
