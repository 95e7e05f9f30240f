/**
 * The head of a data file: two pages, of which a transaction writes the one of its parity, so that the other still tells what was
 * before. They carry no checksum; that a head is right is seen from its fields, and from the roots it names.
 *
 *     u64 number  u64  u16  u16 kind 8  u32      24: magic u32  version u32  u64  u64 size of the mapping
 *     48: the tree of what is free, 96: that of what is stored:
 *         u32 page size (in the first)  u16 flags  u16 depth  u64 branch pages, leaf pages, overflow pages, records, root
 *     144: last page u64  transaction u64  u64      (LMDB 1.0 format 2, little-endian)
 */
import fs from 'node:fs'
import { NO_PAGE, type Tree } from './structure.ts'

const HEAD_BYTES = 168
const META = 8
const MAGIC = 0xbeefc0de
const FORMAT = 2
/** Keys are numbers; the file has no folder of its own. */
const FREE_FLAGS = [0x4008, 0x0008]
const FREE = 48
const STORED = 96
/** LMDB may leave its last pages unwritten when nothing uses them; more than this is not that. */
const MISSING_BYTES_MAX = 64 * 1024 * 1024

export interface Head {
  /** The page it stands in: 0 or 1. */
  readonly slot: number
  readonly bytes: Buffer
  /** Of what is free, and of what is stored. */
  readonly trees: readonly [Tree, Tree]
  readonly lastPage: bigint
  readonly transaction: bigint
}

/** Both heads; null for what cannot be one. */
export function readHeads(fd: number, pageBytes: number): readonly [Head | null, Head | null] {
  return [readHead(fd, pageBytes, 0), readHead(fd, pageBytes, 1)]
}

/** The newer of the two; null: one is none. */
export function newestHead(fd: number, pageBytes: number): Head | null {
  const [first, second] = readHeads(fd, pageBytes)
  if (first === null || second === null) return null
  return first.transaction > second.transaction ? first : second
}

function readHead(fd: number, pageBytes: number, slot: number): Head | null {
  const bytes = Buffer.alloc(HEAD_BYTES)
  if (fs.readSync(fd, bytes, 0, HEAD_BYTES, slot * pageBytes) < HEAD_BYTES) return null
  const isHead =
    bytes.readBigUInt64LE(0) === BigInt(slot) &&
    bytes.readUInt16LE(18) === META &&
    bytes.readUInt32LE(24) === MAGIC &&
    bytes.readUInt32LE(28) === FORMAT &&
    bytes.readUInt32LE(FREE) === pageBytes
  if (!isHead) return null
  const trees = [treeAt(bytes, FREE), treeAt(bytes, STORED)] as const
  const lastPage = bytes.readBigUInt64LE(144)
  const transaction = bytes.readBigUInt64LE(152)
  if (!FREE_FLAGS.includes(trees[0].flags) || trees[1].flags !== 0) return null
  const isThere = (lastPage + 1n) * BigInt(pageBytes) <= BigInt(fs.fstatSync(fd).size + MISSING_BYTES_MAX)
  if (lastPage < 1n || !isThere) return null
  // Before the first transaction both heads are the same.
  if (transaction !== 0n && Number(transaction & 1n) !== slot) return null
  return { slot, bytes, trees, lastPage, transaction }
}

function treeAt(bytes: Buffer, at: number): Tree {
  return {
    flags: bytes.readUInt16LE(at + 4),
    depth: bytes.readUInt16LE(at + 6),
    branchPages: bytes.readBigUInt64LE(at + 8),
    leafPages: bytes.readBigUInt64LE(at + 16),
    overflowPages: bytes.readBigUInt64LE(at + 24),
    records: bytes.readBigUInt64LE(at + 32),
    root: bytes.readBigUInt64LE(at + 40),
  }
}

/** Whether the roots it names are those of its transaction: each of ours writes into the tree of what is stored. */
export function namesItsRoots(fd: number, pageBytes: number, { trees, transaction }: Head): boolean {
  const [free, stored] = trees.map(({ root }) => transactionOf(fd, pageBytes, root))
  if (transaction === 0n) return free === null && stored === null
  return stored === transaction && (free === null || (free !== undefined && free <= transaction))
}

/** The transaction of a page; null: there is no page; undefined: it cannot be a page. */
function transactionOf(fd: number, pageBytes: number, page: bigint): bigint | null | undefined {
  if (page === NO_PAGE) return null
  const bytes = Buffer.alloc(16)
  if (page > BigInt(fs.fstatSync(fd).size)) return undefined
  const read = fs.readSync(fd, bytes, 0, 16, Number(page) * pageBytes)
  return read < 16 || bytes.readBigUInt64LE(0) !== page ? undefined : bytes.readBigUInt64LE(8)
}

/** The head as it is, without its tree of free pages. */
export function withoutFreePages({ bytes }: Head): Buffer {
  const copy = Buffer.from(bytes)
  // Page size and flags stay.
  copy.fill(0, FREE + 6, FREE + 40)
  copy.writeBigUInt64LE(NO_PAGE, FREE + 40)
  return copy
}

/** What stands in the other page if this is the newer one and the other is not needed. */
export function before({ slot, transaction }: Head, bytes: Buffer): Buffer {
  const copy = Buffer.from(bytes)
  copy.writeBigUInt64LE(BigInt(1 - slot), 0)
  copy.writeBigUInt64LE(transaction === 0n ? 0n : transaction - 1n, 152)
  return copy
}
