import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Lane, Store } from '../store.ts'
import { Entry, Lease } from './entry.ts'
import { Heap } from './heap.ts'
import { LeaseMarks } from './lease-marks.ts'
import { addFailure } from './marks.ts'
import type { LeaseIds } from './receipt.ts'

/** Pause before the store is asked again to settle what has been moved, in ms. */
const RETRY_MS = 1000

/**
 * Who holds what until when: the entries of one queue that are leased, delayed or ready again, in memory and as durable
 * marks. Every change is synchronous: what one call does to memory and store goes into one group, so a crash finds
 * either all or nothing of it.
 *
 * Time runs on the monotonic clock; the marks keep the wall clock and the length of the lease or delay, so that a
 * restart resumes what is left and a wall clock that was set meanwhile can shorten a lease, never lengthen it.
 */
export class LeaseBook {
  readonly entries = new Map<number, Entry>()
  /** Entries that may be handed out again, oldest first. */
  readonly ready = new Heap<Entry>()
  /** Leases by their end and delayed entries by the end of their delay. */
  readonly timers = new Heap<Entry | Lease>()
  leased = 0
  delayed = 0
  dying = 0
  /** Called when something was added to `timers`. */
  onTimer: (() => void) | null = null
  /** Called when an entry is settled. */
  onGone: ((entry: Entry) => void) | null = null
  /** Bytes of failure histories in memory. */
  historyBytes = 0

  readonly #store: Store
  readonly #lane: Lane
  readonly #clock: Clock
  readonly #leaseIds: LeaseIds
  readonly #marks: LeaseMarks

  constructor(store: Store, lane: Lane, clock: Clock, leaseIds: LeaseIds) {
    this.#store = store
    this.#lane = lane
    this.#clock = clock
    this.#leaseIds = leaseIds
    this.#marks = new LeaseMarks(store, lane, clock, this.entries)
  }

