/**
 * The engine on LMDB (npm lmdb). One transaction per group on a thread of the pool: pages, fdatasync, then the meta page through
 * a descriptor opened O_DSYNC. lmdb's promise of a batch settles after all of it, so a group answered with success has been flushed.
 *
 * Groups depend on each other (a later one may refer to what an earlier one wrote), yet two can be under way. So each one
 * is conditional on the one before: of two turn keys one exists, group n removes its own and puts the other, and group n + 1
 * applies only if group n's is gone.
 */
import fs from 'node:fs'
import { statfs } from 'node:fs/promises'
import path from 'node:path'
import { SluiceError } from '../../errors.ts'
import type { Engine, Entry, LookedAt, WriteBatch } from '../embedded/engine.ts'
import { table } from '../embedded/keys.ts'
import { type Database, openDatabase, PAGE_BYTES, removeFile, spaceOf, writeFile } from './database.ts'
import { accessError, commitError } from './failure.ts'
import { checkFile, keepAs, syncDirectory } from './file.ts'
import { lookAtLeaf } from './leaf.ts'
import { type Claim, claim } from './owner.ts'
import { LEAVES_MAX } from './structure.ts'

export const DATA_FILE = 'sluicemq.mdb'

const turnKeys = [0, 1].map((n) => Buffer.from([table.internal, ...Buffer.from(`turn${n}`)]))

export class LmdbEngine implements Engine {
  readonly kind = 'lmdb'
  readonly durable = true
  readonly underWayMax = 2
  readonly overlapBytes = 2048
  readonly #dir: string
  readonly #file: string
  #db: Database | null = null
  #claim: Claim | null = null
  wholeAtOpen = true
  mended: readonly string[] = []
  /** The file, read past LMDB. */
  #looking: number | null = null
  /** Number of the last group given to LMDB, and of the last known to be applied. */
  #given = 0
  #applied = 0
  /** Resolves when the group last given has been answered. */
  #delivered: Promise<void> = Promise.resolve()
  /** Set when LMDB cannot go on in this process. */
  #broken: SluiceError | null = null

  constructor(dir: string) {
    this.#dir = dir
    this.#file = path.join(dir, DATA_FILE)
  }

  get broken(): SluiceError | null {
    return this.#broken
  }

