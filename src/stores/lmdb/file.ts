/**
 * A look at the data file before LMDB maps it. LMDB trusts its file: a pointer that leads nowhere would end the process instead
 * of giving an error, and a list of free pages with one too many would have it write over what is stored.
 *
 * What is stored has to be whole, or the file is refused. What only helps to find or to write it is mended: of two heads one is
 * enough, with what was before the last commit, and without the list of free pages only their space is lost.
 */
import fs from 'node:fs'
import path from 'node:path'
import { SluiceError } from '../../errors.ts'
import { before, type Head, namesItsRoots, readHeads, withoutFreePages } from './head.ts'
import { NO_PAGE, walk } from './structure.ts'

/** More than the fields of a head. */
const HEAD_READ = 256
/** Another process that has the file open may write meanwhile. */
const TRIES_MAX = 5

/** What a look at the file showed. */
type Seen =
  | { readonly is: 'refused'; readonly why: string }
  | { readonly is: 'usable'; readonly head: Head; readonly headLost: boolean; readonly freeFault: string | null }

/**
 * Mends what can be mended; returns what that was, in words.
 * @throws SluiceError store_corrupt when the file is not, or no longer, what LMDB wrote.
 */
export function checkFile(file: string, pageBytes: number): string[] {
  const fd = fs.openSync(file, 'r+')
  try {
    // Created and never written, say by a crash in between: LMDB begins it anew.
    if (fs.fstatSync(fd).size === 0) return []
    for (let tries = 0; tries < TRIES_MAX; tries++) {
      const read = (): Buffer => Buffer.concat(headBytes(fd, pageBytes))
      const heads = read()
      const seen = look(fd, pageBytes)
      const isWell = seen.is === 'usable' && !seen.headLost && seen.freeFault === null
      // What changed meanwhile was no fault.
      if (!isWell && !heads.equals(read())) continue
      if (seen.is === 'refused') throw damaged(file, seen.why)
      const told = isWell ? [] : mend(fd, pageBytes, seen)
      fillUp(file, fd, pageBytes, seen.head)
      return told
    }
    // Somebody writes into it all the time: that will be told as such.
    return []
  } finally {
    fs.closeSync(fd)
  }
}

/**
 * The newest head by which everything that is stored is found: a transaction writes only into pages that the head before does not
 * need, so what is damaged of the last one is whole in the one before.
 */
function look(fd: number, pageBytes: number): Seen {
  const heads = readHeads(fd, pageBytes)
  const newestFirst = heads
    .filter((head) => head !== null)
    .sort((a, b) => (a.transaction < b.transaction ? 1 : a.transaction > b.transaction ? -1 : 0))
  let why = 'it does not begin as a data file does'
  for (const head of newestFirst) {
    const headLost = heads.includes(null) || head !== newestFirst[0]
    // Nothing is in it: a step back to there would lose all, not what came last.
    if (headLost && head.trees[1].root === NO_PAGE) continue
    if (!namesItsRoots(fd, pageBytes, head)) continue
    const limits = { fd, pageBytes, lastPage: Number(head.lastPage), transaction: head.transaction }
    const { stored, free } = walk(limits, head.trees)
    if (stored === null) return { is: 'usable', head, headLost, freeFault: free }
    if (head === newestFirst[0]) why = stored
  }
  return { is: 'refused', why }
}

function headBytes(fd: number, pageBytes: number): Buffer[] {
  const heads = [Buffer.alloc(HEAD_READ), Buffer.alloc(HEAD_READ)]
  for (const [slot, bytes] of heads.entries()) fs.readSync(fd, bytes, 0, HEAD_READ, slot * pageBytes)
  return heads
}

function mend(fd: number, pageBytes: number, { head, headLost, freeFault }: Extract<Seen, { is: 'usable' }>): string[] {
  const told: string[] = []
  let bytes = head.bytes
  if (freeFault !== null) {
    bytes = withoutFreePages(head)
    fs.writeSync(fd, bytes, 0, bytes.length, head.slot * pageBytes)
    told.push(`the file: ${freeFault}; its free space is lost until it is compacted`)
  }
  if (headLost) {
    const other = before(head, bytes)
    fs.writeSync(fd, other, 0, other.length, (1 - head.slot) * pageBytes)
    told.push('the file: what the last commit wrote; it may be missing')
  }
  fs.fsyncSync(fd)
  return told
}

/** A page that is missing at the end and used by nothing would end the process by SIGBUS if it were looked at. */
function fillUp(file: string, fd: number, pageBytes: number, { lastPage }: Head): void {
  const { size } = fs.fstatSync(fd)
  const missing = (Number(lastPage) + 1) * pageBytes - size
  // Appended, not set to a length: a process that has the file open may be making it longer at this moment.
  if (missing > 0) fs.appendFileSync(file, Buffer.alloc(missing))
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
