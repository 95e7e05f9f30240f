import { SluiceError } from '../errors.ts'
import { storedTime } from '../router/message.ts'
import type { Lane } from '../store.ts'
import { backoffMs } from './backoff.ts'
import type { Delivery } from './delivery.ts'
import { Dispenser } from './dispenser.ts'
import { Entry, type Lease } from './entry.ts'
import { LeaseBook } from './lease-book.ts'
import { LeaseTimer } from './lease-timer.ts'
import { decodeFailures } from './marks.ts'
import type { ExtendEntry, ExtendResult, NackEntry, QueueInfo, Refusal, Result } from './requests.ts'
import { restoreBook } from './restore.ts'
import { QueueCounters, type QueueParts } from './settings.ts'
import { Undertaker } from './undertaker.ts'

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
  readonly counters = new QueueCounters()

  readonly #parts: QueueParts
  readonly #book: LeaseBook
  readonly #dispenser: Dispenser
  readonly #undertaker: Undertaker
  readonly #timer: LeaseTimer
  /** A group failed, and the marks written anew are not durable yet. */
  #repairing = false
  #closed = false

  /** Use `Queues`, which makes exactly one for each name; then `open`. */
  constructor(parts: QueueParts) {
    const { name, store, clock } = parts
    this.#parts = parts
    this.name = name
    this.lane = store.lane(`q/${name}`)
    const onError = (error: unknown): void => this.#onError(error)
    this.#book = new LeaseBook(store, this.lane, clock, parts.leaseIds)
    this.#timer = new LeaseTimer(clock, this.#book.timers, () => this.#due())
    this.#book.onTimer = () => this.#timer.arm()
    this.#dispenser = new Dispenser(parts, this.lane, this.#book, this.counters, onError)
    this.#undertaker = new Undertaker(parts, this.lane, this.#book, {
      idOf: (seq) => this.idOf(seq),
      onBuried: (entry) => this.#onBuried(entry),
      onError,
    })
  }

  /** Reads leases, delays and attempts from the store; from then on pulls are served. Rejects when that fails. */
  async open(): Promise<void> {
    const { store, clock, leaseIds } = this.#parts
    this.lane.onCommitted = (chunk) => this.#dispenser.committed(chunk)
    const restoredTo = await restoreBook(this.#book, store, this.lane, clock, leaseIds)
    for (const entry of this.#book.entries.values()) if (entry.state === 'dying') this.#undertaker.take(entry)
    this.#dispenser.start(restoredTo)
  }

  /** The id of a message: the same for every delivery, and of no other message ever. */
  idOf(seq: number): string {
    return `${this.#parts.epoch}-${seq}`
  }

  get deadLetterQueue(): string {
    return this.#parts.deadLetterQueue
  }

  get ready(): number {
    return Math.max(0, this.lane.waiting - this.leased - this.delayed)
  }

  get leased(): number {
    return this.#book.leased
  }

  /** Waiting for their next attempt, or on their way to the dead letters. */
  get delayed(): number {
    return this.#book.delayed + this.#book.dying
  }

  get pullsWaiting(): number {
    return this.#dispenser.waiting
  }

  /**
   * Leases up to `max` messages for `leaseMs`. Resolves when the leases are durable; with an empty array when nothing
   * came within `waitMs` or the signal was aborted. Waiting pulls are served in the order in which they came.
   * @throws SluiceError quota_exceeded, server_shutting_down, store_unavailable, store_full
   */
  async pull(max: number, leaseMs: number, waitMs = 0, signal?: AbortSignal): Promise<Delivery[]> {
    if (this.#closed) throw new SluiceError('server_shutting_down', `queue ${this.name} is closing`)
    return this.#dispenser.pull(max, leaseMs, waitMs, signal)
  }

  /**
   * The work is done. Resolves when that is durable.
   * @throws SluiceError store_unavailable, store_full: not durable yet. It is written again when the store is back, so
   *   that the same receipt then counts as lost; after a crash the message would come once more.
   */
  async ack(receipts: readonly string[]): Promise<Result[]> {
    const results: Result[] = []
    for (const receipt of receipts) {
      const entry = this.#book.find(receipt)
      if (entry === null) {
        results.push(this.#lost(receipt))
        continue
      }
      this.#book.settle(entry)
      this.counters.acked++
      results.push({ receipt, ok: true })
    }
    await this.#finish()
    return results
  }

  /** The work failed, or is given back. Resolves when that is durable. Errors as `ack`. */
  async nack(entries: readonly NackEntry[]): Promise<Result[]> {
    const results: Result[] = []
    for (const { receipt, delayMs, reason, reject, release } of entries) {
      const entry = this.#book.find(receipt)
      if (entry === null) {
        results.push(this.#lost(receipt))
        continue
      }
      if (release === true) this.#book.release(entry)
      else this.#fail(entry, reason ?? 'not acknowledged', delayMs, reject === true)
      results.push({ receipt, ok: true })
    }
    this.#book.tidy()
    await this.#undertaker.done()
    await this.#finish()
    return results
  }

  /** The work takes longer: the lease ends `leaseMs` from now. Resolves when that is durable. Errors as `ack`. */
  async extend(entries: readonly ExtendEntry[]): Promise<ExtendResult[]> {
    const leases = new Map<number, Lease>()
    const results: ExtendResult[] = []
    const extended = new Set<Entry>()
    for (const { receipt, leaseMs } of entries) {
      const entry = this.#book.find(receipt)
      if (entry === null) {
        results.push(this.#lost(receipt))
        continue
      }
      const lease = leases.get(leaseMs) ?? this.#book.newLease(leaseMs)
      leases.set(leaseMs, lease)
      // Twice in one request: the first one counts.
      if (!extended.has(entry)) this.#book.extend(entry, lease)
      extended.add(entry)
      results.push({ receipt, ok: true, leasedUntil: entry.lease!.until })
    }
    this.#book.tidy()
    for (const lease of leases.values()) this.#book.seal(lease)
    await this.#finish()
    return results
  }

  /** Gives deliveries back that never reached a worker: ready at once, the attempt does not count. */
  release(deliveries: readonly Delivery[]): void {
    this.#dispenser.giveBack(deliveries)
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
    for (let i = 0; chunk !== null && i < chunk.count; i++) {
      if (chunk.isSettled(i)) continue
      info.oldestAt = storedTime(chunk.messages[i]!)
      break
    }
    return info
  }

  /** Answers waiting pulls with nothing and takes no more. Acknowledgements still count while the store is open. */
  async close(): Promise<void> {
    this.#closed = true
    this.lane.onCommitted = null
    this.#book.onTimer = null
    this.#timer.stop()
    this.#dispenser.close()
    await this.#undertaker.done()
  }

  #lost(receipt: string): Refusal {
    this.counters.receiptsLost++
    return { receipt, ok: false, error: 'receipt_lost' }
  }

  #fail(entry: Entry, reason: string, delayMs: number | undefined, reject: boolean): void {
    const { maxAttempts, backoff, random } = this.#parts
    this.counters.failed++
    if (reject || entry.attempt >= maxAttempts) {
      this.#book.condemn(entry, reason)
      this.#undertaker.take(entry)
    } else {
      this.#book.fail(entry, reason, delayMs ?? backoffMs(backoff, entry.attempt, random.next()))
    }
  }

  #onBuried(entry: Entry): void {
    const { events, deadLetterQueue } = this.#parts
    this.counters.deadLettered++
    this.#parts.left()
    const reason = decodeFailures(entry.history).at(-1)?.reason ?? ''
    events.deadLettered?.({ queue: this.name, deadLetterQueue, count: 1, reason })
    this.#commitQuietly()
  }

  /** Leases and delays that are over. */
  #due(): void {
    if (this.#closed) return
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
        this.#fail(entry, 'lease expired', undefined, false)
        expired++
      }
    }
    if (expired > 0) {
      this.#book.tidy()
      this.counters.leasesExpired += expired
      this.#parts.events.leaseExpired?.({ queue: this.name, count: expired })
      this.#commitQuietly()
    }
    this.#dispenser.pump()
  }

  /** Ends a change: the leases' records in line, places that came free used, all of it durable. */
  async #finish(): Promise<void> {
    this.#book.tidy()
    this.#dispenser.pump()
    this.#parts.left()
    await this.#parts.commit().catch((error: unknown) => {
      this.#onError(error)
      throw error
    })
  }

  #commitQuietly(): void {
    this.#parts.commit().catch((error: unknown) => this.#onError(error))
  }

  /** A group did not become durable. What it said still stands in memory, and is written again until the store takes it. */
  #onError(error: unknown): void {
    if (!(error instanceof SluiceError)) this.#parts.events.internalError?.({ where: `queue ${this.name}`, error })
    if (this.#repairing || this.#closed) return
    this.#repairing = true
    this.#repairLater(REPAIR_FIRST_MS)
  }

  #repairLater(ms: number): void {
    this.#parts.clock.after(ms, () => {
      if (this.#closed) return
      this.#book.rewrite()
      this.#parts.commit().then(
        () => {
          this.#repairing = false
        },
        () => this.#repairLater(REPAIR_PAUSE_MS),
      )
    })
  }
}

/** A failure takes the open group and commits of the next turn with it: the marks are written anew after that. */
const REPAIR_FIRST_MS = 5
/** A store that stays away is not asked in a circle. */
const REPAIR_PAUSE_MS = 1000
