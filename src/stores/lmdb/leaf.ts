/**
 * Looks at one leaf of the tree of a file in use: the one on the way to a key, from the root of the newest transaction down. It reads
 * the file and not LMDB's mapping, so a page that makes no sense does no harm.
 *
 * LMDB never writes into pages of the newest transaction, nor of the two before it: what is read is of one piece as long as no more
 * than two transactions have ended since.
 */
import type { LookedAt } from '../embedded/engine.ts'
import { type Head, newestHead } from './head.ts'
import { childOf, compareKeys, keyOf, readPage } from './page.ts'
import { leafFault, NO_PAGE } from './structure.ts'

/** Transactions that may end while a leaf is looked at. */
const LATER_MAX = 2n
const TRIES_MAX = 5

/** Null when the file changes too fast to say anything. */
export function lookAtLeaf(fd: number, pageBytes: number, from: Buffer): LookedAt | null {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const head = newestHead(fd, pageBytes)
    if (head === null) return { fault: 'it does not begin as a data file does', next: null }
    const found = descend(fd, pageBytes, head, from)
    const later = newestHead(fd, pageBytes)
    if (later !== null && later.transaction - head.transaction <= LATER_MAX) return found
  }
  return null
}

function descend(fd: number, pageBytes: number, head: Head, from: Buffer): LookedAt {
  const { root, depth } = head.trees[1]
  let low: Buffer | null = null
  /** Where the next leaf begins. */
  let high: Buffer | null = null
  let number = Number(root)
  if (root === NO_PAGE) return { fault: null, next: null }
  const limits = { fd, pageBytes, lastPage: Number(head.lastPage), transaction: head.transaction }
  for (let level = depth; level > 1; level--) {
    const page = readPage(limits, number, { kind: 'stored', depth: level, low, high })
    if (typeof page === 'string') return { fault: page, next: high }
    const { bytes, nodes } = page
    // The first child takes everything before the second, whatever its key says.
    let child = 0
    while (child + 1 < nodes.length && compareKeys(from, keyOf(bytes, nodes[child + 1]!), 'stored') >= 0) child++
    const after = nodes[child + 1]
    if (after !== undefined) high = keyOf(bytes, after)
    if (child > 0) low = keyOf(bytes, nodes[child]!)
    number = childOf(bytes, nodes[child]!)
  }
  return { fault: leafFault(limits, number, low, high), next: high }
}
