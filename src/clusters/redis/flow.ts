/** Bytes of live messages that a node takes before it says so. */
export const TOLD_EVERY_BYTES = 64 * 1024
/** When a node that takes nothing more is asked whether it is still there, in ms. */
export const ASKED_EVERY_MS = 1000

/**
 * How many bytes of live messages were sent to another node, and how many of them it has taken. Redis takes them from us long before
 * the other node does, and cuts off who lets too much lie there (`client-output-buffer-limit`): so the node itself says how far
 * it is. Both sides count from the beginning; what was lost on the way is made up for by whatever arrives next.
 */
export class Outflow {
  #sent = 0
  #taken = 0
  #askedAt = Number.NEGATIVE_INFINITY

  /** Bytes under way, as far as is known. */
  get untaken(): number {
    return this.#sent - this.#taken
  }

  /** Bytes sent so far. */
  get at(): number {
    return this.#sent
  }

  /** Returns the number that travels with these bytes. */
  send(bytes: number): number {
    this.#sent += bytes
    return this.#sent
  }

  /** The node is done with everything up to here, or it will never come. */
  took(at: number): void {
    this.#taken = Math.min(this.#sent, Math.max(this.#taken, at))
  }

  /** True now and then, for the one who finds no room: the node may have to be asked how far it is. */
  asks(now: number): boolean {
    if (now - this.#askedAt < ASKED_EVERY_MS) return false
    this.#askedAt = now
    return true
  }
}

/** What was taken of other nodes' live messages and is not told yet. */
export class Inflow {
  #told = 0

  /**
   * Called when messages were handed on, with the number that came with them; `asked` when there were none.
   * @returns whether to tell the sender
   */
  took(at: number, asked: boolean): boolean {
    if (!asked && at - this.#told < TOLD_EVERY_BYTES) return false
    this.#told = at
    return true
  }
}
