import type { Chunk, Lane, Store } from '../store.ts'
import type { Entry } from './entry.ts'
import type { KeyGate } from './key-gate.ts'
import { LeaseBook } from './lease-book.ts'
import { LeaseTimer } from './lease-timer.ts'
import { ReadAhead } from './read-ahead.ts'
import { receiptLeaseId, receiptRef } from './receipt.ts'
import { restoreBook } from './restore.ts'
import type { QueueParts } from './settings.ts'
import { keyOf, PRIORITY_DEFAULT, PRIORITY_MAX } from './terms.ts'
import { Undertaker, type UndertakerHooks } from './undertaker.ts'

/** Sequence numbers of a lane stay below this. */
const SEQ_LIMIT = 2 ** 48

/** A message's number within its queue: its lane and its sequence number there. That of the usual priority is the plain one. */
export function refOf(priority: number, seq: number): number {
  return priority === PRIORITY_DEFAULT ? seq : (priority + 1) * SEQ_LIMIT + seq
}

export function priorityOf(ref: number): number {
  return ref < SEQ_LIMIT ? PRIORITY_DEFAULT : Math.floor(ref / SEQ_LIMIT) - 1
}

export function seqOf(ref: number): number {
  return ref % SEQ_LIMIT
}

/** The lane of a queue's messages of one priority. */
export function laneName(queue: string, priority: number): string {
  return priority === PRIORITY_DEFAULT ? `q/${queue}` : `q${priority}/${queue}`
}

/** The messages of one priority of a queue: their lane, who holds them, and how far they have been handed out. */
export class Stripe {
  readonly priority: number
  readonly lane: Lane
  readonly book: LeaseBook
  readonly ahead: ReadAhead
  readonly undertaker: Undertaker
  /** Entries up to here may be in the book already when the cursor passes. */
  restoredTo = 0
  /** When the message came that was handed out last, wall clock ms: those that come back are older. */
  lastTime = Number.POSITIVE_INFINITY
  readonly #parts: QueueParts
  /** A read that fails half way is not to fill the book twice. */
  #restored: 'nothing' | 'marks' | 'all' = 'nothing'
  /** What distinguishes its messages' numbers from those of other stripes. */
  readonly #base: number
  readonly #timer: LeaseTimer

  constructor(
    parts: QueueParts,
    priority: number,
    hooks: Omit<UndertakerHooks, 'idOf'>,
    onDue: (stripe: Stripe) => void,
  ) {
    const { store, clock, leaseIds } = parts
    this.#parts = parts
    this.priority = priority
    this.#base = refOf(priority, 0)
    this.lane = store.lane(laneName(parts.name, priority))
    this.book = new LeaseBook(store, this.lane, clock, leaseIds)
    this.ahead = new ReadAhead(store, this.lane)
    this.#timer = new LeaseTimer(clock, this.book.timers, () => onDue(this))
    this.book.onTimer = () => this.#timer.arm()
    this.undertaker = new Undertaker(parts, this.lane, this.book, { ...hooks, idOf: (seq) => this.idOf(seq) })
  }

  /** The message's number within the queue. */
  refOf(seq: number): number {
    return this.#base + seq
  }

  /** The id of a message that was not given one when it came. */
  idOf(seq: number): string {
    return `${this.#parts.epoch}-${this.refOf(seq)}`
  }

  /** What this receipt holds in this stripe now; null: the lease was lost, or never was. */
  find(receipt: string): Entry | null {
    const seq = receiptRef(receipt) - this.#base
    return this.book.find(seq, receiptLeaseId(receipt))
  }

  /** What came back from this receipt, and nobody has got since; null: there is none. */
  findBack(receipt: string): Entry | null {
    const entry = this.book.entries.get(receiptRef(receipt) - this.#base)
    const waits = entry !== undefined && (entry.state === 'ready' || entry.state === 'delayed')
    return waits && entry.leaseId === receiptLeaseId(receipt) ? entry : null
  }

  /** See `LeaseBook.claim`. Null: a worker holds it. */
  claim(seq: number): Entry | null {
    // The cursor may come by later.
    this.restoredTo = Math.max(this.restoredTo, seq)
    return this.book.claim(seq)
  }

  /** Reads leases, delays and attempts from the store. */
  async restore(gate: KeyGate): Promise<void> {
    const { store, clock, leaseIds } = this.#parts
    if (this.#restored === 'all') return
    if (this.#restored === 'nothing')
      this.restoredTo = Math.max(this.restoredTo, await restoreBook(this.book, store, this.lane, clock, leaseIds))
    this.#restored = 'marks'
    await this.#restoreKeys(gate)
    this.#restored = 'all'
    for (const entry of this.book.entries.values()) if (entry.state === 'dying') this.undertaker.take(entry)
  }

  close(): void {
    this.lane.onCommitted = null
    this.book.onTimer = null
    this.book.onGone = null
    this.#timer.stop()
  }

  /** The ordering keys of messages under way stand in the lane only. */
  async #restoreKeys(gate: KeyGate): Promise<void> {
    let chunk: Chunk | null = null
    for (const entry of [...this.book.entries.values()].sort((a: Entry, b: Entry) => a.seq - b.seq)) {
      const { seq } = entry
      if (chunk === null || seq >= chunk.firstSeq + chunk.count) chunk = await this.#parts.store.read(this.lane, seq)
      const extra = chunk?.extras?.[seq - chunk.firstSeq] ?? null
      const key = extra === null ? '' : keyOf(extra)
      if (key !== '') entry.gate ??= gate.restore(key)
    }
  }
}

/** The priorities of which the store holds lanes, by queue; without the usual one. */
export function storedPriorities(store: Store): Map<string, number[]> {
  const found = new Map<string, number[]>()
  for (let priority = 0; priority <= PRIORITY_MAX; priority++) {
    if (priority === PRIORITY_DEFAULT) continue
    const prefix = laneName('', priority)
    for (const name of store.laneNames(prefix)) {
      const queue = name.slice(prefix.length)
      found.set(queue, [...(found.get(queue) ?? []), priority])
    }
  }
  return found
}
