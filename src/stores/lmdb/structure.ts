/**
 * Walks the pages of a data file before LMDB maps it: LMDB follows pointers without a doubt, and a wrong one would end the process.
 * What the pages say is not looked at here; each record has a checksum for that.
 *
 *     page   u64 number  u64 transaction  u16 pad  u16 flags  u16 lower  u16 upper (overflow: u32 pages)   24 bytes
 *            offsets of the nodes, u16 each, counted from byte 24, as lower and upper are
 *     node   u16 u16 u16 flags u16 key length, key, data   branch: the first three are the child's page number
 *            leaf: the first two are the length of the data, flag 1: it lies in overflow pages, of which 8 bytes name the first
 *     (LMDB 1.0 format 2, little-endian)
 */
import fs from 'node:fs'

export const HEADER = 24
export const NODE = 8
const BRANCH = 1
const LEAF = 2
const OVERFLOW = 4
/** Of the kinds beyond these (meta pages, and two for several values of one key) no tree of ours has any. */
const KIND = 0x6f
const BIG = 1
const DEPTH_MAX = 30
export const NO_PAGE = 0xffffffffffffffffn

/** Files of more pages than this are walked down to their branches only: that is a hundredth of them. */
export const LEAVES_MAX = 16_384

export interface Tree {
  readonly root: bigint
  readonly depth: number
  readonly flags: number
}

/** What is wrong with the pages of the trees; null: nothing. */
export function structuralFault(
  fd: number,
  pageBytes: number,
  lastPage: number,
  transaction: bigint,
  trees: readonly Tree[],
): string | null {
  return new Walk({ fd, pageBytes, lastPage, transaction }).trees(trees)
}

/** The file, and what bounds what its pages can say. */
export interface Limits {
  readonly fd: number
  readonly pageBytes: number
  readonly lastPage: number
  /** The newest transaction: no page can be of a later one. */
  readonly transaction: bigint
}

/** What is wrong with the leaf in this page; null: nothing. */
export function leafFault(limits: Limits, number: number): string | null {
  return new Walk(limits).page(number, 1)
}

/** The page and where its nodes lie, or what is wrong with it. @param depth levels from this page down, itself included */
export function nodesOf(limits: Limits, number: number, depth: number): { bytes: Buffer; offsets: number[] } | string {
  const { fd, pageBytes, lastPage, transaction } = limits
  if (number < 2 || number > lastPage) return `a pointer leads to page ${number}`
  const bytes = Buffer.allocUnsafe(pageBytes)
  if (fs.readSync(fd, bytes, 0, pageBytes, number * pageBytes) < pageBytes) return `page ${number} is missing`
  const wrong = `page ${number} is not what it should be`
  if (bytes.readBigUInt64LE(0) !== BigInt(number) || bytes.readBigUInt64LE(8) > transaction) return wrong
  if ((bytes.readUInt16LE(18) & KIND) !== (depth > 1 ? BRANCH : LEAF)) return wrong
  const room = pageBytes - HEADER
  const lower = bytes.readUInt16LE(20)
  const upper = bytes.readUInt16LE(22)
  if (lower > upper || upper > room || (lower & 1) === 1) return wrong
  const count = lower >>> 1
  if (count === 0 || (depth > 1 && count < 2)) return wrong
  const offsets: number[] = []
  for (let i = 0; i < count; i++) {
    const at = bytes.readUInt16LE(HEADER + 2 * i)
    if (at < upper || at + NODE > room || at + NODE + bytes.readUInt16LE(HEADER + at + 6) > room) return wrong
    offsets.push(at)
  }
  return lieApart(bytes, offsets, room, depth) ? { bytes, offsets } : wrong
}

/** No node begins within another: then no pointer leads to anything but a node. */
function lieApart(bytes: Buffer, offsets: readonly number[], room: number, depth: number): boolean {
  let end = 0
  for (const at of [...offsets].sort((a, b) => a - b)) {
    if (at < end) return false
    const node = HEADER + at
    end = at + NODE + bytes.readUInt16LE(node + 6)
    if (depth > 1) continue
    const isBig = bytes.readUInt16LE(node + 4) === BIG
    end += isBig ? 8 : bytes.readUInt16LE(node) + bytes.readUInt16LE(node + 2) * 0x10000
  }
  return end <= room
}

class Walk {
  readonly #limits: Limits
  readonly #leavesToo: boolean
  readonly #seen = new Set<number>()

  constructor(limits: Limits) {
    this.#limits = limits
    this.#leavesToo = limits.lastPage <= LEAVES_MAX
  }

  trees(trees: readonly Tree[]): string | null {
    for (const { root, depth } of trees) {
      if (root === NO_PAGE) {
        if (depth !== 0) return 'a tree has a depth and no root'
        continue
      }
      if (depth < 1 || depth > DEPTH_MAX) return `a tree has a depth of ${depth}`
      const fault = this.page(Number(root), depth)
      if (fault !== null) return fault
    }
    return null
  }

  /** @param depth levels from this page down, itself included */
  page(number: number, depth: number): string | null {
    if (this.#seen.has(number)) return `page ${number} is used twice`
    this.#seen.add(number)
    const nodes = nodesOf(this.#limits, number, depth)
    if (typeof nodes === 'string') return nodes
    const { bytes, offsets } = nodes
    const room = this.#limits.pageBytes - HEADER
    for (const at of offsets) {
      const node = HEADER + at
      const keyEnd = at + NODE + bytes.readUInt16LE(node + 6)
      const low = bytes.readUInt16LE(node) + bytes.readUInt16LE(node + 2) * 0x10000
      const flags = bytes.readUInt16LE(node + 4)
      let fault: string | null = null
      if (depth > 1) {
        // Leaves below a large tree are looked at later (leaf.ts).
        if (depth > 2 || this.#leavesToo) fault = this.page(low + flags * 0x100000000, depth - 1)
      } else if (flags === BIG) {
        if (keyEnd + 8 > room) return `page ${number} is not what it should be`
        fault = this.#overflow(bytes.readBigUInt64LE(node + NODE + bytes.readUInt16LE(node + 6)), low)
      } else if (flags !== 0 || keyEnd + low > room) {
        return `page ${number} is not what it should be`
      }
      if (fault !== null) return fault
    }
    return null
  }

  #overflow(page: bigint, dataBytes: number): string | null {
    const { fd, pageBytes, lastPage, transaction } = this.#limits
    const number = Number(page)
    if (number < 2 || number > lastPage) return `a pointer leads to page ${number}`
    const head = Buffer.alloc(HEADER)
    fs.readSync(fd, head, 0, HEADER, number * pageBytes)
    const pages = head.readUInt32LE(20)
    const isRight =
      head.readBigUInt64LE(0) === page &&
      head.readBigUInt64LE(8) <= transaction &&
      (head.readUInt16LE(18) & KIND) === OVERFLOW &&
      number + pages - 1 <= lastPage &&
      dataBytes <= pages * pageBytes - HEADER
    return isRight ? null : `page ${number} is not what it should be`
  }
}
