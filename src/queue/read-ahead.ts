import { storedTime } from '../router/message.ts'
import type { Chunk, Lane, Store } from '../store.ts'

/** Message bytes held ahead of the cursor, per queue; the last chunk taken may go beyond. */
export const READ_AHEAD_BYTES_MAX = 1024 * 1024
/** Chunks held ahead of the cursor, per queue. */
export const READ_AHEAD_CHUNKS_MAX = 1024

/**
 * A cursor over the waiting entries of a lane, in order. What is committed while the queue has caught up is taken
 * straight from memory; what lies further back is read from the store, one chunk at a time. Memory stays bounded
 * however many messages wait.
 *
 *     settled ─────────│ cursor ── chunks in memory ── │ end ── in the store only ── (newest)
 *                      └───────────────────────────────┘ caught up: nothing beyond `end`
 */
export class ReadAhead {
  /** After `advance`: the entry under the cursor. 0: before the first. */
  seq = 0
  chunk: Chunk | null = null
  index = 0

  readonly #store: Store
  readonly #lane: Lane
  #chunks: { chunk: Chunk; bytes: number }[] = []
  /** The next entry to look at in the first chunk. */
  #next = 0
  #bytes = 0
  #available = 0
  /** First sequence number that is neither in memory nor behind the cursor. */
  #end = 1
  #caughtUp = false
  #committedWhileFilling = false

  constructor(store: Store, lane: Lane) {
    this.#store = store
    this.#lane = lane
  }

  /** True when nothing waits beyond what is in memory. */
  get caughtUp(): boolean {
    return this.#caughtUp
  }

  /** Entries in memory beyond the cursor, settled ones included. */
  get available(): number {
    return this.#available
  }

  /** True when the store holds more and there is room for it. */
  get wantsMore(): boolean {
    return !this.#caughtUp && this.#bytes < READ_AHEAD_BYTES_MAX && this.#chunks.length < READ_AHEAD_CHUNKS_MAX
  }

  /** Moves to the next waiting entry in memory and describes it in `seq`, `chunk`, `index`; false: `fill` first. */
  advance(): boolean {
    for (let first = this.#chunks[0]; first !== undefined; first = this.#chunks[0]) {
      const chunk = first.chunk
      while (this.#next < chunk.count) {
        const index = this.#next++
        this.#available--
        const seq = chunk.firstSeq + index
        // A chunk may begin before the place it was read for.
        if (seq <= this.seq || chunk.isSettled(index)) continue
        this.chunk = chunk
        this.index = index
        this.seq = seq
        return true
      }
      this.#drop()
    }
    this.chunk = null
    return false
  }

  /** The first chunk is done with. */
  #drop(): void {
    this.#bytes -= this.#chunks.shift()!.bytes
    this.#next = 0
  }

  /** When the next message came that is not settled, wall clock ms; Infinity: none in memory. */
  headTime(): number {
    for (let first = this.#chunks[0]; first !== undefined; first = this.#chunks[0]) {
      const { chunk } = first
      for (; this.#next < chunk.count; this.#next++) {
        if (chunk.firstSeq + this.#next > this.seq && !chunk.isSettled(this.#next))
          return storedTime(chunk.message(this.#next))
        this.#available--
      }
      this.#drop()
    }
    return Number.POSITIVE_INFINITY
  }

  /** Reads the next chunk from the store. Resolves false when nothing more waits there. */
  async fill(): Promise<boolean> {
    while (!this.#caughtUp) {
      this.#committedWhileFilling = false
      const chunk = await this.#store.read(this.#lane, this.#end)
      if (chunk !== null) {
        this.#take(chunk)
        return true
      }
      // A chunk that was committed during the read may not have been seen by it.
      if (!this.#committedWhileFilling) this.#caughtUp = true
    }
    return false
  }

  /** A chunk became durable. True when it was taken into memory. */
  committed(chunk: Chunk): boolean {
    this.#committedWhileFilling = true
    if (!this.#caughtUp) return false
    // The chunk was read from the store before this call came.
    if (chunk.firstSeq + chunk.count <= this.#end) return false
    if (this.#bytes >= READ_AHEAD_BYTES_MAX || this.#chunks.length >= READ_AHEAD_CHUNKS_MAX) {
      this.#caughtUp = false
      return false
    }
    this.#take(chunk)
    return true
  }

  #take(chunk: Chunk): void {
    const { bytes } = chunk
    this.#chunks.push({ chunk, bytes })
    this.#bytes += bytes
    this.#available += chunk.count
    this.#end = chunk.firstSeq + chunk.count
  }
}
