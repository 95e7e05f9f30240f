/**
 * Walks the trees of a data file before LMDB maps it: each page is what its place in the tree asks for (`page.ts`), none is used
 * twice or free as well, and there are as many pages and records as the head of the file counts. What the records say is not
 * looked at; each has a checksum for that.
 */
import { readFreeLeaf } from './free-list.ts'
import {
  BIG,
  childOf,
  flagsOf,
  keyOf,
  type Limits,
  overflowOf,
  type Page,
  type Place,
  readPage,
  type TreeKind,
} from './page.ts'

const DEPTH_MAX = 30
export const NO_PAGE = 0xffffffffffffffffn

/**
 * Files of more pages than this, 256 MiB, are walked down to their branches only: that is a hundredth of them. A leaf of seventy records
 * takes 10 µs, and who opens a store reads most of its leaves anyway.
 */
export const LEAVES_MAX = 65_536

/** What the head of the file says of a tree. */
export interface Tree {
  readonly root: bigint
  readonly depth: number
  readonly flags: number
  readonly branchPages: bigint
  readonly leafPages: bigint
  readonly overflowPages: bigint
  readonly records: bigint
}

export interface Walked {
  /** What is wrong with the tree of what is stored; null: nothing. */
  readonly stored: string | null
  /** What is wrong with the tree of what is free. */
  readonly free: string | null
}

/** @param trees of what is free, and of what is stored */
export function walk(limits: Limits, [free, stored]: readonly [Tree, Tree]): Walked {
  const used = new Uint8Array(limits.lastPage + 1)
  const leavesToo = limits.lastPage <= LEAVES_MAX
  const storedFault = new Walk(limits, used, 'stored', leavesToo).tree(stored)
  return { stored: storedFault, free: new Walk(limits, used, 'free', true).tree(free) }
}

/** The leaf in this page, with the overflow pages it names, or what is wrong with it. */
export function readLeaf(limits: Limits, number: number, low: Buffer | null, high: Buffer | null): Page | string {
  return new Walk(limits, null, 'stored', true).leaf(number, { kind: 'stored', depth: 1, low, high })
}

class Walk {
  readonly #limits: Limits
  /** A 1 for each page that is used, or free; null: nobody counts. */
  readonly #used: Uint8Array | null
  readonly #kind: TreeKind
  readonly #leavesToo: boolean
  /** Pages that the tree of free pages names: they are taken when that tree's own are known. */
  readonly #named: number[] = []
  #branchPages = 0
  #leafPages = 0
  #overflowPages = 0
  #records = 0

  constructor(limits: Limits, used: Uint8Array | null, kind: TreeKind, leavesToo: boolean) {
    this.#limits = limits
    this.#used = used
    this.#kind = kind
    this.#leavesToo = leavesToo
  }

  tree(tree: Tree): string | null {
    const { root, depth } = tree
    if (root !== NO_PAGE) {
      if (depth < 1 || depth > DEPTH_MAX) return `a tree has a depth of ${depth}`
      const fault = this.page(Number(root), { kind: this.#kind, depth, low: null, high: null })
      if (fault !== null) return fault
    } else if (depth !== 0) return 'a tree has a depth and no root'
    for (const page of this.#named) if (!this.#take(page)) return `page ${page} is free and used`
    return this.#isComplete(tree) ? null : 'pages or records are missing'
  }

  #isComplete({ branchPages, leafPages, overflowPages, records }: Tree): boolean {
    if (BigInt(this.#branchPages) !== branchPages || BigInt(this.#leafPages) !== leafPages) return false
    return !this.#leavesToo || (BigInt(this.#overflowPages) === overflowPages && BigInt(this.#records) === records)
  }

  page(number: number, place: Place): string | null {
    if (!this.#take(number)) return `page ${number} is used twice`
    if (place.depth === 1) this.#leafPages++
    else this.#branchPages++
    // What lies below a large tree's branches is looked at later (leaf.ts), but for the first leaf: every start writes into it.
    if (place.depth === 1 && place.low !== null && !this.#leavesToo)
      return this.#isWithin(number) ? null : `a pointer leads to page ${number}`
    const page = readPage(this.#limits, number, place)
    if (typeof page === 'string') return page
    return place.depth > 1 ? this.#children(page, place) : this.#leaf(page)
  }

  leaf(number: number, place: Place): Page | string {
    const page = readPage(this.#limits, number, place)
    return typeof page === 'string' ? page : (this.#leaf(page) ?? page)
  }

  #children({ bytes, nodes }: Page, { kind, depth, low, high }: Place): string | null {
    for (let i = 0; i < nodes.length; i++) {
      const next = nodes[i + 1]
      const fault = this.page(childOf(bytes, nodes[i]!), {
        kind,
        depth: depth - 1,
        low: i === 0 ? low : keyOf(bytes, nodes[i]!),
        high: next === undefined ? high : keyOf(bytes, next),
      })
      if (fault !== null) return fault
    }
    return null
  }

  #leaf(page: Page): string | null {
    this.#records += page.nodes.length
    for (const node of page.nodes) {
      if (flagsOf(page.bytes, node) !== BIG) continue
      const overflow = overflowOf(this.#limits, page.bytes, node)
      if (typeof overflow === 'string') return overflow
      this.#overflowPages += overflow.pages
      for (let number = overflow.first; number < overflow.first + overflow.pages; number++)
        if (!this.#take(number)) return `page ${number} is used twice`
    }
    if (this.#kind === 'stored') return null
    return readFreeLeaf(this.#limits, page, (number) => {
      this.#named.push(number)
      return this.#named.length <= this.#limits.lastPage ? null : 'more pages than there are'
    })
  }

  #isWithin(number: number): boolean {
    return number >= 2 && number <= this.#limits.lastPage
  }

  /** False where it is taken already. */
  #take(number: number): boolean {
    if (this.#used === null || !this.#isWithin(number)) return true
    if (this.#used[number] === 1) return false
    this.#used[number] = 1
    return true
  }
}
