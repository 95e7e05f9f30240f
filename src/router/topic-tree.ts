/**
 * Topic Filters and their subscribers: which values does a Topic Name match?
 *
 * Filters without wildcards are keys of one Map (a single lookup whatever their number); filters with wildcards hang
 * in a LevelTrie, which is walked level by level with all branches that are still possible.
 *
 * **Bound.** One match visits a trie branch at most once, and compares at most two unsplit texts per branch visited.
 * `+/+/+/…` cannot blow up: the branches visited are those whose path matches a prefix of the topic, and each was put
 * there by somebody's filter. Quotas on subscriptions and on levels per filter bound the rest.
 */

import { ChangeLog } from './change-log.ts'
import { type LevelSyntax, mqttSyntax, restMatches } from './level-syntax.ts'
import { type Branch, type Child, Entry, LevelTrie, literalChild } from './level-trie.ts'
import { WideMap } from './wide-map.ts'

export interface TopicTreeOptions {
  readonly syntax?: LevelSyntax
  /** Keep topics that start with `$` from filters that start with a wildcard [v5 MQTT-4.7.2-1]. Default true. */
  readonly hideDollar?: boolean
}

/** The values of a filter that has more than one. */
class ValueSet<T> extends Set<T> {}
type Values<T> = T | ValueSet<T>

/**
 * `T` is compared by identity; a value given to several filters is visited once for each that matches.
 * Filters are taken as they are: validity is `wire/topic`'s business. A `#` before the last level and a wildcard
 * character inside a longer level are ordinary characters here.
 */
export class TopicTree<T extends NonNullable<unknown>> {
  readonly #syntax: LevelSyntax
  readonly #separator: string
  readonly #hideDollar: boolean
  readonly #exact = new WideMap<Values<T>>()
  readonly #wild: LevelTrie<Values<T>>
  #size = 0
  readonly #changes: ChangeLog
  /** Branches to visit at this level and at the next. Taken while a match runs, so that `visit` may match again. */
  #scratch: [Branch<Values<T>>[], Branch<Values<T>>[]] | null = [[], []]

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
    if (this.#isWild(topicFilter)) {
      const entry = this.#wild.insert(topicFilter, value)
      if (entry !== undefined) {
        const values = including(entry.value, value)
        if (values === undefined) return false
        entry.value = values
      }
    } else {
      const before = this.#exact.get(topicFilter)
      const values = before === undefined ? value : including(before, value)
      if (values === undefined) return false
      if (values !== before) this.#exact.set(topicFilter, values)
    }
    this.#size++
    this.#changes.record(topicFilter)
    return true
  }

  /** False when there was no such pair. */
  remove(topicFilter: string, value: T): boolean {
    if (this.#isWild(topicFilter)) {
      const entry = this.#wild.find(topicFilter)
      if (entry === undefined || !holds(entry.value, value)) return false
      const rest = without(entry.value, value)
      if (rest === undefined) this.#wild.remove(topicFilter)
      else entry.value = rest
    } else {
      const before = this.#exact.get(topicFilter)
      if (before === undefined || !holds(before, value)) return false
      const rest = without(before, value)
      if (rest === undefined) this.#exact.delete(topicFilter)
      else if (rest !== before) this.#exact.set(topicFilter, rest)
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
    return this.#isWild(topicFilter) ? this.#wild.find(topicFilter) !== undefined : this.#exact.has(topicFilter)
  }

  /** Every filter once, in no order. The tree must not change meanwhile. */
  *filters(): Generator<string> {
    for (const [topicFilter] of this.#exact) yield topicFilter
    for (const entry of this.#wild.entries()) yield entry.text
  }

  /**
   * Calls `visit` for every value of every filter that matches the topic, in no order; allocates only one short
   * string per level it has to look at. `visit` may match again; it must not change the tree.
   */
  match(topic: string, visit: (value: T, topicFilter: string) => void): void {
    const exact = this.#exact.get(topic)
    if (exact !== undefined) deliver(exact, topic, visit)
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
    now: Branch<Values<T>>[],
    next: Branch<Values<T>>[],
  ): void {
    const hidden = this.#hideDollar && topic.charCodeAt(0) === 0x24
    const { matchEmptyLevels } = this.#syntax
    now[0] = this.#wild.root
    let count = 1
    for (let start = 0; count > 0; ) {
      const found = topic.indexOf(this.#separator, start)
      const end = found === -1 ? topic.length : found
      const level = topic.slice(start, end)
      const wildcards = !(hidden && start === 0)
      let nextCount = 0
      for (let i = 0; i < count; i++) {
        const branch = now[i]!
        if (wildcards && branch.some !== undefined) deliver(branch.some.value, branch.some.text, visit)
        for (let wild = 0; wild < 2; wild++) {
          let child: Child<Values<T>> | undefined
          if (wild === 0) child = literalChild(branch, level)
          else if (wildcards && (matchEmptyLevels || end > start)) child = branch.one
          if (child === undefined) continue
          if (child instanceof Entry) {
            const behind = child.from + (wild === 0 ? level.length : 1)
            if (restMatches(this.#syntax, child.text, behind, topic, end)) deliver(child.value, child.text, visit)
          } else if (found === -1) {
            if (child.end !== undefined) deliver(child.end.value, child.end.text, visit)
            // `a/#` includes `a` itself.
            if (child.some !== undefined) deliver(child.some.value, child.some.text, visit)
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

function deliver<T>(values: Values<T>, topicFilter: string, visit: (value: T, topicFilter: string) => void): void {
  if (values instanceof ValueSet) for (const value of values) visit(value, topicFilter)
  else visit(values, topicFilter)
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
