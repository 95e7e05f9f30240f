import type { Outbound } from './outbound.ts'

/** Places an array may keep for the next turn. */
const ROOM_KEPT = 4096

/**
 * Writes every connection that has something to send once at the end of the event-loop turn: one write per connection
 * and turn, however many packets went into it.
 */
export class Flusher {
  /** Those to write, below `#count`; two arrays take turns and keep their room, so that a turn allocates nothing. */
  #dirty: (Outbound | null)[] = []
  #spare: (Outbound | null)[] = []
  #count = 0
  #scheduled = false
  /** Turns that had something to write. */
  turn = 0
  readonly #run = (): void => this.flush()

  add(outbound: Outbound): void {
    this.#dirty[this.#count++] = outbound
    if (!this.#scheduled) {
      this.#scheduled = true
      setImmediate(this.#run)
    }
  }

  flush(): void {
    this.#scheduled = false
    this.turn++
    const dirty = this.#dirty
    const count = this.#count
    this.#dirty = this.#spare
    this.#spare = dirty.length > ROOM_KEPT ? [] : dirty
    this.#count = 0
    for (let i = 0; i < count; i++) {
      dirty[i]!.endTurn()
      // A connection that ends must not be kept by a place that nobody fills again.
      dirty[i] = null
    }
  }
}
