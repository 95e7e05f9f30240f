import type { Outbound } from './outbound.ts'

/**
 * Writes every connection that has something to send once at the end of the event-loop turn: one write per connection
 * and turn, however many packets went into it.
 */
export class Flusher {
  #dirty: Outbound[] = []
  #scheduled = false
  readonly #run = (): void => this.flush()

  add(outbound: Outbound): void {
    this.#dirty.push(outbound)
    if (!this.#scheduled) {
      this.#scheduled = true
      setImmediate(this.#run)
    }
  }

  flush(): void {
    this.#scheduled = false
    const dirty = this.#dirty
    this.#dirty = []
    for (let i = 0; i < dirty.length; i++) dirty[i]!.flush()
  }
}
