/**
 * What the tree of free pages says: for each transaction, the pages that became free in it. LMDB writes into them without
 * looking, so one page too many is one that somebody's messages lie in.
 *
 *     value  u64 count, then as many i64: the number of a page; or minus how many pages, then the number of the first; or 0, nothing
 */
import { dataOf, keyOf, type Limits, type Page } from './page.ts'

const WORD = 8

/** Calls `free` for each page that a leaf of that tree names. Null, or what is wrong. */
export function readFreeLeaf(
  limits: Limits,
  { bytes, nodes }: Page,
  free: (page: number) => string | null,
): string | null {
  for (const node of nodes) {
    const transaction = keyOf(bytes, node).readBigUInt64LE(0)
    const data = dataOf(limits, bytes, node)
    if (typeof data === 'string') return data
    const fault =
      transaction < 1n || transaction > limits.transaction
        ? 'a transaction that never was'
        : readRecord(data, limits.lastPage, free)
    if (fault !== null) return `the list of free pages names ${fault}`
  }
  return null
}

function readRecord(data: Buffer, lastPage: number, free: (page: number) => string | null): string | null {
  const words = data.length / WORD
  if (words < 1 || !Number.isInteger(words)) return 'no pages'
  const count = data.readBigUInt64LE(0)
  if (count > BigInt(words - 1)) return 'more pages than it has'
  for (let i = 1; i <= Number(count); i++) {
    let first = Number(data.readBigInt64LE(i * WORD))
    let pages = 1
    if (first === 0) continue
    if (first < 0) {
      pages = -first
      // The number of the first page follows.
      if (++i > Number(count)) return 'pages without a number'
      first = Number(data.readBigInt64LE(i * WORD))
    }
    if (first < 2 || first + pages - 1 > lastPage) return `page ${first}`
    for (let page = first; page < first + pages; page++) {
      const fault = free(page)
      if (fault !== null) return fault
    }
  }
  return null
}
