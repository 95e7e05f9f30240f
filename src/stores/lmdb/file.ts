/**
 * A look at the data file before LMDB maps it. LMDB trusts its file: a truncated one would end the process with SIGBUS instead of
 * an error, so what is missing at the end is filled up with nothing and a root page that says nothing is refused.
 *
 *     page 0 and page 1, at 24: magic u32, version u32, …, at 48 the tree of what is free, at 96 that of what is stored:
 *     u32 page size (in the first), u16 flags, u16 depth, four u64 counts, u64 root; at 144 last page u64, at 152 transaction u64 (LMDB 1.0 format 2, little-endian)
 */
import fs from 'node:fs'
import path from 'node:path'
import { SluiceError } from '../../errors.ts'
import { structuralFault, type Tree } from './structure.ts'

const MAGIC = 0xbeefc0de
const FORMAT = 2
const META_BYTES = 168
/** LMDB may leave its last pages unwritten when nothing uses them; more than this is not that. */
const MISSING_BYTES_MAX = 64 * 1024 * 1024

export interface Meta {
  pageBytes: number
  /** Of what is free, and of what is stored. */
  trees: [Tree, Tree]
  lastPage: bigint
  transaction: bigint
}

/** @throws SluiceError store_corrupt when the file is not, or no longer, what LMDB wrote. */
export function checkFile(file: string, pageBytes: number): void {
  const fd = fs.openSync(file, 'r')
  try {
    const size = fs.fstatSync(fd).size
    // Created and never written, say by a crash in between: LMDB begins it anew.
    if (size === 0) return
    const first = readMeta(fd, 0)
    const second = readMeta(fd, first?.pageBytes ?? pageBytes)
    if (first === null || second === null) throw damaged(file, 'it does not begin as a data file does')
    const latest = first.transaction > second.transaction ? first : second
    const missing = Number(latest.lastPage + 1n) * first.pageBytes - size
    if (missing > MISSING_BYTES_MAX) throw damaged(file, `${missing} bytes are missing at its end`)
    // Appended, not truncated to length: a process that has the file open may be making it longer at this moment.
    if (missing > 0) fs.appendFileSync(file, Buffer.alloc(missing))
    if (first.pageBytes !== pageBytes || second.pageBytes !== pageBytes)
      throw damaged(file, 'its pages have another size')
    const fault = structuralFault(fd, pageBytes, Number(latest.lastPage), latest.transaction, latest.trees)
    if (fault !== null) throw damaged(file, fault)
  } finally {
    fs.closeSync(fd)
  }
}

/** The newer of the two meta pages; null: one is none. */
export function newestMeta(fd: number, pageBytes: number): Meta | null {
  const first = readMeta(fd, 0)
  const second = readMeta(fd, pageBytes)
  if (first === null || second === null) return null
  return first.transaction > second.transaction ? first : second
}

function readMeta(fd: number, at: number): Meta | null {
  const bytes = Buffer.alloc(META_BYTES)
  if (fs.readSync(fd, bytes, 0, META_BYTES, at) < META_BYTES) return null
  if (bytes.readUInt32LE(24) !== MAGIC || (bytes.readUInt32LE(28) & 0xffff) !== FORMAT) return null
  return {
    pageBytes: bytes.readUInt32LE(48),
    trees: [treeAt(bytes, 48), treeAt(bytes, 96)],
    lastPage: bytes.readBigUInt64LE(144),
    transaction: bytes.readBigUInt64LE(152),
  }
}

function treeAt(bytes: Buffer, at: number): Tree {
  return {
    root: bytes.readBigUInt64LE(at + 40),
    depth: bytes.readUInt16LE(at + 6),
    flags: bytes.readUInt16LE(at + 4),
  }
}

export function damaged(file: string, why: string, cause?: unknown): SluiceError {
  return new SluiceError(
    'store_corrupt',
    `${file} is damaged: ${why}. Move it away and restore a backup, or start with an empty directory.`,
    { cause },
  )
}

/** Gives the file a second name, under which it stays when another takes its place. */
export function keepAs(file: string, name: string): void {
  const { ino } = fs.statSync(file)
  const { dir, name: base, ext } = path.parse(name)
  for (let n = 1; ; n++) {
    const free = n === 1 ? name : path.join(dir, `${base}-${n}${ext}`)
    const there = fs.statSync(free, { throwIfNoEntry: false })
    if (there?.ino === ino) return
    if (there === undefined) return fs.linkSync(file, free)
  }
}

/** Makes the entry of a file just created survive power loss. */
export function syncDirectory(dir: string): void {
  for (const each of [dir, path.dirname(path.resolve(dir))]) {
    const fd = fs.openSync(each, 'r')
    try {
      fs.fsyncSync(fd)
    } catch {
      // Some file systems do not sync directories; they have no need to.
    } finally {
      fs.closeSync(fd)
    }
  }
}
