/**
 * Reads one page of a tree and says whether LMDB could have written it. LMDB follows what its pages say without a doubt, so every
 * number it would follow is looked at.
 *
 *     page   u64 number  u64 transaction  u16 pad  u16 kind  u16 lower  u16 upper (overflow: u32 pages)   24 bytes
 *            offsets of the nodes, u16 each, counted from byte 24, as lower and upper are; from upper on node lies beside node
 *     node   u16 u16 u16 flags u16 key length, key, data, to an even length   branch: the first three are the child's page number
 *            leaf: the first two are the length of the data, flag 1: it lies in overflow pages and here stand
 *            u64 first page  u64 transaction  u64 pages
 *     (LMDB 1.0 format 2, little-endian)
 */
import fs from 'node:fs'

export const HEADER = 24
export const NODE = 8
export const BIG = 1
/** What a node says of data in overflow pages. */
export const OVERFLOW_NODE = 24
const BRANCH = 1
const LEAF = 2
const OVERFLOW = 4
/** The longest key that LMDB takes at our page size. */
const KEY_BYTES_MAX = 1978

/** The tree of what is stored has keys of bytes; that of what is free the numbers of transactions, little-endian. */
export type TreeKind = 'stored' | 'free'
const FREE_KEY_BYTES = 8

/** The file, and what bounds what its pages can say. */
export interface Limits {
  readonly fd: number
  readonly pageBytes: number
  readonly lastPage: number
  /** The newest transaction: no page can be of a later one. */
  readonly transaction: bigint
}

/** Where a page stands in its tree. */
export interface Place {
  readonly kind: TreeKind
  /** Levels from this page down, itself included: 1 is a leaf. */
  readonly depth: number
  /** All keys are at or after `low` and before `high`; null: no bound. */
  readonly low: Buffer | null
  readonly high: Buffer | null
}

/** A page and where its nodes begin in it. */
export interface Page {
  readonly bytes: Buffer
  readonly nodes: readonly number[]
}

/** The page, or what is wrong with it. */
export function readPage(limits: Limits, number: number, place: Place): Page | string {
  const { fd, pageBytes, lastPage } = limits
  if (!(number >= 2 && number <= lastPage)) return `a pointer leads to page ${number}`
  const bytes = Buffer.allocUnsafe(pageBytes)
  if (fs.readSync(fd, bytes, 0, pageBytes, number * pageBytes) < pageBytes) return `page ${number} is missing`
  const nodes = isHead(bytes, number, place.depth > 1 ? BRANCH : LEAF, limits) ? nodesOf(bytes, place) : null
  return nodes !== null && areInOrder(bytes, nodes, place) ? { bytes, nodes } : unlike(number)
}

export const unlike = (number: number): string => `page ${number} is not what it should be`

/** Page number of a child. */
export const childOf = (bytes: Buffer, node: number): number =>
  bytes.readUInt16LE(node) + bytes.readUInt16LE(node + 2) * 0x10000 + bytes.readUInt16LE(node + 4) * 0x100000000

export const dataBytesOf = (bytes: Buffer, node: number): number =>
  bytes.readUInt16LE(node) + bytes.readUInt16LE(node + 2) * 0x10000

export const flagsOf = (bytes: Buffer, node: number): number => bytes.readUInt16LE(node + 4)
export const keyBytesOf = (bytes: Buffer, node: number): number => bytes.readUInt16LE(node + 6)
export const keyOf = (bytes: Buffer, node: number): Buffer =>
  bytes.subarray(node + NODE, node + NODE + keyBytesOf(bytes, node))

/** The overflow pages of a leaf's node, or what is wrong with them. */
export function overflowOf(limits: Limits, bytes: Buffer, node: number): { first: number; pages: number } | string {
  const at = node + NODE + keyBytesOf(bytes, node)
  const first = Number(bytes.readBigUInt64LE(at))
  const pages = bytes.readBigUInt64LE(at + 16)
  if (!(first >= 2 && first <= limits.lastPage)) return `a pointer leads to page ${first}`
  const head = Buffer.alloc(HEADER)
  fs.readSync(limits.fd, head, 0, HEADER, first * limits.pageBytes)
  const isRight =
    isHead(head, first, OVERFLOW, limits) &&
    head.readBigUInt64LE(8) === bytes.readBigUInt64LE(at + 8) &&
    BigInt(head.readUInt32LE(20)) === pages &&
    first + Number(pages) - 1 <= limits.lastPage &&
    dataBytesOf(bytes, node) <= Number(pages) * limits.pageBytes - HEADER
  return isRight ? { first, pages: Number(pages) } : unlike(first)
}

