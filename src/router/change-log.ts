import { type LevelSyntax, restMatches } from './level-syntax.ts'
import { emptyHash, hashCode, mixHash } from './text-hash.ts'

/** How many changed filters are kept as text. */
const filtersKept = 64
/** A power of two; eight bytes each. */
const marks = 32_768
/** Sets the mark of a filter without wildcards apart from that of the prefix with the same text. */
const wholeTopic = 0x9e3779b9

/**
 * Which topics did the latest changes of a set of filters concern? Two memories answer together:
 *
 * - *marks*: a filter leaves its generation under the hash of the levels before its first wildcard (`a/b/+/c`: `a/b`); a
 *   filter without wildcards under a hash of all of it. A topic none of whose prefixes was marked since cannot be
 *   concerned, however many changes there were.
 * - *the last 64 filters*: when a mark was hit, they are compared with the topic.
 *
 * So a cached match outlives a storm of subscriptions to other devices' topics.
 */
export class ChangeLog {
  readonly #syntax: LevelSyntax
  readonly #hideDollar: boolean
  #generation = 0
  readonly #filters: string[] = []
  /** Made by the first question, so that a set nobody asks about pays nothing. */
  #marks: Float64Array | null = null

  constructor(syntax: LevelSyntax, hideDollar: boolean) {
    this.#syntax = syntax
    this.#hideDollar = hideDollar
  }

  /** Number of changes recorded. */
  get generation(): number {
    return this.#generation
  }

  record(topicFilter: string): void {
    this.#filters[this.#generation % filtersKept] = topicFilter
    this.#generation++
    if (this.#marks !== null) this.#marks[this.#markOf(topicFilter)] = this.#generation
  }

  /** Whether a filter recorded after `generation` matches the topic; true also when that can no longer be told. */
  changedSince(generation: number, topic: string): boolean {
    if (generation >= this.#generation) return false
    this.#marks ??= new Float64Array(marks).fill(this.#generation)
    // [v5 MQTT-4.7.2-1]
    const hidden = this.#hideDollar && topic.charCodeAt(0) === 0x24
    if (!this.#isMarked(this.#marks, generation, topic, hidden)) return false
    if (this.#generation - generation > filtersKept) return true
    for (let g = generation; g < this.#generation; g++) {
      const filter = this.#filters[g % filtersKept]!
      if (hidden && filter.charCodeAt(0) !== 0x24) continue
      if (restMatches(this.#syntax, filter, -1, topic, -1)) return true
    }
    return false
  }

  #isMarked(marked: Float64Array, generation: number, topic: string, hidden: boolean): boolean {
    const { separator } = this.#syntax
    let hash = emptyHash
    if (!hidden && marked[place(hash)]! > generation) return true
    for (let i = 0; i < topic.length; i++) {
      const code = topic.charCodeAt(i)
      if (code === separator && marked[place(hash)]! > generation) return true
      hash = hashCode(hash, code)
    }
    return marked[place(hash)]! > generation || marked[place(hash ^ wholeTopic)]! > generation
  }

  #markOf(topicFilter: string): number {
    const { separator, one, some } = this.#syntax
    let hash = emptyHash
    let prefix = emptyHash
    for (let i = 0; i < topicFilter.length; i++) {
      const code = topicFilter.charCodeAt(i)
      if (code === one || code === some) return place(prefix)
      if (code === separator) prefix = hash
      hash = hashCode(hash, code)
    }
    return place(hash ^ wholeTopic)
  }
}

function place(hash: number): number {
  return mixHash(hash) & (marks - 1)
}
