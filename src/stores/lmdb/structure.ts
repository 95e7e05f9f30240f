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

const HEADER = 24
const NODE = 8
const BRANCH = 1
const LEAF = 2
const OVERFLOW = 4
const KIND = 0x0f
const BIG = 1
const DEPTH_MAX = 30
const NO_PAGE = 0xffffffffffffffffn

/** Files of more pages than this are walked down to their branches only: that is a hundredth of them. */
const LEAVES_MAX = 16_384

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
  return new Walk(fd, pageBytes, lastPage, transaction).trees(trees)
}

class Walk {
  readonly #fd: number
  readonly #pageBytes: number
  readonly #lastPage: number
  /** The newest transaction: no page can be of a later one. */
  readonly #transaction: bigint
  readonly #leavesToo: boolean
  readonly #seen = new Set<number>()

  constructor(fd: number, pageBytes: number, lastPage: number, transaction: bigint) {
    this.#fd = fd
    this.#pageBytes = pageBytes
    this.#lastPage = lastPage
    this.#transaction = transaction
    this.#leavesToo = lastPage <= LEAVES_MAX
  }

  trees(trees: readonly Tree[]): string | null {
    for (const { root, depth } of trees) {
      if (root === NO_PAGE) {
        if (depth !== 0) return 'a tree has a depth and no root'
        continue
      }
      if (depth < 1 || depth > DEPTH_MAX) return `a tree has a depth of ${depth}`
      const fault = this.#page(Number(root), depth)
      if (fault !== null) return fault
    }
    return null
  }

  /** @param depth levels from this page down, itself included */
  #page(number: number, depth: number): string | null {
    if (number < 2 || number > this.#lastPage) return `a pointer leads to page ${number}`
    if (this.#seen.has(number)) return `page ${number} is used twice`
    this.#seen.add(number)
    const bytes = Buffer.allocUnsafe(this.#pageBytes)
    if (fs.readSync(this.#fd, bytes, 0, this.#pageBytes, number * this.#pageBytes) < this.#pageBytes)
      return `page ${number} is missing`
    const wrong = (): string => `page ${number} is not what it should be`
    if (bytes.readBigUInt64LE(0) !== BigInt(number) || bytes.readBigUInt64LE(8) > this.#transaction) return wrong()
    if ((bytes.readUInt16LE(18) & KIND) !== (depth > 1 ? BRANCH : LEAF)) return wrong()
    const room = this.#pageBytes - HEADER
    const lower = bytes.readUInt16LE(20)
    const upper = bytes.readUInt16LE(22)
    if (lower > upper || upper > room || (lower & 1) === 1) return wrong()
    const count = lower >>> 1
    if (count === 0 || (depth > 1 && count < 2)) return wrong()
    for (let i = 0; i < count; i++) {
      const at = bytes.readUInt16LE(HEADER + 2 * i)
      if (at < upper || at + NODE > room) return wrong()
      const node = HEADER + at
      const keyEnd = at + NODE + bytes.readUInt16LE(node + 6)
      if (keyEnd > room) return wrong()
      const low = bytes.readUInt16LE(node) + bytes.readUInt16LE(node + 2) * 0x10000
      const flags = bytes.readUInt16LE(node + 4)
      let fault: string | null = null
      if (depth > 1) {
        // Leaves below a large tree are left to LMDB and the checksums.
        if (depth > 2 || this.#leavesToo) fault = this.#page(low + flags * 0x100000000, depth - 1)
      } else if (flags === BIG) {
        if (keyEnd + 8 > room) return wrong()
        fault = this.#overflow(bytes.readBigUInt64LE(node + NODE + bytes.readUInt16LE(node + 6)), low)
      } else if (flags !== 0 || keyEnd + low > room) {
        return wrong()
      }
      if (fault !== null) return fault
    }
    return null
  }

  #overflow(page: bigint, dataBytes: number): string | null {
    const number = Number(page)
    if (number < 2 || number > this.#lastPage) return `a pointer leads to page ${number}`
    const head = Buffer.alloc(HEADER)
    fs.readSync(this.#fd, head, 0, HEADER, number * this.#pageBytes)
    const pages = head.readUInt32LE(20)
    const isRight =
      head.readBigUInt64LE(0) === page &&
      head.readBigUInt64LE(8) <= this.#transaction &&
      (head.readUInt16LE(18) & KIND) === OVERFLOW &&
      number + pages - 1 <= this.#lastPage &&
      dataBytes <= pages * this.#pageBytes - HEADER
    return isRight ? null : `page ${number} is not what it should be`
  }
}
