/**
 * Topic Filters and their subscribers: which values does a Topic Name match?
 *
 * Filters without wildcards are found in one table (a single lookup whatever their number); filters with wildcards hang
 * in a LevelTrie, which is walked level by level with all branches that are still possible. A value that knows its filter
 * (`text`) hangs there itself; for any other, and where a filter has several, an `Entry` does.
 *
 * **Bound.** One match visits a trie branch at most once, and compares at most two unsplit texts per branch visited.
 * `+/+/+/…` cannot blow up: the branches visited are those whose path matches a prefix of the topic, and each was put
 * there by somebody's filter. Quotas on subscriptions and on levels per filter bound the rest.
 */

import { ChangeLog } from './change-log.ts'
import { Branch, type Child } from './level-branch.ts'
import { type LevelSyntax, mqttSyntax, restMatches } from './level-syntax.ts'
import { LevelTrie } from './level-trie.ts'
import { seededHash } from './text-hash.ts'
import { type Named, TextTable } from './text-table.ts'
import { WideTable } from './wide-table.ts'

export interface TopicTreeOptions {
  readonly syntax?: LevelSyntax
  /** Keep topics that start with `$` from filters that start with a wildcard [v5 MQTT-4.7.2-1]. Default true. */
  readonly hideDollar?: boolean
}

/** The values of a filter that has more than one. */
class ValueSet<T> extends Set<T> {}
type Values<T> = T | ValueSet<T>

class Entry<T> {
  readonly text: string
  values: Values<T>
  constructor(text: string, values: Values<T>) {
    this.text = text
    this.values = values
  }
}

type Leaf<T> = Entry<T> | (T & Named)

/**
 * `T` is compared by identity; a value given to several filters is visited once for each that matches.
 * Filters are taken as they are: validity is `wire/topic`'s business. A `#` before the last level and a wildcard
 * character inside a longer level are ordinary characters here.
 */
export class TopicTree<T extends NonNullable<unknown>> {
  readonly #syntax: LevelSyntax
  readonly #separator: string
  readonly #hideDollar: boolean
  readonly #exact = new WideTable<Leaf<T>>(() => new TextTable())
  readonly #wild: LevelTrie<Leaf<T>>
  #size = 0
  readonly #changes: ChangeLog
  /** Branches to visit at this level and at the next. Taken while a match runs, so that `visit` may match again. */
  #scratch: [Branch<Leaf<T>>[], Branch<Leaf<T>>[]] | null = [[], []]

  constructor(options: TopicTreeOptions = {}) {
    this.#syntax = options.syntax ?? mqttSyntax
    this.#separator = String.fromCharCode(this.#syntax.separator)
    this.#hideDollar = options.hideDollar ?? true
    this.#wild = new LevelTrie(this.#syntax)
    this.#changes = new ChangeLog(this.#syntax, this.#hideDollar)
  }

  /** Number of pairs of filter and value. */
  get size(): number {
    return this.#size
  }

  /** Goes up with every change of the set of pairs: what was found at a generation holds as long as it stands. */
  get generation(): number {
    return this.#changes.generation
  }

  /** False when the pair was there already. */
  add(topicFilter: string, value: T): boolean {
    const known = this.#isWild(topicFilter)
      ? this.#wild.insert(leafOf(topicFilter, value))
      : this.#insertExact(leafOf(topicFilter, value), false)
    if (known instanceof Entry) {
      const values = including(known.values, value)
      if (values === undefined) return false
      known.values = values
    } else if (known !== undefined) {
      if (known === value) return false
      const both = entryOf(known, value)
      if (this.#isWild(topicFilter)) this.#wild.insert(both, true)
      else this.#insertExact(both, true)
    }
    this.#size++
    this.#changes.record(topicFilter)
    return true
  }

  #insertExact(leaf: Leaf<T>, replace: boolean): Leaf<T> | undefined {
    const { text } = leaf
    const hash = wholeHash(text)
    const known = this.#exact.find(text, 0, text.length, hash)
    if (known === undefined || replace) this.#exact.put(leaf, text, 0, text.length, hash)
    return known
  }

  /** False when there was no such pair. */
  remove(topicFilter: string, value: T): boolean {
    const wild = this.#isWild(topicFilter)
    const known = wild ? this.#wild.find(topicFilter) : this.#exact.get(topicFilter)
    if (known === undefined) return false
    let rest: Values<T> | undefined
    if (known instanceof Entry) {
      if (!holds(known.values, value)) return false
      rest = without(known.values, value)
      if (rest !== undefined) known.values = rest
    } else if (known !== value) return false
    if (rest === undefined) {
      if (wild) this.#wild.remove(topicFilter)
      else this.#exact.take(topicFilter, 0, topicFilter.length, wholeHash(topicFilter))
    }
    this.#size--
    this.#changes.record(topicFilter)
    return true
  }

