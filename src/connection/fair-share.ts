import type { Connection } from './connection.ts'
import type { Flusher } from './flusher.ts'

/** Copies to receivers that one connection may cause in a turn of the event loop before others have theirs. */
const COPIES_MAX = 8192

/** A copy of so many bytes counts as one more, in bits: 4 KiB. */
const BYTES_BITS = 12

/** Who can be asked to wait. */
export interface Yielding {
  /** Handles no more packets until `release`. */
  hold(): void
  release(): void
}

/**
 * How much of a turn of the event loop one publisher has used. What was read from it may be worth seconds of copying when it
 * has thousands of subscribers; the others need not wait for all of that.
 */
export class FairShare {
  #copies = 0
  #turn = -1
  #waits = false

  /** Counts a message, or a run of them, that went to so many receivers. */
  spent(receivers: number, bytes: number, connection: Yielding, flusher: Flusher): void {
    if (flusher.turn !== this.#turn) {
      this.#turn = flusher.turn
      this.#copies = 0
    }
    this.#copies += receivers * (1 + (bytes >>> BYTES_BITS))
    if (this.#copies < COPIES_MAX || this.#waits) return
    this.#copies = 0
    this.#waits = true
    connection.hold()
    // Its copies wait to be written: more of them in the meantime would only gather in memory.
    flusher.whenWritten(() => {
      this.#waits = false
      connection.release()
    })
  }
}

/** A message, or a run of them, went to so many receivers. @param heldBefore bytes that waited for clients before */
export function routed(c: Connection, heldBefore: number, receivers: number, bytes: number): void {
  c.core.memory.published(c, heldBefore)
  c.fairShare ??= new FairShare()
  c.fairShare.spent(receivers, bytes, c, c.core.flusher)
}
