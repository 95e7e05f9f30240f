import { hashText } from './text-hash.ts'

const shardCount = 256

/**
 * A Map for very many names. V8 rehashes a Map as a whole when it grows, and again when as much was deleted as has
 * room: with a million entries the event loop stands still for a tenth of a second. Here 256 Maps share the names, so
 * that each such stop is 256 times shorter.
 *
 * Whoever chooses names that fall into one shard only gets the plain Map back.
 */
export class WideMap<V> {
  readonly #shards: Map<string, V>[] = []
  #size = 0

  constructor(entries?: Iterable<[string, V]>) {
    for (let i = 0; i < shardCount; i++) this.#shards.push(new Map())
    if (entries !== undefined) for (const [name, value] of entries) this.set(name, value)
  }

  get size(): number {
    return this.#size
  }

  get(name: string): V | undefined {
    return this.#shard(name).get(name)
  }

  has(name: string): boolean {
    return this.#shard(name).has(name)
  }

  set(name: string, value: V): this {
    const shard = this.#shard(name)
    const before = shard.size
    shard.set(name, value)
    this.#size += shard.size - before
    return this
  }

  delete(name: string): boolean {
    if (!this.#shard(name).delete(name)) return false
    this.#size--
    return true
  }

  *[Symbol.iterator](): Generator<[string, V]> {
    for (const shard of this.#shards) yield* shard
  }

  #shard(name: string): Map<string, V> {
    return this.#shards[hashText(name) & (shardCount - 1)]!
  }
}