  /** A lease that starts now; add entries with `hold`, then `seal` it. */
  newLease(leaseMs: number): Lease {
    return new Lease(this.#clock.monotonic() + leaseMs, this.#clock.now() + leaseMs, leaseMs)
  }

  nextLeaseId(): number {
    return this.#leaseIds.next()
  }

  /** Hands an entry out. It must be in no heap and in no lease. */
  hold(entry: Entry, lease: Lease, leaseId: number): void {
    entry.state = 'leased'
    entry.attempt++
    entry.leaseId = leaseId
    lease.add(entry)
    this.leased++
  }

  /** Writes the marks of a lease whose entries have been added, and starts its time. */
  seal(lease: Lease): void {
    this.#time(lease)
    lease.entries.sort((a, b) => a.seq - b.seq)
    const covered: Entry[] = []
    for (const entry of lease.entries) {
      if (entry.history === null) covered.push(entry)
      else this.#marks.write(entry)
    }
    this.#marks.carry(lease, covered)
  }

  /** The entry that was leased under this id and still is, or null when the lease was lost. */
  find(seq: number, leaseId: number): Entry | null {
    const entry = this.entries.get(seq)
    if (entry === undefined || entry.state !== 'leased' || entry.leaseId !== leaseId) return null
    return entry
  }

  /** The entry is done. Call `tidy` before returning to the event loop. */
  settle(entry: Entry): void {
    this.#store.settle(this.#lane, entry.seq)
    this.#leave(entry, false)
    this.#gone(entry)
  }

  /** Takes a message that nobody holds out of the queue, on its way elsewhere: then `markBuried`, then `buried` or `revive`. */
  claim(seq: number): Entry | null {
    let entry = this.entries.get(seq)
    if (entry === undefined) {
      entry = new Entry(seq)
      this.entries.set(seq, entry)
    } else if (entry.state === 'delayed') {
      this.timers.remove(entry)
      this.delayed--
    } else if (entry.state === 'ready') {
      this.ready.remove(entry)
    } else {
      return null
    }
    entry.state = 'dying'
    this.dying++
    return entry
  }

  /**
   * It did not get there: the message is ready again.
   * @param marked the open group, or one that was refused, has the mark of `markBuried`
   */
  revive(entry: Entry, marked = true): void {
    this.dying--
    this.#makeReady(entry)
    if (entry.history !== null) this.#marks.write(entry)
    else if (marked) this.#marks.drop(entry)
  }

  /** Gives up a message that nobody holds: it waits for its next attempt, or to be handed out again. */
  discard(entry: Entry): void {
    this.#store.settle(this.#lane, entry.seq)
    if (entry.state === 'delayed') {
      this.timers.remove(entry)
      this.delayed--
    } else {
      this.ready.remove(entry)
    }
    this.#gone(entry)
  }

  /** The delivery did not take place: the entry is ready again and the attempt does not count. Then `tidy`. */
  release(entry: Entry): void {
    this.#leave(entry, true)
    entry.attempt--
    this.#makeReady(entry)
    if (entry.history !== null) this.#marks.write(entry)
  }

  /** The running attempt failed; the entry comes back after the delay. Then `tidy`. */
  fail(entry: Entry, reason: string, delayMs: number): void {
    this.#leave(entry, false)
    this.#addFailure(entry, reason)
    if (delayMs > 0) {
      entry.state = 'delayed'
      entry.key = this.#clock.monotonic() + delayMs
      this.delayed++
      this.#time(entry)
    } else {
      this.#makeReady(entry)
    }
    this.#marks.write(entry)
  }

  /** The last attempt failed; the entry now belongs to whoever moves it to the dead letters. Then `tidy`. */
  condemn(entry: Entry, reason: string): void {
    this.#leave(entry, false)
    this.#addFailure(entry, reason)
    entry.state = 'dying'
    this.dying++
    this.#marks.write(entry)
  }

  /** The open group holds a dead letter made of this condemned entry: one is durable if and only if the other is. */
  markBuried(entry: Entry): void {
    entry.state = 'buried'
    this.#marks.writeBuried(entry)
  }

  /** Takes `markBuried` back in the same group: no dead letter could be written. */
  unbury(entry: Entry): void {
    entry.state = 'dying'
    this.#marks.write(entry)
  }

  /**
   * The dead letter is durable, or there was nothing to bury. When the store cannot settle it just now it is asked again;
   * until then the mark tells that it has been moved.
   */
  buried(entry: Entry): void {
    try {
      this.#store.settle(this.#lane, entry.seq)
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error
      this.#clock.after(RETRY_MS, () => this.buried(entry))
      return
    }
    this.dying--
    this.#gone(entry)
  }

  /** Moves an entry into another lease, under the same receipt. Then `tidy`, then `seal` the lease. */
  extend(entry: Entry, lease: Lease): void {
    if (entry.lease !== null) lease.startedAt = Math.min(lease.startedAt, entry.lease.startedAt)
    this.#leave(entry, true)
    entry.state = 'leased'
    lease.add(entry)
    this.leased++
  }

  /** A message that waited for its turn and was never handed out is ready now. */
  admit(entry: Entry): void {
    this.entries.set(entry.seq, entry)
    this.#makeReady(entry)
  }

  /** A delay is over. */
  wake(entry: Entry): void {
    this.delayed--
    this.#makeReady(entry)
  }

  /** Takes over an entry found in the store at start. */
  restore(entry: Entry): void {
    this.entries.set(entry.seq, entry)
    if (entry.history !== null) this.historyBytes += entry.history.length
    if (entry.state === 'leased') this.leased++
    else if (entry.state === 'delayed') this.delayed++
    else if (entry.state === 'dying') this.dying++
    else this.#makeReady(entry)
    if (entry.state === 'delayed') this.#time(entry)
  }

  /** Takes over a lease found in the store, with its entries. */
  restoreLease(lease: Lease): void {
    if (lease.held > 0) this.#time(lease)
  }

  /** See `LeaseMarks.rewrite`. */
  rewrite(): void {
    this.#marks.rewrite()
  }

  /** See `LeaseMarks.tidy`. */
  tidy(): void {
    this.#marks.tidy()
  }

  #leave(entry: Entry, mustRewrite: boolean): void {
    const lease = entry.lease
    if (lease === null) return
    this.leased--
    entry.lease = null
    lease.held--
    if (lease.held === 0) this.timers.remove(lease)
    this.#marks.touch(lease, mustRewrite && entry.history === null)
  }

  #time(item: Entry | Lease): void {
    this.timers.push(item)
    this.onTimer?.()
  }

  #gone(entry: Entry): void {
    if (entry.history !== null) this.historyBytes -= entry.history.length
    this.entries.delete(entry.seq)
    this.onGone?.(entry)
  }

  #makeReady(entry: Entry): void {
    entry.state = 'ready'
    entry.key = entry.seq
    this.ready.push(entry)
  }

  #addFailure(entry: Entry, reason: string): void {
    const at = this.#clock.now()
    const before = entry.history === null ? 0 : entry.history.length
    entry.history = addFailure(entry.history, { at, attempt: entry.attempt, reason })
    this.historyBytes += entry.history.length - before
  }
}
