import type { Clock } from '../base/clock.ts'
import type { Chunk, Lane, Store } from '../store.ts'
import { Entry, type EntryState, Lease } from './entry.ts'
import type { LeaseBook } from './lease-book.ts'
import { decodeMark, type EntryMark, type LeaseMark } from './marks.ts'
import type { LeaseIds } from './receipt.ts'

/**
 * Fills an empty book from the marks in the store: leases go on for what is left of them, delays too.
 * @returns the highest sequence number with a mark or under a lease; 0: none
 */
export async function restoreBook(
  book: LeaseBook,
  store: Store,
  lane: Lane,
  clock: Clock,
  leaseIds: LeaseIds,
): Promise<number> {
  const leases: { mark: LeaseMark; carrierSeq: number }[] = []
  const own = new Map<number, EntryMark>()
  for (const { seq, bytes } of await store.marks(lane)) {
    const mark = decodeMark(bytes)
    if (mark.kind === 'lease') leases.push({ mark, carrierSeq: seq })
    else own.set(seq, mark)
  }
  // Nothing below awaits before this loop is through: the book is filled from one moment of the store.
  const waiting = await waitingIn(leases, own, store, lane)
  let last = 0
  for (const [seq, mark] of own) {
    last = Math.max(last, seq)
    leaseIds.seen(mark.leaseId)
    if (mark.state === 'buried') store.settle(lane, seq)
    else restoreEntry(book, clock, seq, mark, mark.state)
  }
  // After a commit that failed, a record of an older lease may still name what a newer one holds.
  leases.sort((a, b) => newest(b.mark) - newest(a.mark))
  for (const { mark, carrierSeq } of leases) {
    const lease = resume(clock, mark.until, mark.leaseMs)
    for (const { firstSeq, count, leaseId } of mark.runs) {
      leaseIds.seen(leaseId)
      for (let seq = firstSeq; seq < firstSeq + count; seq++) {
        if (own.has(seq) || !waiting.has(seq) || book.entries.has(seq)) continue
        last = Math.max(last, seq)
        const entry = leasedEntry(seq, 1, leaseId, lease)
        book.restore(entry)
        if (seq === carrierSeq) lease.carrier = entry
      }
    }
    book.restoreLease(lease)
  }
  return last
}

/** Lease ids count up. */
function newest({ runs }: LeaseMark): number {
  return Math.max(...runs.map(({ leaseId }) => leaseId))
}

/** Which of the entries that lease marks cover still wait. */
async function waitingIn(
  leases: readonly { mark: LeaseMark }[],
  own: ReadonlyMap<number, EntryMark>,
  store: Store,
  lane: Lane,
): Promise<Set<number>> {
  const waiting = new Set<number>()
  let chunk: Chunk | null = null
  for (const { mark } of leases) {
    for (const { firstSeq, count } of mark.runs) {
      for (let seq = firstSeq; seq < firstSeq + count; seq++) {
        if (own.has(seq)) continue
        if (chunk === null || seq < chunk.firstSeq || seq >= chunk.firstSeq + chunk.count) {
          chunk = await store.read(lane, seq)
          if (chunk === null) break
        }
        const index = seq - chunk.firstSeq
        if (index >= 0 && index < chunk.count && !chunk.isSettled(index)) waiting.add(seq)
      }
    }
  }
  return waiting
}

function restoreEntry(book: LeaseBook, clock: Clock, seq: number, mark: EntryMark, state: EntryState): void {
  if (state === 'leased') {
    const lease = resume(clock, mark.at, mark.spanMs)
    const entry = leasedEntry(seq, mark.attempt, mark.leaseId, lease)
    entry.history = mark.history
    book.restore(entry)
    book.restoreLease(lease)
    return
  }
  const entry = new Entry(seq)
  entry.state = state
  entry.attempt = mark.attempt
  entry.leaseId = mark.leaseId
  entry.history = mark.history
  if (state === 'delayed') {
    const leftMs = left(clock, mark.at, mark.spanMs)
    if (leftMs === 0) entry.state = 'ready'
    else entry.key = clock.monotonic() + leftMs
  }
  book.restore(entry)
}

function leasedEntry(seq: number, attempt: number, leaseId: number, lease: Lease): Entry {
  const entry = new Entry(seq)
  entry.state = 'leased'
  entry.attempt = attempt
  entry.leaseId = leaseId
  lease.add(entry)
  return entry
}

function resume(clock: Clock, until: number, leaseMs: number): Lease {
  const leftMs = left(clock, until, leaseMs)
  return new Lease(clock.monotonic() + leftMs, clock.now() + leftMs, leaseMs)
}

/** Never more than the whole span, wherever the wall clock stands now. */
function left(clock: Clock, at: number, spanMs: number): number {
  return Math.min(Math.max(at - clock.now(), 0), spanMs)
}
