import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import { type ErrorCode, SluiceError } from '../errors.ts'
import { secondsLeft, storedTime } from '../router/message.ts'
import type { Chunk, Lane, Store } from '../store.ts'
import { type Backoff, backoffMs } from './backoff.ts'
import { Delivery } from './delivery.ts'
import { Entry, type Lease } from './entry.ts'
import { LeaseBook } from './lease-book.ts'
import { ReadAhead } from './read-ahead.ts'
import { type LeaseIds, leaseSuffix } from './receipt.ts'
import { restoreBook } from './restore.ts'
import { Undertaker } from './undertaker.ts'
import { type Pull, WaitingPulls } from './waiting-pulls.ts'

export interface QueueLimits {
  /** Messages handed out and not done (leased, delayed, moving to the dead letters). At the limit only old ones return. */
  unsettledMax: number
  /** Bytes of failure reasons kept in memory; the same effect. */
  failureBytesMax: number
  /** Long polls at one time. */
  pullsWaitingMax: number
}

export const defaultQueueLimits: QueueLimits = {
  unsettledMax: 100_000,
  failureBytesMax: 64 * 1024 * 1024,
  pullsWaitingMax: 1000,
}

export interface QueueEvents {
  leaseExpired?(event: { queue: string; count: number }): void
  deadLettered?(event: { queue: string; deadLetterQueue: string; count: number; reason: string }): void
  internalError?(event: { where: string; error: unknown }): void
}

export interface QueueParts {
  name: string
  store: Store
  clock: Clock
  random: Random
  leaseIds: LeaseIds
  maxAttempts: number
  backoff: Backoff
  deadLetterQueue: string
  limits: QueueLimits
  events: QueueEvents
  /** Distinguishes this lane from every other one, for ever; the first part of message ids. */
  epoch: string
  /** Resolves when everything written in this turn is durable. */
  commit(): Promise<void>
  /** The lane of the dead-letter queue; asked for when the first message goes there. */
  deadLane(): Lane
}

export type Result = { receipt: string; ok: true } | { receipt: string; ok: false; error: ErrorCode }
export type ExtendResult =
  | { receipt: string; ok: true; leasedUntil: number }
  | { receipt: string; ok: false; error: ErrorCode }

export interface NackEntry {
  receipt: string
  /** Time until the next attempt in ms; absent: the backoff of the queue. */
  delayMs?: number
  reason?: string
  /** Straight to the dead letters, however many attempts are left. */
  reject?: boolean
  /** Given back unworked: ready at once, and the attempt does not count. */
  release?: boolean
}

export interface ExtendEntry {
  receipt: string
  /** From now, in ms. */
  leaseMs: number
}

export interface QueueInfo {
  name: string
  ready: number
  leased: number
  delayed: number
  /** Bytes of the messages that are not done. */
  bytes: number
  deadLetterQueue: string
  /** When the broker took the oldest message that is not done; wall clock ms. */
  oldestAt?: number
}

/**
 * A durable work queue over one lane of the store. A worker pulls messages, holds each under a lease, and says what
 * became of it; what it does not answer for in time goes to another worker.
 *
 *                      ┌────── delay over ─────── delayed ◀─┐
 *                      ▼                                    │ nack, lease ran out
 *     append ──────▶ ready ──────────pull──────▶ leased ────┤
 *                      ▲                            │ │     │ attempts used up, reject
 *                      └──────────release───────────┘ │     └──────────▶ dead-letter queue
 *                                                     └──ack──▶ (gone)
 *
 * Delivery is at least once. First in, first out among messages that are ready; what comes back is handed out before
 * what was never handed out. Leases, attempts and failures are durable before a pull is answered, and an acknowledgement
 * is durable when `ack` resolves: after a crash a lease runs on for the rest of its time and its receipt still counts.
 */
