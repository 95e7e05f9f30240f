/**
 * A trie over texts that are made of levels (Topic Names, Topic Filters): what topic-tree.ts and retained.ts walk.
 *
 * A text hangs as high as nothing else shares its path: as an `Entry` whose remaining levels stay unsplit until a
 * second text needs the branch. Most texts therefore cost one Entry and one slot, however many levels they have.
 *
 *     a/b/c/+      root ─a─▶ Branch ─b─▶ Entry 'a/b/c/+' (level b starts at 2)
 *     a/#                      └─#─▶ Entry 'a/#'
 *
 * Removing a text folds its branches back, so a storm of subscriptions leaves nothing behind.
 * Nothing here recurses: a text of 65,535 bytes may have that many levels.
 */
import type { LevelSyntax } from './level-syntax.ts'
import { WideMap } from './wide-map.ts'

/** From here on the children of one branch are kept in a WideMap. */
const mapSizeMax = 8192

export class Entry<V> {
  readonly text: string
  /** Where in `text` the level starts that led to this entry. Means nothing in an `end` or `some` slot. */
  from: number
  value: V
  constructor(text: string, from: number, value: V) {
    this.text = text
    this.from = from
    this.value = value
  }
}

export class Branch<V> {
  /** The text that ends at this branch. */
  end: Entry<V> | undefined = undefined
  /** Below a one-level wildcard. */
  one: Child<V> | undefined = undefined
  /** The text that ends with a many-level wildcard after this branch. */
  some: Entry<V> | undefined = undefined
  /** A single literal child is kept inline; `many` is made for the second and given up for the last. */
  onlyName: string | undefined = undefined
  only: Child<V> | undefined = undefined
  many: Map<string, Child<V>> | WideMap<Child<V>> | undefined = undefined
}

export type Child<V> = Branch<V> | Entry<V>

export function literalChild<V>(branch: Branch<V>, level: string): Child<V> | undefined {
  if (branch.only !== undefined) return branch.onlyName === level ? branch.only : undefined
  return branch.many === undefined ? undefined : branch.many.get(level)
}

export class LevelTrie<V> {
  readonly root = new Branch<V>()
  readonly #syntax: LevelSyntax
  readonly #separator: string
  #size = 0

  constructor(syntax: LevelSyntax) {
    this.#syntax = syntax
    this.#separator = String.fromCharCode(syntax.separator)
  }

  /** Number of texts. */
  get size(): number {
    return this.#size
  }

  find(text: string): Entry<V> | undefined {
    let branch = this.root
    for (let start = 0; ; ) {
      const end = this.#levelEnd(text, start)
      const last = end === text.length
      if (last && this.#isSome(text, start, end)) return branch.some
      const child = this.#isOne(text, start, end) ? branch.one : literalChild(branch, text.slice(start, end))
      if (child === undefined) return undefined
      if (child instanceof Entry) return child.text === text ? child : undefined
      if (last) return child.end
      branch = child
      start = end + 1
    }
  }

  /** Adds the text. Returns the entry that was there before, untouched, or undefined when a new one was made. */
  insert(text: string, value: V): Entry<V> | undefined {
    let branch = this.root
    for (let start = 0; ; ) {
      const end = this.#levelEnd(text, start)
      const last = end === text.length
      if (last && this.#isSome(text, start, end)) {
        if (branch.some !== undefined) return branch.some
        branch.some = new Entry(text, start, value)
        break
      }
      const level = text.slice(start, end)
      const one = this.#isOne(text, start, end)
      let child = one ? branch.one : literalChild(branch, level)
      if (child instanceof Entry) {
        if (child.text === text) return child
        child = this.#split(child, end)
        this.#put(branch, one, level, child)
      } else if (child === undefined) {
        this.#put(branch, one, level, new Entry(text, start, value))
        break
      }
      if (last) {
        if (child.end !== undefined) return child.end
        child.end = new Entry(text, start, value)
        break
      }
      branch = child
      start = end + 1
    }
    this.#size++
    return undefined
  }

  /** False when the text was not there. */
  remove(text: string): boolean {
    const path: Branch<V>[] = []
    const starts: number[] = []
    let branch = this.root
    for (let start = 0; ; ) {
      path.push(branch)
      starts.push(start)
      const end = this.#levelEnd(text, start)
      const last = end === text.length
      if (last && this.#isSome(text, start, end)) {
        if (branch.some === undefined) return false
        branch.some = undefined
        break
      }
      const one = this.#isOne(text, start, end)
      const level = text.slice(start, end)
      const child = one ? branch.one : literalChild(branch, level)
      if (child === undefined) return false
      if (child instanceof Entry) {
        if (child.text !== text) return false
        this.#put(branch, one, level, undefined)
        break
      }
      if (last) {
        if (child.end === undefined) return false
        child.end = undefined
        path.push(child)
        break
      }
      branch = child
      start = end + 1
    }
    this.#size--
    this.#fold(text, path, starts)
    return true
  }

  /** Every entry, in no order. */
  *entries(): Generator<Entry<V>> {
    const stack: Child<V>[] = [this.root]
    for (let child = stack.pop(); child !== undefined; child = stack.pop()) {
      if (child instanceof Entry) yield child
      else pushChildren(child, stack)
    }
  }

  /** Gives up every branch of the path that holds nothing, or one entry that can hang where the branch hung. */
  #fold(text: string, path: Branch<V>[], starts: number[]): void {
    for (let i = path.length - 1; i > 0; i--) {
      const left = soleChild(path[i]!)
      if (left instanceof Branch) return
      const start = starts[i - 1]!
      const end = this.#levelEnd(text, start)
      if (left !== undefined) left.from = start
      this.#put(path[i - 1]!, this.#isOne(text, start, end), text.slice(start, end), left)
    }
  }