  /** Counts as a change of the filter although its values stand: something they say about themselves changed. */
  touch(topicFilter: string): void {
    this.#changes.record(topicFilter)
  }

  /** Whether the filter has any value. */
  has(topicFilter: string): boolean {
    return (this.#isWild(topicFilter) ? this.#wild.find(topicFilter) : this.#exact.get(topicFilter)) !== undefined
  }

  /** Every filter once, in no order. The tree must not change meanwhile. */
  *filters(): Generator<string> {
    for (const { text } of this.#exact.values()) yield text
    for (const { text } of this.#wild.leaves()) yield text
  }

  /**
   * Calls `visit` for every value of every filter that matches the topic, in no order; allocates nothing.
   * `visit` may match again; it must not change the tree.
   */
  match(topic: string, visit: (value: T, topicFilter: string) => void): void {
    const exact = this.#exact.get(topic)
    if (exact !== undefined) deliver(exact, visit)
    if (this.#wild.size === 0) return
    const scratch = this.#scratch ?? [[], []]
    this.#scratch = null
    try {
      this.#walk(topic, visit, scratch[0], scratch[1])
    } finally {
      this.#scratch = scratch
    }
  }

  /**
   * Whether the values of the topic may have changed since `generation`: never false when they did, and seldom true
   * when they did not, also in a storm of unrelated subscriptions. Costs a fraction of a match.
   */
  changedSince(generation: number, topic: string): boolean {
    return this.#changes.changedSince(generation, topic)
  }

  #walk(
    topic: string,
    visit: (value: T, topicFilter: string) => void,
    now: Branch<Leaf<T>>[],
    next: Branch<Leaf<T>>[],
  ): void {
    const hidden = this.#hideDollar && topic.charCodeAt(0) === 0x24
    const { matchEmptyLevels } = this.#syntax
    now[0] = this.#wild.root
    let count = 1
    for (let start = 0; count > 0; ) {
      const found = topic.indexOf(this.#separator, start)
      const end = found === -1 ? topic.length : found
      const level = seededHash(topic, start, end)
      const wildcards = !(hidden && start === 0)
      let nextCount = 0
      for (let i = 0; i < count; i++) {
        const branch = now[i]!
        if (wildcards && branch.some !== undefined) deliver(branch.some, visit)
        for (let wild = 0; wild < 2; wild++) {
          let child: Child<Leaf<T>> | undefined
          if (wild === 0) child = this.#wild.literal(branch, topic, start, end, level)
          else if (wildcards && (matchEmptyLevels || end > start)) child = branch.one
          if (child === undefined) continue
          if (!(child instanceof Branch)) {
            const behind = branch.at + (wild === 0 ? end - start : 1)
            if (restMatches(this.#syntax, child.text, behind, topic, end)) deliver(child, visit)
          } else if (found === -1) {
            if (child.end !== undefined) deliver(child.end, visit)
            // `a/#` includes `a` itself.
            if (child.some !== undefined) deliver(child.some, visit)
          } else {
            next[nextCount++] = child
          }
        }
      }
      if (found === -1) return
      const spent = now
      now = next
      next = spent
      count = nextCount
      start = end + 1
    }
  }

  #isWild(topicFilter: string): boolean {
    const { one, some } = this.#syntax
    for (let i = 0; i < topicFilter.length; i++) {
      const code = topicFilter.charCodeAt(i)
      if (code === one || code === some) return true
    }
    return false
  }
}

function deliver<T>(leaf: Leaf<T>, visit: (value: T, topicFilter: string) => void): void {
  if (!(leaf instanceof Entry)) visit(leaf, leaf.text)
  else if (leaf.values instanceof ValueSet) for (const value of leaf.values) visit(value, leaf.text)
  else visit(leaf.values, leaf.text)
}

function wholeHash(topicFilter: string): number {
  return seededHash(topicFilter, 0, topicFilter.length)
}

function leafOf<T>(topicFilter: string, value: T): Leaf<T> {
  return (value as Partial<Named>).text === topicFilter ? (value as T & Named) : new Entry(topicFilter, value)
}

/** For a filter that gets its second value. */
function entryOf<T>(first: T & Named, second: T): Entry<T> {
  return new Entry(first.text, new ValueSet<T>([first, second]))
}

function holds<T>(values: Values<T>, value: T): boolean {
  return values instanceof ValueSet ? values.has(value) : values === value
}

/** The values with one more; undefined when it was among them. */
function including<T>(values: Values<T>, value: T): Values<T> | undefined {
  if (holds(values, value)) return undefined
  if (values instanceof ValueSet) return values.add(value)
  return new ValueSet<T>([values, value])
}

/** The values with one less, which is among them; undefined when none is left. */
function without<T>(values: Values<T>, value: T): Values<T> | undefined {
  if (!(values instanceof ValueSet)) return undefined
  values.delete(value)
  if (values.size > 1) return values
  for (const last of values) return last
  return undefined
}