export class WorkQueue {
  readonly name: string
  readonly lane: Lane
  /** Since the process started. */
  readonly counters = { delivered: 0, acked: 0, failed: 0, leasesExpired: 0, deadLettered: 0, expired: 0, lost: 0 }

  readonly #parts: QueueParts
  readonly #book: LeaseBook
  readonly #ahead: ReadAhead
  readonly #pulls: WaitingPulls<Delivery>
  readonly #undertaker: Undertaker
  /** Entries up to here may be in the book already when the cursor passes. */
  #restoredTo = 0
  /** While the state is read from the store. Never rejects. */
  #loading: Promise<void> | null = null
  #filling = false
  #closed = false
  #timerAt = Number.POSITIVE_INFINITY
  #cancelTimer: (() => void) | null = null

  /** Use `Queues`, which makes exactly one for each name; then `open`. */
  constructor(parts: QueueParts) {
    const { name, store, clock, limits } = parts
    this.#parts = parts
    this.name = name
    this.lane = store.lane(`q/${name}`)
    this.#book = new LeaseBook(store, this.lane, clock, parts.leaseIds)
    this.#ahead = new ReadAhead(store, this.lane)
    this.#pulls = new WaitingPulls(clock, limits.pullsWaitingMax)
    this.#undertaker = new Undertaker({
      queue: name,
      store,
      lane: this.lane,
      clock,
      book: this.#book,
      idOf: (seq) => this.idOf(seq),
      deadLane: parts.deadLane,
      onBuried: (reason) => this.#onBuried(reason),
      onError: (error) => this.#recover(error),
    })
  }

  /** Reads leases, delays and attempts from the store. Rejects when the store cannot be read. */
  async open(): Promise<void> {
    this.lane.onCommitted = (chunk) => this.#onCommitted(chunk)
    const loading = this.#load()
    this.#loading = loading.catch(() => {})
    await loading
    this.#loading = null
    this.#pump()
  }

  /** The id of a message: the same for every delivery, and of no other message ever. */
  idOf(seq: number): string {
    return `${this.#parts.epoch}-${seq}`
  }

  get deadLetterQueue(): string {
    return this.#parts.deadLetterQueue
  }

  get ready(): number {
    return Math.max(0, this.lane.waiting - this.#book.leased - this.#book.delayed - this.#book.dying)
  }

  get leased(): number {
    return this.#book.leased
  }

  /** Waiting for their next attempt, or on their way to the dead letters. */
  get delayed(): number {
    return this.#book.delayed + this.#book.dying
  }

  get waitingPulls(): number {
    return this.#pulls.size
  }

  /**
   * Leases up to `max` messages for `leaseMs`. Resolves when the leases are durable; with an empty array when nothing
   * came within `waitMs` or the signal was aborted. Waiting pulls are served in the order in which they came.
   * @throws SluiceError quota_exceeded, server_shutting_down, store_unavailable, store_full
   */
  pull(max: number, leaseMs: number, waitMs = 0, signal?: AbortSignal): Promise<Delivery[]> {
    if (this.#closed) return Promise.reject(new SluiceError('server_shutting_down', `queue ${this.name} is closing`))
    return this.#pulls.wait(max, leaseMs, waitMs, signal, () => this.#pump())
  }

  /**
   * The work is done. Resolves when that is durable.
   * @throws SluiceError store_unavailable, store_full: nothing of it is durable
   */
  async ack(receipts: readonly string[]): Promise<Result[]> {
    if (this.#loading !== null) await this.#loading
    const results: Result[] = []
    for (const receipt of receipts) {
      const entry = this.#find(receipt)
      if (entry !== null) {
        this.#book.settle(entry)
        this.counters.acked++
      }
      results.push(entry === null ? { receipt, ok: false, error: 'receipt_lost' } : { receipt, ok: true })
    }
    await this.#finish()
    return results
  }

  /** The work failed, or is given back. Resolves when that is durable. Errors as `ack`. */
  async nack(entries: readonly NackEntry[]): Promise<Result[]> {
    if (this.#loading !== null) await this.#loading
    const results: Result[] = []
    for (const { receipt, delayMs, reason, reject, release } of entries) {
      const entry = this.#find(receipt)
      if (entry === null) {
        results.push({ receipt, ok: false, error: 'receipt_lost' })
        continue
      }
      if (release === true) this.#book.release(entry)
      else this.#failed(entry, reason ?? 'not acknowledged', delayMs, reject === true)
      results.push({ receipt, ok: true })
    }
    this.#book.tidy()
    await this.#undertaker.done()
    await this.#finish()
    return results
  }

  /** The work takes longer: the lease ends `leaseMs` from now. Resolves when that is durable. Errors as `ack`. */
  async extend(entries: readonly ExtendEntry[]): Promise<ExtendResult[]> {
    if (this.#loading !== null) await this.#loading
    const leases = new Map<number, Lease>()
    const results: ExtendResult[] = []
    for (const { receipt, leaseMs } of entries) {
      const entry = this.#find(receipt)
      if (entry === null) {
        results.push({ receipt, ok: false, error: 'receipt_lost' })
        continue
      }
      let lease = leases.get(leaseMs)
      if (lease === undefined) {
        lease = this.#book.newLease(leaseMs)
        leases.set(leaseMs, lease)
      }
      // Twice in one request: the first one counts.
      if (entry.lease !== lease) this.#book.extend(entry, lease)
      results.push({ receipt, ok: true, leasedUntil: lease.until })
    }
    this.#book.tidy()
    for (const lease of leases.values()) this.#book.seal(lease)
    await this.#finish()
    return results
  }

  /** Gives deliveries back that never reached a worker: ready at once, the attempt does not count. */
  release(deliveries: readonly Delivery[]): void {
    for (const { receipt } of deliveries) {
      const entry = this.#book.find(receipt)
      if (entry !== null) this.#book.release(entry)
    }
    this.#finish().catch(() => {})
  }

  async info(): Promise<QueueInfo> {
    const info: QueueInfo = {
      name: this.name,
      ready: this.ready,
      leased: this.leased,
      delayed: this.delayed,
      bytes: this.lane.waitingBytes,
      deadLetterQueue: this.deadLetterQueue,
    }
    const chunk = this.lane.waiting === 0 ? null : await this.#parts.store.read(this.lane, 1)
    const oldest = chunk?.messages.find((_, i) => !chunk.isSettled(i))
    if (oldest !== undefined) info.oldestAt = storedTime(oldest)
    return info
  }

  /** Answers waiting pulls with nothing and takes no more. Acknowledgements still count while the store is open. */
  async close(): Promise<void> {
    this.#closed = true
    this.lane.onCommitted = null
    this.#cancelTimer?.()
    this.#cancelTimer = null
    this.#pulls.answerAll()
    await this.#undertaker.done()
  }

  #onCommitted(chunk: Chunk): void {
    this.#ahead.committed(chunk)
    if (this.#pulls.size > 0) this.#pump()
  }

  /** Serves waiting pulls as far as messages are at hand. */
  #pump(): void {
    if (this.#loading !== null || this.#filling || this.#closed) return
    for (let pull = this.#pulls.first(); pull !== undefined; pull = this.#pulls.first()) {
      if (this.#mustFill(pull.max)) {
        void this.#fill(pull.max)
        return
      }
      const deliveries = this.#take(pull)
      if (deliveries.length === 0) {
        this.#pulls.answerImpatient()
        break
      }
      this.#pulls.remove(pull)
      void this.#serve(pull, deliveries)
    }
    this.#arm()
  }

  get #full(): boolean {
    const { unsettledMax, failureBytesMax } = this.#parts.limits
    return this.#book.entries.size >= unsettledMax || this.#book.historyBytes >= failureBytesMax
  }

  #mustFill(wanted: number): boolean {
    return this.#ahead.wantsMore && !this.#full && this.#ahead.available + this.#book.ready.size < wanted
  }

  async #fill(wanted: number): Promise<void> {
    this.#filling = true
    try {
      while (this.#mustFill(wanted)) await this.#ahead.fill()
    } catch (error) {
      this.#pulls.first()?.fail(error)
    } finally {
      this.#filling = false
    }
    this.#pump()
  }

  /** Leases what is at hand, in memory and in the open group. */
  #take(pull: Pull<Delivery>): Delivery[] {
    const book = this.#book
    const ahead = this.#ahead
    const deliveries: Delivery[] = []
    const now = this.#parts.clock.now()
    let lease: Lease | null = null
    let suffix = ''
    let leaseId = 0
    while (deliveries.length < pull.max) {
      let entry = book.ready.pop()
      const again = entry !== undefined
      if (entry === undefined) {
        if (this.#full || !ahead.advance()) break
        if (ahead.seq <= this.#restoredTo && book.entries.has(ahead.seq)) continue
        if (secondsLeft(ahead.chunk!.messages[ahead.index]!, now) <= 0) {
          this.#expire(ahead.seq)
          continue
        }
        entry = new Entry(ahead.seq)
        book.entries.set(entry.seq, entry)
      }
      if (lease === null) {
        lease = book.newLease(pull.leaseMs)
        leaseId = book.nextLeaseId()
        suffix = leaseSuffix(leaseId)
      }
      book.hold(entry, lease, leaseId)
      const message = again ? noMessage : ahead.chunk!.messages[ahead.index]!
      const extra = again ? null : (ahead.chunk!.extras?.[ahead.index] ?? null)
      deliveries.push(new Delivery(entry, lease, suffix, message, extra))
    }
    if (lease !== null) book.seal(lease)
    return deliveries
  }

  /** The Message Expiry Interval ran out while the message waited [v5 MQTT-3.3.2-5]. */
  #expire(seq: number): void {
    this.#parts.store.settle(this.lane, seq)
    this.counters.expired++
    this.#commitQuietly()
  }

  async #serve(pull: Pull<Delivery>, leased: Delivery[]): Promise<void> {
    let deliveries = leased
    try {
      if (leased.some((delivery) => delivery.message === noMessage)) deliveries = await this.#fetch(leased)
      await this.#parts.commit()
    } catch (error) {
      pull.fail(error)
      this.#recover(error)
      return
    }
    if (pull.aborted) {
      this.release(deliveries)
      return pull.answer([])
    }
    this.counters.delivered += deliveries.length
    pull.answer(deliveries)
  }

  /** Reads the messages that are handed out again; without those that expired meanwhile. */
  async #fetch(deliveries: readonly Delivery[]): Promise<Delivery[]> {
    const kept: Delivery[] = []
    let chunk: Chunk | null = null
    for (const delivery of deliveries) {
      if (delivery.message === noMessage) {
        const seq = delivery.seq
        if (chunk === null || seq < chunk.firstSeq || seq >= chunk.firstSeq + chunk.count)
          chunk = await this.#parts.store.read(this.lane, seq)
        const index = chunk === null ? -1 : seq - chunk.firstSeq
        const message = chunk?.messages[index]
        const gone = chunk === null || message === undefined || chunk.isSettled(index)
        if (gone || secondsLeft(message, this.#parts.clock.now()) <= 0) {
          const entry = this.#book.find(delivery.receipt)
          if (entry !== null) this.#book.settle(entry)
          this.counters.expired++
          continue
        }
        delivery.message = message
        delivery.extra = chunk!.extras?.[index] ?? null
      }
      kept.push(delivery)
    }
    this.#book.tidy()
    return kept
  }

  #find(receipt: string): Entry | null {
    const entry = this.#book.find(receipt)
    if (entry === null) this.counters.lost++
    return entry
  }

  #failed(entry: Entry, reason: string, delayMs: number | undefined, reject: boolean): void {
    const { maxAttempts, backoff, random } = this.#parts
    this.counters.failed++
    if (reject || entry.attempt >= maxAttempts) {
      this.#book.condemn(entry, reason)
      this.#undertaker.take(entry)
    } else {
      this.#book.fail(entry, reason, delayMs ?? backoffMs(backoff, entry.attempt, random.next()))
    }
  }

  #onBuried(reason: string): void {
    const { events, deadLetterQueue } = this.#parts
    this.counters.deadLettered++
    events.deadLettered?.({ queue: this.name, deadLetterQueue, count: 1, reason })
    this.#commitQuietly()
  }

  /** Ends a change: records in line, places that came free used, and durable. */
  async #finish(): Promise<void> {
    this.#book.tidy()
    this.#arm()
    if (this.#pulls.size > 0) this.#pump()
    try {
      await this.#parts.commit()
    } catch (error) {
      this.#recover(error)
      throw error
    }
  }

  #commitQuietly(): void {
    this.#parts.commit().catch((error: unknown) => this.#recover(error))
  }

  /** Sets the timer for the next lease or delay that ends. One that fires too early does no harm. */
  #arm(): void {
    const next = this.#book.timers.peek()
    if (next === undefined || next.key >= this.#timerAt || this.#closed) return
    this.#cancelTimer?.()
    this.#timerAt = next.key
    const ms = Math.max(1, Math.ceil(next.key - this.#parts.clock.monotonic()))
    this.#cancelTimer = this.#parts.clock.after(ms, () => this.#tick())
  }

  #tick(): void {
    this.#timerAt = Number.POSITIVE_INFINITY
    this.#cancelTimer = null
    if (this.#loading !== null || this.#closed) return
    const now = this.#parts.clock.monotonic()
    const { timers } = this.#book
    let expired = 0
    for (let next = timers.peek(); next !== undefined && next.key <= now; next = timers.peek()) {
      timers.pop()
      if (next instanceof Entry) {
        this.#book.wake(next)
        continue
      }
      for (const entry of next.entries) {
        if (entry.lease !== next) continue
        this.#failed(entry, 'lease expired', undefined, false)
        expired++
      }
    }
    this.#book.tidy()
    if (expired > 0) {
      this.counters.leasesExpired += expired
      this.#parts.events.leaseExpired?.({ queue: this.name, count: expired })
      this.#commitQuietly()
    }
    this.#pump()
    this.#arm()
  }

  async #load(): Promise<void> {
    this.#cancelTimer?.()
    this.#cancelTimer = null
    this.#timerAt = Number.POSITIVE_INFINITY
    this.#book.clear()
    this.#undertaker.reset()
    this.#ahead.reset()
    const { store, clock, leaseIds } = this.#parts
    this.#restoredTo = await restoreBook(this.#book, store, this.lane, clock, leaseIds)
    for (const entry of this.#book.entries.values()) if (entry.state === 'dying') this.#undertaker.take(entry)
    this.#arm()
  }

  /**
   * A group did not become durable, so memory is ahead of the store: the state is read again, as after a restart.
   * Pulls wait meanwhile.
   */
  #recover(error: unknown): void {
    if (this.#loading !== null || this.#closed) return
    this.#parts.events.internalError?.({ where: `queue ${this.name}`, error })
    this.#loading = this.#reload().finally(() => {
      this.#loading = null
      this.#pump()
    })
  }

  async #reload(): Promise<void> {
    while (!this.#closed) {
      // Groups that were closed before have come to their end after this.
      await this.#parts.store.commit().catch(() => {})
      try {
        return await this.#load()
      } catch (error) {
        this.#parts.events.internalError?.({ where: `queue ${this.name}`, error })
        await new Promise<void>((resolve) => this.#parts.clock.after(1000, resolve))
      }
    }
  }
}

/** Stands for a message that has to be read from the store. */
const noMessage = Buffer.alloc(0)
