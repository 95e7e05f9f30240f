/** The resident chunks of one lane, in order of sequence number. Grows at the end, shrinks mostly at the front. */

/** A stretch of sequence numbers: from `firstSeq` up to, not including, `endSeq`. */
export interface Stretch {
  readonly firstSeq: number
  readonly endSeq: number
}

export class ChunkIndex<T extends Stretch> {
  /** Null before `#head`, and nowhere else: what was removed must not be held alive. */
  #items: (T | null)[] = []
  #head = 0

  get size(): number {
    return this.#items.length - this.#head
  }

  get last(): T | undefined {
    return this.size === 0 ? undefined : this.#items[this.#items.length - 1]!
  }

  add(chunk: T): void {
    const last = this.last
    if (last === undefined || last.firstSeq < chunk.firstSeq) this.#items.push(chunk)
    else this.#items.splice(this.#after(chunk.firstSeq), 0, chunk)
  }

  remove(chunk: T): void {
    const i = this.#after(chunk.firstSeq) - 1
    if (i < this.#head || this.#items[i] !== chunk) return
    if (i > this.#head) {
      this.#items.splice(i, 1)
      return
    }
    this.#items[this.#head++] = null
    if (this.#head === this.#items.length || this.#head > 1000) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
  }

  /** The chunk that holds `seq`. */
  holding(seq: number): T | undefined {
    const i = this.#after(seq) - 1
    if (i < this.#head) return undefined
    const chunk = this.#items[i]!
    return seq < chunk.endSeq ? chunk : undefined
  }

  /** The chunk that begins at `firstSeq`. */
  at(firstSeq: number): T | undefined {
    const i = this.#after(firstSeq) - 1
    if (i < this.#head) return undefined
    const chunk = this.#items[i]!
    return chunk.firstSeq === firstSeq ? chunk : undefined
  }

  /** The first chunk that ends after `seq`. */
  endingAfter(seq: number): T | undefined {
    const i = this.#after(seq) - 1
    if (i >= this.#head && this.#items[i]!.endSeq > seq) return this.#items[i]!
    return this.#items[Math.max(i + 1, this.#head)] ?? undefined
  }

  all(): T[] {
    return this.#items.slice(this.#head) as T[]
  }

  /** The index of the first item whose firstSeq is > `seq`. */
  #after(seq: number): number {
    let low = this.#head
    let high = this.#items.length
    // The end and the front are what is asked for most.
    if (high > low && this.#items[high - 1]!.firstSeq <= seq) return high
    while (low < high) {
      const mid = (low + high) >>> 1
      if (this.#items[mid]!.firstSeq <= seq) low = mid + 1
      else high = mid
    }
    return low
  }
}
