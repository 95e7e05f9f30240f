/**
 * Looks at one leaf of the tree of a file in use: the one on the way to a key, from the root of the newest transaction down. It reads
 * the file and not LMDB's mapping, so a page that makes no sense does no harm.
 *
 * LMDB never writes into pages of the newest transaction, nor of the two before it: what is read is of one piece as long as no more
 * than two transactions have ended since.
 */
import type { Entry, LookedAt } from '../embedded/engine.ts'
import { type Head, newestHead } from './head.ts'
import { childOf, compareKeys, dataOf, keyOf, type Limits, type Page, readPage } from './page.ts'
import { NO_PAGE, readLeaf } from './structure.ts'

/** Transactions that may end while a leaf is looked at. */
const LATER_MAX = 2n
const TRIES_MAX = 5
/** Bytes of values from which on the rest of a leaf is another part. */
const PART_BYTES = 256 * 1024

/** Null when the file changes too fast to say anything. */
export function lookAtLeaf(fd: number, pageBytes: number, from: Buffer): LookedAt | null {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const head = newestHead(fd, pageBytes)
    if (head === null) return { fault: 'it does not begin as a data file does', next: null, records: [] }
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
  if (root === NO_PAGE) return { fault: null, next: null, records: [] }
  const limits = { fd, pageBytes, lastPage: Number(head.lastPage), transaction: head.transaction }
  for (let level = depth; level > 1; level--) {
    const page = readPage(limits, number, { kind: 'stored', depth: level, low, high })
    if (typeof page === 'string') return { fault: page, next: high, records: [] }
    const { bytes, nodes } = page
    // The first child takes everything before the second, whatever its key says.
    let child = 0
    while (child + 1 < nodes.length && compareKeys(from, keyOf(bytes, nodes[child + 1]!), 'stored') >= 0) child++
    const after = nodes[child + 1]
    if (after !== undefined) high = keyOf(bytes, after)
    if (child > 0) low = keyOf(bytes, nodes[child]!)
    number = childOf(bytes, nodes[child]!)
  }
  const leaf = readLeaf(limits, number, low, high)
  return typeof leaf === 'string' ? { fault: leaf, next: high, records: [] } : partOf(limits, leaf, from, high)
}

/** The records of a leaf from a key on, as many as make a part. */
function partOf(limits: Limits, { bytes, nodes }: Page, from: Buffer, high: Buffer | null): LookedAt {
  const records: Entry[] = []
  let read = 0
  for (const node of nodes) {
    const key = keyOf(bytes, node)
    if (compareKeys(key, from, 'stored') < 0) continue
    if (read >= PART_BYTES) return { fault: null, next: key, records }
    const value = dataOf(limits, bytes, node)
    if (typeof value === 'string') return { fault: value, next: high, records: [] }
    records.push({ key, value })
    read += value.length
  }
  return { fault: null, next: high, records }
}
