import type { Clock } from '../base/clock.ts'
import type { Lane, Store } from '../store.ts'
import { Entry, Lease } from './entry.ts'
import { Heap } from './heap.ts'
import { addFailure, encodeEntryMark, encodeLeaseMark } from './marks.ts'
import type { LeaseIds } from './receipt.ts'

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
  /** Leases that lost an entry since the last `tidy`; true: their record names entries it must not name. */
  readonly #touched = new Map<Lease, boolean>()

  constructor(store: Store, lane: Lane, clock: Clock, leaseIds: LeaseIds) {
    this.#store = store
    this.#lane = lane
    this.#clock = clock
    this.#leaseIds = leaseIds
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
      else this.#mark(entry)
    }
    this.#carry(lease, covered)
  }

  /** The entry that was leased under this id and still is, or null when the lease was lost. */
  find(seq: number, leaseId: number): Entry | null {
    const entry = this.entries.get(seq)
    if (entry === undefined || entry.state !== 'leased' || entry.leaseId !== leaseId) return null
    return entry
  }

  /** The entry is done. Call `tidy` before returning to the event loop. */
  settle(entry: Entry): void {
    this.#leave(entry, false)
    this.#settled(entry)
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
    if (entry.history !== null) this.#mark(entry)
    else if (marked) this.#store.mark(this.#lane, entry.seq, null)
  }

  /** Gives up a message that nobody holds: it waits for its next attempt, or to be handed out again. */
  discard(entry: Entry): void {
    if (entry.state === 'delayed') {
      this.timers.remove(entry)
      this.delayed--
    } else {
      this.ready.remove(entry)
    }
    this.#settled(entry)
  }

  /** The delivery did not take place: the entry is ready again and the attempt does not count. Then `tidy`. */
  release(entry: Entry): void {
    this.#leave(entry, true)
    entry.attempt--
    this.#makeReady(entry)
    if (entry.history !== null) this.#mark(entry)
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
    this.#mark(entry)
  }

  /** The last attempt failed; the entry now belongs to whoever moves it to the dead letters. Then `tidy`. */
  condemn(entry: Entry, reason: string): void {
    this.#leave(entry, false)
    this.#addFailure(entry, reason)
    entry.state = 'dying'
    this.dying++
    this.#mark(entry)
  }

  /** The open group holds a dead letter made of this condemned entry: one is durable if and only if the other is. */
  markBuried(entry: Entry): void {
    this.#store.mark(this.#lane, entry.seq, encodeEntryMark(entry, 'buried', 0, 0))
  }

  /** Takes `markBuried` back in the same group: no dead letter could be written. */
  unbury(entry: Entry): void {
    this.#mark(entry)
  }

  /** The dead letter is durable, or there was nothing to bury. */
  buried(entry: Entry): void {
    this.dying--
    this.#settled(entry)
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

  /**
   * Writes the marks of all entries anew. After a group that did not become durable memory is ahead of the store: the
   * store took back the group's marks (settlements it keeps, and writes them with a later group).
   */
  rewrite(): void {
    const leases = new Set<Lease>()
    for (const entry of this.entries.values()) {
      if (entry.lease !== null) leases.add(entry.lease)
      if (entry.history === null) this.#store.mark(this.#lane, entry.seq, null)
      else this.#mark(entry)
    }
    for (const lease of leases) this.#carry(lease, lease.covered())
  }

  /** Brings the records of the leases that lost entries in line with what they still hold. */
  tidy(): void {
    for (const [lease, mustRewrite] of this.#touched) {
      const carrier = lease.carrier
      const carries = carrier !== null && carrier.lease === lease && carrier.history === null
      if (!mustRewrite && (carries || lease.held === 0)) continue
      // Beside a settled entry there is no mark, beside one that failed its own took the place.
      if (!carries && carrier !== null && carrier.history === null && this.entries.has(carrier.seq))
        this.#store.mark(this.#lane, carrier.seq, null)
      this.#carry(lease, lease.covered())
    }
    this.#touched.clear()
  }

  /** Puts the record of a lease beside the newest entry it covers: work is mostly acknowledged oldest first. */
  #carry(lease: Lease, covered: readonly Entry[]): void {
    const carrier = covered.at(-1) ?? null
    lease.carrier = carrier
    if (carrier !== null) this.#store.mark(this.#lane, carrier.seq, encodeLeaseMark(lease, covered))
  }

  /** Only for entries with failures: the others have no mark of their own. */
  #mark(entry: Entry): void {
    const { lease } = entry
    let at = 0
    let spanMs = 0
    if (lease !== null) {
      at = lease.until
      spanMs = lease.leaseMs
    } else if (entry.state === 'delayed') {
      spanMs = Math.ceil(Math.max(0, entry.key - this.#clock.monotonic()))
      at = this.#clock.now() + spanMs
    }
    this.#store.mark(this.#lane, entry.seq, encodeEntryMark(entry, entry.state, at, spanMs))
  }

  #leave(entry: Entry, mustRewrite: boolean): void {
    const lease = entry.lease
    if (lease === null) return
    this.leased--
    entry.lease = null
    lease.held--
    if (lease.held === 0) this.timers.remove(lease)
    this.#touched.set(lease, (mustRewrite && entry.history === null) || this.#touched.get(lease) === true)
  }

  #time(item: Entry | Lease): void {
    this.timers.push(item)
    this.onTimer?.()
  }

  #settled(entry: Entry): void {
    if (entry.history !== null) this.historyBytes -= entry.history.length
    this.entries.delete(entry.seq)
    this.#store.settle(this.#lane, entry.seq)
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
