import { seededHash } from './text-hash.ts'
import type { Table } from './text-table.ts'

const PARTS = 256

/**
 * A table for very many values. A table is rebuilt as a whole when it grows: with a million values the event loop would stand
 * still for a tenth of a second. Here 256 tables share the values, so that each such stop is 256 times shorter.
 */
export class WideTable<V extends object> {
  readonly #parts: Table<V>[]
  #size = 0

  /** @param make makes a part, empty */
  constructor(make: () => Table<V>) {
    this.#parts = Array.from({ length: PARTS }, make)
  }

  get size(): number {
    return this.#size
  }

  get(text: string): V | undefined {
    return this.find(text, 0, text.length, seededHash(text, 0, text.length))
  }

  find(text: string, start: number, end: number, hash: number): V | undefined {
    return this.#part(hash).find(text, start, end, hash)
  }

  put(value: V, text: string, start: number, end: number, hash: number): void {
    const part = this.#part(hash)
    const before = part.size
    part.put(value, text, start, end, hash)
    this.#size += part.size - before
  }

  take(text: string, start: number, end: number, hash: number): V | undefined {
    const value = this.#part(hash).take(text, start, end, hash)
    if (value !== undefined) this.#size--
    return value
  }

  *values(): Generator<V> {
    for (const part of this.#parts) yield* part.values()
  }

  each(visit: (value: V) => void): void {
    for (const part of this.#parts) part.each(visit)
  }

  #part(hash: number): Table<V> {
    return this.#parts[hash & (PARTS - 1)]!
  }
}
