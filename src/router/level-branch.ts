/** The branches of a level-trie.ts and their children. A leaf is any object that knows its text. */
import { seededHash } from './text-hash.ts'
import { type Named, Table } from './text-table.ts'
import type { WideTable } from './wide-table.ts'

export class Branch<L extends Named> {
  /** The literal level that leads here; '' behind a wildcard and at the root. */
  readonly name: string
  /** Where in the texts below it the level begins that chooses among its children. */
  readonly at: number
  /** The text that ends at this branch. */
  end: L | undefined = undefined
  /** Below a one-level wildcard. */
  one: Child<L> | undefined = undefined
  /** The text that ends with a many-level wildcard after this branch. */
  some: L | undefined = undefined
  /** A single literal child is kept inline; `many` is made for the second and given up for the last. */
  only: Child<L> | undefined = undefined
  many: LevelTable<L> | WideTable<Child<L>> | undefined = undefined
  constructor(name: string, at: number) {
    this.name = name
    this.at = at
  }
}

export type Child<L extends Named> = Branch<L> | L

/** The literal children of a branch, by the level that leads to them. */
export class LevelTable<L extends Named> extends Table<Child<L>> {
  readonly #at: number
  readonly #separator: number

  constructor(at: number, separator: number) {
    super()
    this.#at = at
    this.#separator = separator
  }

  override hashOf(child: Child<L>): number {
    if (child instanceof Branch) return seededHash(child.name, 0, child.name.length)
    const { text } = child
    let end = this.#at
    while (end < text.length && text.charCodeAt(end) !== this.#separator) end++
    return seededHash(text, this.#at, end)
  }

  override is(child: Child<L>, level: string, start: number, end: number): boolean {
    return isLevel(child, this.#at, this.#separator, level, start, end)
  }
}

/** Whether the level of `text` from `start` to `end` leads to the child of a branch whose children differ from `at` on. */
export function isLevel<L extends Named>(
  child: Child<L>,
  at: number,
  separator: number,
  text: string,
  start: number,
  end: number,
): boolean {
  const length = end - start
  let own: string
  let from = 0
  if (child instanceof Branch) {
    own = child.name
    if (own.length !== length) return false
  } else {
    own = child.text
    from = at
    if (own.length !== at + length && own.charCodeAt(at + length) !== separator) return false
  }
  for (let i = 0; i < length; i++) if (own.charCodeAt(from + i) !== text.charCodeAt(start + i)) return false
  return true
}

/** The text in which the child's level stands, and from where to where. */
export function range<L extends Named>(child: Child<L>, at: number, separator: string): [string, number, number] {
  if (child instanceof Branch) return [child.name, 0, child.name.length]
  const end = child.text.indexOf(separator, at)
  return [child.text, at, end === -1 ? child.text.length : end]
}

/** Calls `visit` for every child that hangs below a literal level. */
export function eachLiteral<L extends Named>(branch: Branch<L>, visit: (child: Child<L>) => void): void {
  if (branch.only !== undefined) visit(branch.only)
  if (branch.many !== undefined) branch.many.each(visit)
}

/** Pushes everything that hangs directly below the branch. */
export function pushChildren<L extends Named>(branch: Branch<L>, stack: Child<L>[]): void {
  if (branch.end !== undefined) stack.push(branch.end)
  if (branch.some !== undefined) stack.push(branch.some)
  if (branch.one !== undefined) stack.push(branch.one)
  eachLiteral(branch, (child) => stack.push(child))
}

/** The only thing below the branch; undefined when there is nothing, the branch itself when there are several. */
export function soleChild<L extends Named>(branch: Branch<L>): Child<L> | undefined {
  if (branch.many !== undefined) return branch
  let sole: Child<L> | undefined
  for (const child of [branch.end, branch.some, branch.one, branch.only]) {
    if (child === undefined) continue
    if (sole !== undefined) return branch
    sole = child
  }
  return sole
}
