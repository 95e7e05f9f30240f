import type { HeapItem } from './heap.ts'
import type { KeyState } from './key-gate.ts'

/**
 * Where a message of a queue stands. Messages that were never handed out have no entry in memory: they are ready in
 * the store, behind the cursor.
 *
 *     ready ──pull──▶ leased ──ack──▶ (gone)
 *       ▲               │ nack, lease ran out
 *       │               ├──────────────▶ delayed ──delay over──▶ ready
 *       └───release─────┤
 *                       └─ attempts used up, reject ──▶ dying ──in the dead-letter queue──▶ buried ──▶ (gone)
 *
 * `buried`: it is elsewhere, in the same group as this mark; only the settlement here is missing.
 */
export type EntryState = 'ready' | 'leased' | 'delayed' | 'dying' | 'buried'

/** One message that has been handed out at least once and is not done. */
export class Entry implements HeapItem {
  /** `delayed`: monotonic ms at which it becomes ready. `ready`: the sequence number. */
  key = 0
  heapIndex = -1
  readonly seq: number
  state: EntryState = 'ready'
  /** Deliveries so far, the running one included; released ones do not count. */
  attempt = 0
  /** Lease id of the running delivery. */
  leaseId = 0
  /** The lease that holds it, while it is leased. */
  lease: Lease | null = null
  /** Failures so far, as encoded in the mark; null: none. An entry with failures has a mark of its own. */
  history: Buffer | null = null
  /** Its ordering key, when it has one. */
  gate: KeyState | null = null

  constructor(seq: number) {
    this.seq = seq
  }
}

/** Entries leased until the same moment: one timer, and one durable record for those without failures. */
export class Lease implements HeapItem {
  /** Monotonic ms at which it runs out. */
  key: number
  heapIndex = -1
  /** Wall clock ms at which it runs out. */
  readonly until: number
  readonly leaseMs: number
  /** Monotonic ms at which the work on its entries began; those it took over from another lease began with that one. */
  startedAt: number
  /** Everything it was given for; those that left have another `lease`. In order of seq. */
  readonly entries: Entry[] = []
  /** Entries that are still in it. */
  held = 0
  /** The entry whose mark carries the record of this lease. */
  carrier: Entry | null = null

  constructor(key: number, until: number, leaseMs: number) {
    this.key = key
    this.until = until
    this.leaseMs = leaseMs
    this.startedAt = key - leaseMs
  }

  add(entry: Entry): void {
    entry.lease = this
    this.entries.push(entry)
    this.held++
  }

  /** Those that rest on the record of this lease. */
  covered(): Entry[] {
    return this.entries.filter((entry) => entry.lease === this && entry.history === null)
  }
}

/** One failed attempt. */
export interface Failure {
  /** Wall clock ms. */
  at: number
  /** 1 = first. */
  attempt: number
  reason: string
}
