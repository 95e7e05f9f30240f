import type { Clock } from '../base/clock.ts'
import type { Counters } from './counters.ts'
import type { DropCause, Events } from './events.ts'

/** Drops of one client and cause are announced together, this often at most, in ms. */
const GATHER_MS = 1000

/** Messages that were not delivered, by cause. */
export type DropCounts = Record<DropCause, number>

/** Nothing dropped yet. */
export function noDrops(): DropCounts {
  return {
    outbound_full: 0,
    session_full: 0,
    session_ended: 0,
    packet_too_large: 0,
    expired: 0,
    no_capacity: 0,
    retained_full: 0,
    store_full: 0,
    queue_full: 0,
    duplicate: 0,
    rule_refused: 0,
    node_unreachable: 0,
    offline: 0,
    forbidden: 0,
    memory: 0,
    refused: 0,
  }
}

/** Whose messages they were: a session. */
export interface DropTarget {
  readonly clientId: string
  /** Null until the first drop: most sessions have none. */
  drops: DropCounts | null
}

/**
 * Counts messages that were not delivered, for the broker and for each session, and announces them by client and cause:
 * never one event a message.
 */
export class Drops {
  readonly #events: Events
  readonly #counters: Counters
  readonly #clock: Clock
  /** Counts since the last announcement. Null: messages that had no single receiver. */
  #gathered = new Map<DropTarget | null, DropCounts>()
  #cancel: (() => void) | null = null

  constructor(events: Events, counters: Counters, clock: Clock) {
    this.#events = events
    this.#counters = counters
    this.#clock = clock
  }

  /** @param target whose message it was; null when it had no single receiver */
  count(target: DropTarget | null, cause: DropCause, count: number): void {
    this.#counters.dropped[cause] += count
    if (target !== null) {
      target.drops ??= noDrops()
      target.drops[cause] += count
    }
    if (!this.#events.has('messageDropped')) return
    let gathered = this.#gathered.get(target)
    if (gathered === undefined) {
      gathered = noDrops()
      this.#gathered.set(target, gathered)
      this.#cancel ??= this.#clock.after(GATHER_MS, () => this.#announce())
    }
    gathered[cause] += count
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
    for (const [target, counts] of gathered)
      for (const [cause, count] of Object.entries(counts) as [DropCause, number][])
        if (count > 0) this.#events.emit('messageDropped', { clientId: target?.clientId ?? '', cause, count })
  }
}