/** The data of a leaf's node, or what is wrong with the pages it lies in. */
export function dataOf(limits: Limits, bytes: Buffer, node: number): Buffer | string {
  const length = dataBytesOf(bytes, node)
  const at = node + NODE + keyBytesOf(bytes, node)
  if (flagsOf(bytes, node) !== BIG) return bytes.subarray(at, at + length)
  const overflow = overflowOf(limits, bytes, node)
  if (typeof overflow === 'string') return overflow
  const value = Buffer.alloc(length)
  fs.readSync(limits.fd, value, 0, length, overflow.first * limits.pageBytes + HEADER)
  return value
}

function isHead(bytes: Buffer, number: number, kind: number, { transaction }: Limits): boolean {
  const own = bytes.readBigUInt64LE(8)
  return (
    bytes.readBigUInt64LE(0) === BigInt(number) && own >= 1n && own <= transaction && bytes.readUInt16LE(18) === kind
  )
}

/** Lengths of a page's nodes, by half of where they begin; zero between two pages. */
const lengths = new Uint16Array(32_768)

/** Where the nodes begin; null where they do not lie side by side, from `upper` to the end of the page. */
function nodesOf(bytes: Buffer, { kind, depth }: Place): number[] | null {
  const room = bytes.length - HEADER
  const lower = bytes.readUInt16LE(20)
  const upper = bytes.readUInt16LE(22)
  const count = lower >>> 1
  if (lower > upper || upper > room || (lower & 1) === 1 || count < (depth > 1 ? 2 : 1)) return null
  const nodes: number[] = []
  let taken = 0
  for (let i = 0; i < count; i++) {
    const offset = bytes.readUInt16LE(HEADER + 2 * i)
    if (offset < upper || offset + NODE > room || (offset & 1) === 1) return null
    const node = HEADER + offset
    const length = lengthOf(bytes, node, kind, depth, i)
    if (length === null || offset + length > room) return null
    nodes.push(node)
    taken += length
  }
  if (taken !== room - upper) return null
  // Together they fill the room. Where none begins within another each begins where one ends.
  for (const node of nodes) lengths[node >> 1] = lengthOf(bytes, node, kind, depth, 0)!
  let found = 0
  let at = HEADER + upper
  for (let length = lengths[at >> 1]!; length > 0; length = lengths[at >> 1] ?? 0) {
    lengths[at >> 1] = 0
    at += length
    found++
  }
  for (const node of nodes) lengths[node >> 1] = 0
  if (found !== nodes.length) return null
  return nodes
}

/** Bytes of a node, with the one that makes them even; null where it is none. */
function lengthOf(bytes: Buffer, node: number, kind: TreeKind, depth: number, index: number): number | null {
  const keyBytes = keyBytesOf(bytes, node)
  // The first key of a branch is never looked at, and mostly left out.
  const isOptional = depth > 1 && index === 0
  if (keyBytes > KEY_BYTES_MAX || (keyBytes === 0 && !isOptional)) return null
  if (kind === 'free' && keyBytes !== FREE_KEY_BYTES && keyBytes !== 0) return null
  const flags = flagsOf(bytes, node)
  let length = NODE + keyBytes
  if (depth === 1) {
    if (flags !== 0 && flags !== BIG) return null
    length += flags === BIG ? OVERFLOW_NODE : dataBytesOf(bytes, node)
  }
  return length + (length & 1)
}

/** Keys rise, within the bounds that the branch above gives. */
function areInOrder(bytes: Buffer, nodes: readonly number[], { kind, depth, low, high }: Place): boolean {
  const from = depth > 1 ? 1 : 0
  for (let i = from + 1; i < nodes.length; i++) {
    if (compareNodes(bytes, nodes[i - 1]!, nodes[i]!, kind) >= 0) return false
  }
  const first = nodes[from]
  if (first === undefined) return true
  if (low !== null && compareKeys(keyOf(bytes, first), low, kind) < (depth > 1 ? 1 : 0)) return false
  return high === null || compareKeys(keyOf(bytes, nodes.at(-1)!), high, kind) < 0
}

/** Keys mostly differ early, where a loop costs less than a call out of JavaScript. */
const LOOP_BYTES = 24

function compareNodes(bytes: Buffer, a: number, b: number, kind: TreeKind): number {
  if (kind === 'free') return compareKeys(keyOf(bytes, a), keyOf(bytes, b), kind)
  const lengthA = keyBytesOf(bytes, a)
  const lengthB = keyBytesOf(bytes, b)
  const end = NODE + Math.min(lengthA, lengthB, LOOP_BYTES)
  for (let i = NODE; i < end; i++) {
    const difference = bytes[a + i]! - bytes[b + i]!
    if (difference !== 0) return difference
  }
  return bytes.compare(bytes, b + NODE, b + NODE + lengthB, a + NODE, a + NODE + lengthA)
}

export function compareKeys(a: Buffer, b: Buffer, kind: TreeKind): number {
  if (kind === 'stored') return a.compare(b)
  const left = a.readBigUInt64LE(0)
  const right = b.readBigUInt64LE(0)
  return left < right ? -1 : left > right ? 1 : 0
}
