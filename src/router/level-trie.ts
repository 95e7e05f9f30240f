/**
 * A trie over texts that are made of levels (Topic Names, Topic Filters): what topic-tree.ts and retained.ts walk. Its leaves
 * are objects that know their text.
 *
 * A text hangs as high as nothing else shares its path: its remaining levels stay unsplit until a second text needs the
 * branch. Most texts therefore cost one slot, however many levels they have.
 *
 *     a/b/c/+      root ─a─▶ Branch ─b─▶ leaf 'a/b/c/+'
 *     a/#                      └─#─▶ leaf 'a/#'
 *
 * All texts below a branch begin alike, so the level that tells them apart begins at the same place in all of them (`at`),
 * and no level's name needs to be kept for a leaf.
 *
 * Removing a text folds its branches back, so a storm of subscriptions leaves nothing behind.
 * Nothing here recurses: a text of 65,535 bytes may have that many levels.
 */
import { Branch, type Child, isLevel, LevelTable, pushChildren, range, soleChild } from './level-branch.ts'
import type { LevelSyntax } from './level-syntax.ts'
import { seededHash } from './text-hash.ts'
import type { Named } from './text-table.ts'
import { WideTable } from './wide-table.ts'

/** From here on the children of one branch are kept in a WideTable. */
const tableSizeMax = 8192

export class LevelTrie<L extends Named> {
  readonly root = new Branch<L>('', 0)
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

  /** The literal child to which the level of `text` from `start` to `end` leads; `hash` is the level's `seededHash`. */
  literal(branch: Branch<L>, text: string, start: number, end: number, hash: number): Child<L> | undefined {
    const { only } = branch
    if (only === undefined) return branch.many?.find(text, start, end, hash)
    return isLevel(only, branch.at, this.#syntax.separator, text, start, end) ? only : undefined
  }

  find(text: string): L | undefined {
    let branch = this.root
    for (let start = 0; ; ) {
      const end = this.#levelEnd(text, start)
      const last = end === text.length
      if (last && this.#isSome(text, start, end)) return branch.some
      const child = this.#child(branch, text, start, end)
      if (child === undefined) return undefined
      if (!(child instanceof Branch)) return child.text === text ? child : undefined
      if (last) return child.end
      branch = child
      start = end + 1
    }
  }

  /**
   * Adds the leaf. Returns the one of the same text that was there before, which stays unless `replace` is said; undefined
   * when the text is new.
   */
  insert(leaf: L, replace = false): L | undefined {
    const { text } = leaf
    let branch = this.root
    let known: L | undefined
    for (let start = 0; ; ) {
      const end = this.#levelEnd(text, start)
      const last = end === text.length
      if (last && this.#isSome(text, start, end)) {
        known = branch.some
        if (known === undefined || replace) branch.some = leaf
        break
      }
      let child = this.#child(branch, text, start, end)
      if (child !== undefined && !(child instanceof Branch)) {
        if (child.text === text) {
          known = child
          if (replace) this.#put(branch, text, start, end, leaf)
          break
        }
        child = this.#split(child, start, end)
        this.#put(branch, text, start, end, child)
      } else if (child === undefined) {
        this.#put(branch, text, start, end, leaf)
        break
      }
      if (last) {
        known = child.end
        if (known === undefined || replace) child.end = leaf
        break
      }
      branch = child
      start = end + 1
    }
    if (known === undefined) this.#size++
    return known
  }

  /** False when the text was not there. */
  remove(text: string): boolean {
    const path: Branch<L>[] = []
    let branch = this.root
    for (let start = 0; ; ) {
      path.push(branch)
      const end = this.#levelEnd(text, start)
      const last = end === text.length
      if (last && this.#isSome(text, start, end)) {
        if (branch.some === undefined) return false
        branch.some = undefined
        break
      }
      const child = this.#child(branch, text, start, end)
      if (child === undefined) return false
      if (!(child instanceof Branch)) {
        if (child.text !== text) return false
        this.#put(branch, text, start, end, undefined)
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
    this.#fold(text, path)
    return true
  }

  /** Every leaf, in no order. */
  *leaves(): Generator<L> {
    const stack: Child<L>[] = [this.root]
    for (let child = stack.pop(); child !== undefined; child = stack.pop()) {
      if (child instanceof Branch) pushChildren(child, stack)
      else yield child
    }
  }

  /** Gives up every branch of the path that holds nothing, or one leaf that can hang where the branch hung. */
  #fold(text: string, path: Branch<L>[]): void {
    for (let i = path.length - 1; i > 0; i--) {
      const left = soleChild(path[i]!)
      if (left instanceof Branch) return
      const above = path[i - 1]!
      this.#put(above, text, above.at, this.#levelEnd(text, above.at), left)
    }
  }

  /** A branch in place of the leaf, holding it; the level that leads there is from `start` to `end` of its text. */
  #split(leaf: L, start: number, end: number): Branch<L> {
    const { text } = leaf
    const branch = new Branch<L>(this.#isOne(text, start, end) ? '' : flat(text.slice(start, end)), end + 1)
    if (end === text.length) {
      branch.end = leaf
      return branch
    }
    const nextEnd = this.#levelEnd(text, end + 1)
    if (nextEnd === text.length && this.#isSome(text, end + 1, nextEnd)) branch.some = leaf
    else this.#put(branch, text, end + 1, nextEnd, leaf)
    return branch
  }

  #child(branch: Branch<L>, text: string, start: number, end: number): Child<L> | undefined {
    if (this.#isOne(text, start, end)) return branch.one
    return this.literal(branch, text, start, end, seededHash(text, start, end))
  }

  /** Hangs the child where the level of `text` from `start` to `end` leads; undefined takes away what hangs there. */
  #put(branch: Branch<L>, text: string, start: number, end: number, child: Child<L> | undefined): void {
    if (this.#isOne(text, start, end)) branch.one = child
    else if (child === undefined) this.#removeLiteral(branch, text, start, end)
    else this.#putLiteral(branch, text, start, end, child)
  }

  #putLiteral(branch: Branch<L>, text: string, start: number, end: number, child: Child<L>): void {
    const { only } = branch
    const { separator } = this.#syntax
    let { many } = branch
    if (many === undefined) {
      if (only === undefined || isLevel(only, branch.at, separator, text, start, end)) {
        branch.only = child
        return
      }
      branch.only = undefined
      branch.many = many = new LevelTable<L>(branch.at, separator)
      many.put(only, ...range(only, branch.at, this.#separator), many.hashOf(only))
    } else if (many instanceof LevelTable && many.size >= tableSizeMax) {
      const wide = new WideTable<Child<L>>(() => new LevelTable<L>(branch.at, separator))
      for (const one of many.values()) wide.put(one, ...range(one, branch.at, this.#separator), many.hashOf(one))
      branch.many = many = wide
    }
    many.put(child, text, start, end, seededHash(text, start, end))
  }

  #removeLiteral(branch: Branch<L>, text: string, start: number, end: number): void {
    const { many } = branch
    if (many === undefined) {
      branch.only = undefined
      return
    }
    many.take(text, start, end, seededHash(text, start, end))
    if (many.size > 1) return
    for (const last of many.values()) branch.only = last
    branch.many = undefined
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

/** V8 keeps a long substring as a view that pins the whole text; a kept level gets characters of its own. */
function flat(level: string): string {
  if (level.length < 13) return level
  const copy = Buffer.from(level, 'utf8').toString('utf8')
  return copy === level ? copy : level
}
