/**
 * A set of objects, each found by a text that it knows itself. A Map of texts to such objects keeps every text a second
 * time and costs 28 to 56 bytes an entry; this costs 8 to 29.
 *
 *     up to 8 values    a list in the order of arrival, looked through
 *     more              open addressing with linear probing, at most three quarters full
 *     64 places         beside the places, the hashes: a value that is not the one looked for is passed over, and a table
 *                       rebuilt, without a look at the texts, which are seldom in the processor's cache
 *
 * Tables place texts by `seededHash`, so that nobody can choose texts that meet in one place.
 */
import { seededHash } from './text-hash.ts'

export interface Named {
  readonly text: string
}

/** Values kept as a list; the first hashed table has twice as many places. */
const LIST_MAX = 8
/** Places from which on it pays to keep the hashes: their array costs 200 bytes before its first. */
const HASHES_MIN = 64

export abstract class Table<V extends object> {
  #slots: (V | undefined)[] = []
  /** Parallel to `#slots`: 0 where there is no value, else its hash (1 for 0). */
  #hashes: Int32Array | null = null
  #size = 0

  get size(): number {
    return this.#size
  }

  /** The value that goes by `text` from `start` to `end`; `hash` is its `seededHash`. */
  find(text: string, start: number, end: number, hash: number): V | undefined {
    return this.#slots[this.#place(text, start, end, hash)]
  }

  /** Puts the value in, in place of one that goes by the same text. */
  put(value: V, text: string, start: number, end: number, hash: number): void {
    let at = this.#place(text, start, end, hash)
    if (this.#slots[at] !== undefined) {
      this.#slots[at] = value
      return
    }
    this.#size++
    if (this.#slots.length < LIST_MAX) {
      // A copy of the right length: an array that grows by itself takes room for 16 more.
      this.#slots = this.#slots.concat([value])
      return
    }
    if (this.#size * 4 > this.#slots.length * 3) {
      this.#rebuild(this.#slots.length * 2)
      at = this.#place(text, start, end, hash)
    }
    this.#fill(at, value, hash)
  }

  /** Takes the value out that goes by the text; undefined when there is none. */
  take(text: string, start: number, end: number, hash: number): V | undefined {
    const slots = this.#slots
    const at = this.#place(text, start, end, hash)
    const value = slots[at]
    if (value === undefined) return undefined
    this.#size--
    if (slots.length <= LIST_MAX) {
      slots.splice(at, 1)
      return value
    }
    this.#close(at)
    if (this.#size * 8 < slots.length) this.#rebuild(slots.length / 4)
    return value
  }

  /** Every value, in no order; the first eight in the order of arrival as long as there are no more. */
  *values(): Generator<V> {
    for (const value of this.#slots) if (value !== undefined) yield value
  }

  /** Calls `visit` for every value; faster than `values`. The table must not change meanwhile. */
  each(visit: (value: V) => void): void {
    const slots = this.#slots
    for (let i = 0; i < slots.length; i++) {
      const value = slots[i]
      if (value !== undefined) visit(value)
    }
  }

  abstract hashOf(value: V): number
  abstract is(value: V, text: string, start: number, end: number): boolean

  /** Where the value is, or where it would be put. */
  #place(text: string, start: number, end: number, hash: number): number {
    const slots = this.#slots
    const count = slots.length
    if (count <= LIST_MAX) {
      for (let i = 0; i < count; i++) if (this.is(slots[i]!, text, start, end)) return i
      return count
    }
    const hashes = this.#hashes
    if (hashes !== null) {
      const wanted = hash || 1
      for (let i = home(hash, count); ; i = (i + 1) & (count - 1)) {
        const found = hashes[i]!
        if (found === 0 || (found === wanted && this.is(slots[i]!, text, start, end))) return i
      }
    }
    for (let i = home(hash, count); ; i = (i + 1) & (count - 1)) {
      const value = slots[i]
      if (value === undefined || this.is(value, text, start, end)) return i
    }
  }

  /** Empties a place and moves up what stands behind it only because the place was taken. */
  #close(at: number): void {
    const slots = this.#slots
    const hashes = this.#hashes
    const mask = slots.length - 1
    let hole = at
    for (let i = (at + 1) & mask; ; i = (i + 1) & mask) {
      const value = slots[i]
      if (value === undefined) break
      const hash = hashes === null ? this.hashOf(value) : hashes[i]!
      if (((i - home(hash, slots.length)) & mask) < ((i - hole) & mask)) continue
      slots[hole] = value
      if (hashes !== null) hashes[hole] = hash
      hole = i
    }
    slots[hole] = undefined
    if (hashes !== null) hashes[hole] = 0
  }

  /** Makes room for `count` values, or for a list. */
  #rebuild(count: number): void {
    const before = this.#slots
    const hashesBefore = this.#hashes
    const hashes = count < HASHES_MIN ? null : new Int32Array(count)
    const slots = count <= LIST_MAX ? [] : new Array<V | undefined>(count).fill(undefined)
    this.#slots = slots
    this.#hashes = hashes
    for (let from = 0; from < before.length; from++) {
      const value = before[from]
      if (value === undefined) continue
      if (count <= LIST_MAX) {
        slots.push(value)
        continue
      }
      const hash = hashesBefore === null ? this.hashOf(value) : hashesBefore[from]!
      let i = home(hash, count)
      while (slots[i] !== undefined) i = (i + 1) & (count - 1)
      this.#fill(i, value, hash)
    }
  }

  #fill(at: number, value: V, hash: number): void {
    this.#slots[at] = value
    if (this.#hashes !== null) this.#hashes[at] = hash || 1
  }
}

/** The lowest eight bits choose the part of a WideTable; they would be the same for all of one part. */
function home(hash: number, count: number): number {
  return (hash >>> 8) & (count - 1)
}

/** Values found by their whole text. */
export class TextTable<V extends Named> extends Table<V> {
  get(text: string): V | undefined {
    return this.find(text, 0, text.length, seededHash(text, 0, text.length))
  }

  has(text: string): boolean {
    return this.get(text) !== undefined
  }

  set(value: V): void {
    const { text } = value
    this.put(value, text, 0, text.length, seededHash(text, 0, text.length))
  }

  delete(text: string): V | undefined {
    return this.take(text, 0, text.length, seededHash(text, 0, text.length))
  }

  override hashOf({ text }: V): number {
    return seededHash(text, 0, text.length)
  }

  override is(value: V, text: string): boolean {
    return value.text === text
  }
}
