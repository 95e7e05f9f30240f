/**
 * Looks at one leaf of the tree of a file in use: the one on the way to a key, from the root of the newest transaction down. It reads
 * the file and not LMDB's mapping, so a page that makes no sense does no harm.
 *
 * LMDB never writes into pages of the newest transaction, nor of the two before it: what is read is of one piece as long as no more
 * than two transactions have ended since.
 */
import type { LookedAt } from '../embedded/engine.ts'
import { type Meta, newestMeta } from './file.ts'
import { HEADER, leafFault, NO_PAGE, NODE, nodesOf } from './structure.ts'

/** Transactions that may end while a leaf is looked at. */
const LATER_MAX = 2n
const TRIES_MAX = 5

/** Null when the file changes too fast to say anything. */
export function lookAtLeaf(fd: number, pageBytes: number, from: Buffer): LookedAt | null {
  for (let tries = 0; tries < TRIES_MAX; tries++) {
    const meta = newestMeta(fd, pageBytes)
    if (meta === null) return { fault: 'it does not begin as a data file does', next: null }
    const found = descend(fd, pageBytes, meta, from)
    const later = newestMeta(fd, pageBytes)
    if (later !== null && later.transaction - meta.transaction <= LATER_MAX) return found
  }
  return null
}

function descend(fd: number, pageBytes: number, meta: Meta, from: Buffer): LookedAt {
  const { root, depth } = meta.trees[1]
  let next: Buffer | null = null
  let number = Number(root)
  if (root === NO_PAGE) return { fault: null, next }
  const limits = { fd, pageBytes, lastPage: Number(meta.lastPage), transaction: meta.transaction }
  for (let level = depth; level > 1; level--) {
    const nodes = nodesOf(limits, number, level)
    if (typeof nodes === 'string') return { fault: nodes, next }
    const { bytes, offsets } = nodes
    // The first child takes everything before the second, whatever its key says.
    let child = 0
    while (child + 1 < offsets.length && from.compare(keyAt(bytes, offsets[child + 1]!)) >= 0) child++
    const after = offsets[child + 1]
    if (after !== undefined) next = Buffer.from(keyAt(bytes, after))
    const node = HEADER + offsets[child]!
    const low = bytes.readUInt16LE(node) + bytes.readUInt16LE(node + 2) * 0x10000
    number = low + bytes.readUInt16LE(node + 4) * 0x100000000
  }
  return { fault: leafFault(limits, number), next }
}

function keyAt(page: Buffer, offset: number): Buffer {
  const node = HEADER + offset
  return page.subarray(node + NODE, node + NODE + page.readUInt16LE(node + 6))
}