  /** @param options.mustExist refuses to make a store where there is none */
  async open(options: { readonly mustExist?: boolean } = {}): Promise<void> {
    try {
      const fresh = !fs.existsSync(this.#file)
      if (fresh && options.mustExist) throw new SluiceError('store_unavailable', `There is no store: ${this.#file}.`)
      fs.mkdirSync(this.#dir, { recursive: true })
      this.#claim = claim(this.#file)
      if (!fresh) this.mended = checkFile(this.#file, PAGE_BYTES)
      this.#begin()
      this.wholeAtOpen = this.bytesOnDisk() <= LEAVES_MAX * PAGE_BYTES
      if (fresh) syncDirectory(this.#dir)
    } catch (error) {
      await this.close()
      throw accessError(error, this.#dir)
    }
  }

  #begin(): void {
    const db = openDatabase(this.#file)
    this.#db = db
    this.#claim!.confirm(db)
    db.transactionSync(() => {
      db.remove(turnKeys[0]!)
      db.put(turnKeys[1]!, Buffer.alloc(1))
    })
    this.#given = 0
    this.#applied = 0
  }

  async close(): Promise<void> {
    const db = this.#db
    this.#db = null
    if (db !== null && this.#broken === null) await db.close()
    this.#claim?.release()
    this.#claim = null
    if (this.#looking !== null) fs.closeSync(this.#looking)
    this.#looking = null
  }

  commit(batch: WriteBatch, done: (failure: SluiceError | null) => void): void {
    const number = ++this.#given
    const outcome = this.#write(number, batch).catch((cause) => commitError(cause, this.#dir, batch))
    const before = this.#delivered
    this.#delivered = (async () => {
      const failure = await outcome
      await before
      if (failure === null) this.#applied = number
      else this.#fail(number, failure)
      done(failure)
    })()
  }

  /** Null when the group is applied and flushed; rejects when it is not. */
  async #write(number: number, batch: WriteBatch): Promise<null> {
    if (this.#broken !== null) throw this.#broken
    const db = this.#open()
    const own = turnKeys[number & 1]!
    const other = turnKeys[(number + 1) & 1]!
    const write = (): void => {
      const { keys, values } = batch
      for (let i = 0; i < keys.length; i++) {
        const value = values[i]!
        if (value === null) db.remove(keys[i]!)
        else db.put(keys[i]!, value)
      }
      db.remove(own)
      db.put(other, own)
    }
    // With nothing before it under way the group has nothing to wait for.
    const first = number === this.#applied + 1
    if (!(await (first ? db.batch(write) : db.ifNoExists(other, write)))) throw new Error('The group before it failed.')
    return null
  }

  #fail(number: number, failure: SluiceError): void {
    // The next group takes the place of the first that failed.
    if (number === this.#applied + 1) this.#given = this.#applied
    this.#broken ??= this.#probe(number, failure)
  }

  /** After a failure: can LMDB still write, and is the group really not there? */
  #probe(number: number, error: SluiceError): SluiceError | null {
    const stuck = (why: string): SluiceError =>
      new SluiceError('store_unavailable', `${error.message} ${why} Restart the broker.`, { cause: error })
    try {
      const db = this.#open()
      let left = true
      db.transactionSync(() => {
        left = db.get(turnKeys[(this.#applied + 1) & 1]!) !== undefined
      })
      return left ? null : stuck(`Group ${number} failed after it had become visible.`)
    } catch (cause) {
      return stuck(`LMDB refuses to go on (${cause instanceof Error ? cause.message : String(cause)}).`)
    }
  }

  get(key: Buffer): Buffer | undefined {
    return this.#read((db) => db.get(key))
  }

  keys(start: Buffer, end: Buffer, limit: number): Buffer[] {
    const found = this.#read((db) => [...db.getKeys({ start, end, limit })])
    return this.wholeAtOpen ? found : rising(found, start, (key) => key)
  }

  entries(start: Buffer, end: Buffer, limit: number): Entry[] {
    const found = this.#read((db) => [...db.getRange({ start, end, limit })])
    return this.wholeAtOpen ? found : rising(found, start, ({ key }) => key)
  }

  lastKey(low: Buffer, high: Buffer): Buffer | undefined {
    // The end of a reverse range is left out: ask from `high` down and compare.
    const [key] = this.#read((db) => [...db.getKeys({ start: high, reverse: true, limit: 1 })])
    return key !== undefined && low.compare(key) <= 0 ? key : undefined
  }

  #read<T>(look: (db: Database) => T): T {
    try {
      return look(this.#open())
    } catch (error) {
      throw accessError(error, this.#dir)
    }
  }

  /** What LMDB has read through its mapping counts as memory of the process as long as the file is mapped. */
  async relax(): Promise<void> {
    await this.#open().close()
    this.#begin()
  }

  /** A part is a leaf of the tree. */
  lookAt(from: Buffer): LookedAt | null {
    this.#looking ??= fs.openSync(this.#file, 'r')
    return lookAtLeaf(this.#looking, PAGE_BYTES, from)
  }

  space(): { bytes: number; freeBytes: number } {
    return this.#read(spaceOf)
  }

  async diskFreeBytes(): Promise<number> {
    const { bavail, bsize } = await statfs(this.#dir)
    return bavail * bsize
  }

  /** While the new file takes the place of the old one this process still is in LMDB's reader table: nobody else gets in. */
  async rewrite(entries: Iterable<Entry>, keptAs: string | null): Promise<void> {
    const fresh = `${this.#file}.new`
    try {
      await writeFile(fresh, entries)
      if (keptAs !== null) keepAs(this.#file, path.join(this.#dir, keptAs))
      fs.renameSync(fresh, this.#file)
      syncDirectory(this.#dir)
      await this.#open().close()
      this.#begin()
    } catch (error) {
      throw accessError(error, this.#dir)
    } finally {
      removeFile(fresh)
    }
  }

  bytesOnDisk(): number {
    return fs.statSync(this.#file, { throwIfNoEntry: false })?.size ?? 0
  }

  #open(): Database {
    if (this.#db === null) throw new SluiceError('store_unavailable', 'The store is closed.')
    return this.#db
  }
}

/** What comes in order from `start` on: a damaged leaf may lead back, and who goes on from its last key would never end. */
function rising<T>(found: T[], start: Buffer, keyOf: (item: T) => Buffer): T[] {
  let last: Buffer | null = null
  return found.filter((item) => {
    const key = keyOf(item)
    if (last === null ? key.compare(start) < 0 : key.compare(last) <= 0) return false
    last = key
    return true
  })
}
