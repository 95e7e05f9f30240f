/** How the data file is opened, by the store and by whatever writes a new one. */
import fs from 'node:fs'
import { open, type RootDatabase } from 'lmdb'
import type { Entry } from '../embedded/engine.ts'

export type Database = RootDatabase<Buffer, Buffer>

/** Address space reserved at first; LMDB maps more by itself when the file outgrows it. */
const MAP_BYTES = 64 * 1024 ** 3
export const PAGE_BYTES = 4096

/** A copy is written in transactions of this many records or bytes, whichever comes first. */
const COPY_RECORDS = 20_000
const COPY_BYTES = 16 * 1024 * 1024

export function openDatabase(file: string): Database {
  return open<Buffer, Buffer>({
    path: file,
    noSubdir: true,
    encoding: 'binary',
    keyEncoding: 'binary',
    mapSize: MAP_BYTES,
    pageSize: PAGE_BYTES,
    overlappingSync: false,
    eventTurnBatching: false,
    noMemInit: true,
    maxDbs: 1,
    maxReaders: 64,
  } as Parameters<typeof open>[0])
}

/** Bytes of the file, and how many of them hold nothing. */
export function spaceOf(db: Database): { bytes: number; freeBytes: number } {
  interface Tree {
    treeBranchPageCount: number
    treeLeafPageCount: number
    overflowPages: number
  }
  const { lastPageNumber, root, free } = db.getStats() as { lastPageNumber: number; root: Tree; free: Tree }
  const pages = (tree: Tree): number => tree.treeBranchPageCount + tree.treeLeafPageCount + tree.overflowPages
  const all = lastPageNumber + 1
  // Two pages are the file's head.
  return { bytes: all * PAGE_BYTES, freeBytes: Math.max(0, all - 2 - pages(root) - pages(free)) * PAGE_BYTES }
}

/** Writes a file of its own with these records, packed; resolves when it would survive a power loss. */
export async function writeFile(file: string, entries: Iterable<Entry>): Promise<void> {
  removeFile(file)
  const db = openDatabase(file)
  try {
    const source = entries[Symbol.iterator]()
    let last: Buffer | null = null
    for (let next = source.next(); !next.done; ) {
      db.transactionSync(() => {
        let bytes = 0
        for (let n = 0; n < COPY_RECORDS && bytes < COPY_BYTES && !next.done; n++) {
          const { key, value } = next.value
          // Appending packs pages; it takes keys in order.
          const append: boolean = last === null || last.compare(key) < 0
          db.putSync(key, value, { append })
          if (append) last = key
          bytes += value.length
          next = source.next()
        }
      })
    }
  } finally {
    await db.close()
  }
  const fd = fs.openSync(file, 'r+')
  try {
    fs.fsyncSync(fd)
  } finally {
    fs.closeSync(fd)
  }
}

/** Removes a data file and its lock file, if they are there. */
export function removeFile(file: string): void {
  fs.rmSync(file, { force: true })
  fs.rmSync(`${file}-lock`, { force: true })
}