  /** A branch in place of the entry, holding it; `end` is where the level that leads to the branch ends. */
  #split(entry: Entry<V>, end: number): Branch<V> {
    const branch = new Branch<V>()
    const { text } = entry
    if (end === text.length) {
      branch.end = entry
      return branch
    }
    const start = end + 1
    const nextEnd = this.#levelEnd(text, start)
    entry.from = start
    if (nextEnd === text.length && this.#isSome(text, start, nextEnd)) branch.some = entry
    else this.#put(branch, this.#isOne(text, start, nextEnd), text.slice(start, nextEnd), entry)
    return branch
  }

  #put(branch: Branch<V>, one: boolean, level: string, child: Child<V> | undefined): void {
    if (one) branch.one = child
    else if (child === undefined) removeLiteral(branch, level)
    else putLiteral(branch, level, child)
  }

  #levelEnd(text: string, start: number): number {
    const end = text.indexOf(this.#separator, start)
    return end === -1 ? text.length : end
  }
  #isOne(text: string, start: number, end: number): boolean {
    return end - start === 1 && text.charCodeAt(start) === this.#syntax.one
  }
  #isSome(text: string, start: number, end: number): boolean {
    return end - start === 1 && text.charCodeAt(start) === this.#syntax.some
  }
}

/** Pushes everything that hangs directly below the branch. */
export function pushChildren<V>(branch: Branch<V>, stack: Child<V>[]): void {
  if (branch.end !== undefined) stack.push(branch.end)
  if (branch.some !== undefined) stack.push(branch.some)
  if (branch.one !== undefined) stack.push(branch.one)
  if (branch.only !== undefined) stack.push(branch.only)
  if (branch.many !== undefined) for (const [, child] of branch.many) stack.push(child)
}

function putLiteral<V>(branch: Branch<V>, level: string, child: Child<V>): void {
  if (branch.many !== undefined) {
    if (branch.many instanceof Map && branch.many.size >= mapSizeMax) branch.many = new WideMap(branch.many)
    branch.many.set(branch.many.has(level) ? level : flat(level), child)
  } else if (branch.only === undefined || branch.onlyName === level) {
    if (branch.only === undefined) branch.onlyName = flat(level)
    branch.only = child
  } else {
    branch.many = new Map([[branch.onlyName!, branch.only]])
    branch.many.set(flat(level), child)
    branch.only = undefined
    branch.onlyName = undefined
  }
}

function removeLiteral<V>(branch: Branch<V>, level: string): void {
  if (branch.many === undefined) {
    branch.only = undefined
    branch.onlyName = undefined
    return
  }
  branch.many.delete(level)
  if (branch.many.size > 1) return
  for (const [name, child] of branch.many) {
    branch.onlyName = name
    branch.only = child
  }
  branch.many = undefined
}

/** The only thing below the branch; undefined when there is nothing, the branch itself when there are several. */
function soleChild<V>(branch: Branch<V>): Child<V> | undefined {
  if (branch.many !== undefined) return branch
  let sole: Child<V> | undefined
  for (const child of [branch.end, branch.some, branch.one, branch.only]) {
    if (child === undefined) continue
    if (sole !== undefined) return branch
    sole = child
  }
  return sole
}

/** V8 keeps a long substring as a view that pins the whole text; a kept level gets characters of its own. */
function flat(level: string): string {
  if (level.length < 13) return level
  const copy = Buffer.from(level, 'utf8').toString('utf8')
  return copy === level ? copy : level
}
