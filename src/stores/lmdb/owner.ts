/**
 * One process per data directory. LMDB's reader table says which processes have the file open, each of them vouched for by a
 * lock of the kernel that ends with the process, however it ends. Within a write transaction, which processes take in
 * turn, the newcomer looks for the owner named in the file and takes its place only if it is gone.
 */
import fs from 'node:fs'
import path from 'node:path'
import type { RootDatabase } from 'lmdb'
import { SluiceError } from '../../errors.ts'
import { table } from '../embedded/keys.ts'

const ownerKey = Buffer.from([table.internal, ...Buffer.from('owner')])
/** Files open in this process: LMDB would share them silently. */
const here = new Set<string>()

export interface Claim {
  /** @throws SluiceError store_locked when another process holds the file. */
  confirm(db: RootDatabase<Buffer, Buffer>): void
  release(): void
}

/** @throws SluiceError store_locked when this process has the file open. */
export function claim(file: string): Claim {
  const real = path.join(fs.realpathSync(path.dirname(file)), path.basename(file))
  if (here.has(real)) throw locked(file, process.pid)
  here.add(real)
  return {
    confirm(db) {
      // Enters this process into the reader table.
      db.get(ownerKey)
      db.transactionSync(() => {
        db.readerCheck()
        const owner = readOwner(db.get(ownerKey))
        if (owner !== null && owner !== process.pid && readers(db.readerList()).includes(owner))
          throw locked(file, owner)
        db.put(ownerKey, Buffer.from(JSON.stringify({ pid: process.pid })))
      })
    },
    release() {
      here.delete(real)
    },
  }
}

function readOwner(value: Buffer | undefined): number | null {
  if (value === undefined) return null
  try {
    return (JSON.parse(value.toString()) as { pid: number }).pid
  } catch {
    return null
  }
}

/** Process ids in LMDB's listing: a heading, then a line per reader that begins with its process. */
function readers(listing: string): number[] {
  return listing
    .split('\n')
    .map((line) => Number.parseInt(line, 10))
    .filter((pid) => !Number.isNaN(pid))
}

function locked(file: string, pid: number): SluiceError {
  return new SluiceError('store_locked', `${path.dirname(file)} is in use by process ${pid}.`)
}
