/**
 * Chunks that the cache let go of while a reader may hold them. When such a chunk is needed again the same object comes back,
 * so that what the reader sees of settled entries and marks stays true. Holds nobody alive.
 */
import type { Stretch } from './chunk-index.ts'

/** Entries looked at for each one added, so that those nobody holds do not pile up. */
const CHECKED_PER_ADD = 2

export class EvictedChunks<T extends Stretch> {
  readonly #bySeq = new Map<number, WeakRef<T>>()

  get size(): number {
    return this.#bySeq.size
  }

  add(chunk: T): void {
    let checks = CHECKED_PER_ADD
    for (const [seq, ref] of this.#bySeq) {
      if (checks-- === 0) break
      this.#bySeq.delete(seq)
      if (ref.deref() !== undefined) this.#bySeq.set(seq, ref)
    }
    this.#bySeq.set(chunk.firstSeq, new WeakRef(chunk))
  }

  /** The chunk that holds `seq`, which stays where it is. */
  holding(seq: number): T | undefined {
    for (const ref of this.#bySeq.values()) {
      const chunk = ref.deref()
      if (chunk !== undefined && seq >= chunk.firstSeq && seq < chunk.endSeq) return chunk
    }
    return undefined
  }

  /** The first number from `seq` on that a chunk here holds; infinite: none. */
  nextHeld(seq: number): number {
    let next = Number.POSITIVE_INFINITY
    for (const ref of this.#bySeq.values()) {
      const chunk = ref.deref()
      if (chunk !== undefined && chunk.endSeq > seq) next = Math.min(next, Math.max(seq, chunk.firstSeq))
    }
    return next
  }

  take(firstSeq: number): T | undefined {
    const ref = this.#bySeq.get(firstSeq)
    if (ref === undefined) return undefined
    this.#bySeq.delete(firstSeq)
    return ref.deref()
  }
}
