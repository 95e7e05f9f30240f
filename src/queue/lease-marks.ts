import type { Clock } from '../base/clock.ts'
import type { Lane, Store } from '../store.ts'
import type { Entry, Lease } from './entry.ts'
import { encodeEntryMark, encodeLeaseMark } from './marks.ts'

/** The durable side of a `LeaseBook`: writes the marks of its entries and leases into the open group. */
export class LeaseMarks {
  readonly #store: Store
  readonly #lane: Lane
  readonly #clock: Clock
  readonly #entries: ReadonlyMap<number, Entry>
  /** Leases that lost an entry since the last `tidy`; true: their record names entries it must not name. */
  readonly #touched = new Map<Lease, boolean>()

  constructor(store: Store, lane: Lane, clock: Clock, entries: ReadonlyMap<number, Entry>) {
    this.#store = store
    this.#lane = lane
    this.#clock = clock
    this.#entries = entries
  }

  /**
   * An entry left the lease. Then `tidy`.
   * @param mustRewrite the lease's record must not name it any more
   */
  touch(lease: Lease, mustRewrite: boolean): void {
    this.#touched.set(lease, mustRewrite || this.#touched.get(lease) === true)
  }

  drop(entry: Entry): void {
    this.#store.mark(this.#lane, entry.seq, null)
  }

  writeBuried(entry: Entry): void {
    this.#store.mark(this.#lane, entry.seq, encodeEntryMark(entry, 'buried', 0, 0))
  }

  /** Only for entries with failures: the others have no mark of their own. */
  write(entry: Entry): void {
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

  /** Puts the record of a lease beside the newest entry it covers: work is mostly acknowledged oldest first. */
  carry(lease: Lease, covered: readonly Entry[]): void {
    const carrier = covered.at(-1) ?? null
    lease.carrier = carrier
    if (carrier !== null) this.#store.mark(this.#lane, carrier.seq, encodeLeaseMark(lease, covered))
  }

  /**
   * Writes the marks of all entries anew. After a group that did not become durable memory is ahead of the store: the
   * store took back the group's marks (settlements it keeps, and writes them with a later group).
   */
  rewrite(): void {
    const leases = new Set<Lease>()
    for (const entry of this.#entries.values()) {
      if (entry.lease !== null) leases.add(entry.lease)
      if (entry.state === 'buried') this.writeBuried(entry)
      else if (entry.history === null) this.#store.mark(this.#lane, entry.seq, null)
      else this.write(entry)
    }
    for (const lease of leases) this.carry(lease, lease.covered())
  }

  /** Brings the records of the leases that lost entries in line with what they still hold. */
  tidy(): void {
    for (const [lease, mustRewrite] of this.#touched) {
      const carrier = lease.carrier
      const carries = carrier !== null && carrier.lease === lease && carrier.history === null
      if (!mustRewrite && (carries || lease.held === 0)) continue
      // Beside a settled entry there is no mark, beside one that failed its own took the place.
      if (!carries && carrier !== null && carrier.history === null && this.#entries.has(carrier.seq))
        this.#store.mark(this.#lane, carrier.seq, null)
      this.carry(lease, lease.covered())
    }
    this.#touched.clear()
  }
}
