/**
 * Which durable chunks stay in memory: the most recently used ones, up to a number of bytes. Memory therefore does not grow
 * with the entries that wait. Chunks that an unfinished group still needs are passed over.
 *
 *     newest ⇄ … ⇄ oldest        a list through the chunks themselves
 */

/** What the cache keeps of a chunk lies in the chunk. */
export interface Cached<T> {
  /** Bytes it counts with; 0: not in the cache. */
  memory: number
  newer: T | null
  older: T | null
  /** Bytes it takes now. */
  measure(): number
  /** False while an unfinished group needs it. */
  readonly evictable: boolean
}

/** How many pinned chunks eviction passes over before it gives up for now. */
const PINNED_PASSED_MAX = 256

export class ChunkCache<T extends Cached<T>> {
  readonly bytesMax: number
  #bytes = 0
  #count = 0
  #newest: T | null = null
  #oldest: T | null = null

  constructor(bytesMax: number) {
    this.bytesMax = bytesMax
  }

  get bytes(): number {
    return this.#bytes
  }

  get count(): number {
    return this.#count
  }

  add(chunk: T): void {
    chunk.memory = chunk.measure()
    this.#bytes += chunk.memory
    this.#count++
    this.#linkNewest(chunk)
  }

  touch(chunk: T): void {
    if (chunk === this.#newest || chunk.memory === 0) return
    this.#unlink(chunk)
    this.#linkNewest(chunk)
  }

  remove(chunk: T): void {
    if (chunk.memory === 0) return
    this.#unlink(chunk)
    this.#bytes -= chunk.memory
    this.#count--
    chunk.memory = 0
  }

  /** Gives the oldest chunks beyond the limit to `drop`, which must not fail. */
  evict(drop: (chunk: T) => void): void {
    let chunk = this.#oldest
    let passed = 0
    while (this.#bytes > this.bytesMax && chunk !== null && passed < PINNED_PASSED_MAX) {
      const newer: T | null = chunk.newer
      if (chunk.evictable) {
        this.remove(chunk)
        drop(chunk)
      } else passed++
      chunk = newer
    }
  }

  #linkNewest(chunk: T): void {
    chunk.older = this.#newest
    chunk.newer = null
    if (this.#newest !== null) this.#newest.newer = chunk
    this.#newest = chunk
    if (this.#oldest === null) this.#oldest = chunk
  }

  #unlink(chunk: T): void {
    if (chunk.newer !== null) chunk.newer.older = chunk.older
    else this.#newest = chunk.older
    if (chunk.older !== null) chunk.older.newer = chunk.newer
    else this.#oldest = chunk.newer
    chunk.newer = null
    chunk.older = null
  }
}
