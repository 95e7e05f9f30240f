import { secondsLeft } from '../router/message.ts'
import type { Chunk, Lane } from '../store.ts'
import { Delivery } from './delivery.ts'
import { Entry, type Lease } from './entry.ts'
import type { LeaseBook } from './lease-book.ts'
import { ReadAhead } from './read-ahead.ts'
import { leaseSuffix } from './receipt.ts'
import type { QueueCounters, QueueParts } from './settings.ts'
import { type Pull, WaitingPulls } from './waiting-pulls.ts'

/** Message bytes of one pull's answer; the last message may go beyond. Fresh messages keep to READ_AHEAD_BYTES_MAX. */
const FETCHED_BYTES_MAX = 4 * 1024 * 1024

/** Stands for a message that has to be read from the store. */
const noMessage = Buffer.alloc(0)

/**
 * Hands messages out: brings waiting pulls and ready messages together, in the order of both. Messages that come back
 * go before those that were never handed out.
 */
export class Dispenser {
  readonly #parts: QueueParts
  readonly #lane: Lane
  readonly #book: LeaseBook
  readonly #counters: QueueCounters
  readonly #onError: (error: unknown) => void
  readonly #ahead: ReadAhead
  readonly #pulls: WaitingPulls<Delivery>
  /** Entries up to here may be in the book already when the cursor passes. */
  #restoredTo = 0
  #paused = true
  #filling = false

  constructor(
    parts: QueueParts,
    lane: Lane,
    book: LeaseBook,
    counters: QueueCounters,
    onError: (error: unknown) => void,
  ) {
    this.#parts = parts
    this.#lane = lane
    this.#book = book
    this.#counters = counters
    this.#onError = onError
    this.#ahead = new ReadAhead(parts.store, lane)
    this.#pulls = new WaitingPulls(parts.clock, parts.limits.pullsWaitingMax)
  }

  get waiting(): number {
    return this.#pulls.size
  }

  /**
   * Until now pulls wait.
   * @param restoredTo the highest sequence number the book may hold already
   */
  start(restoredTo: number): void {
    this.#restoredTo = restoredTo
    this.#paused = false
    this.pump()
  }

  /** Answers waiting pulls with nothing. */
  close(): void {
    this.#paused = true
    this.#pulls.answerAll()
  }

  /** See `WorkQueue.pull`. */
  pull(max: number, leaseMs: number, waitMs: number, signal: AbortSignal | undefined): Promise<Delivery[]> {
    return this.#pulls.wait(max, leaseMs, waitMs, signal, () => this.pump())
  }

  /** A chunk of the lane became durable. */
  committed(chunk: Chunk): void {
    this.#ahead.committed(chunk)
    this.pump()
  }

  /** Serves waiting pulls as far as messages are at hand. */
  pump(): void {
    if (this.#paused || this.#filling) return
    for (let pull = this.#pulls.first(); pull !== undefined; pull = this.#pulls.first()) {
      if (this.#mustFill(pull.max)) {
        void this.#fill(pull.max)
        return
      }
      const deliveries = this.#take(pull)
      if (deliveries.length === 0) {
        // What was in memory had been handed out or settled before.
        if (this.#mustFill(1)) continue
        this.#pulls.answerImpatient()
        return
      }
      this.#pulls.remove(pull)
      void this.#serve(pull, deliveries)
    }
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
      while (!this.#paused && this.#mustFill(wanted)) await this.#ahead.fill()
    } catch (error) {
      this.#pulls.first()?.fail(error)
    } finally {
      this.#filling = false
    }
    this.pump()
  }

  /** Leases what is at hand, in memory and in the open group. */
  #take(pull: Pull<Delivery>): Delivery[] {
    const book = this.#book
    const deliveries: Delivery[] = []
    let lease: Lease | null = null
    let leaseId = 0
    let suffix = ''
    while (deliveries.length < pull.max) {
      const back = book.ready.pop()
      const entry = back ?? this.#next()
      if (entry === null) break
      if (lease === null) {
        lease = book.newLease(pull.leaseMs)
        leaseId = book.nextLeaseId()
        suffix = leaseSuffix(leaseId)
      }
      book.hold(entry, lease, leaseId)
      const { chunk, index } = this.#ahead
      const message = back === undefined ? chunk!.messages[index]! : noMessage
      const extra = back === undefined ? (chunk!.extras?.[index] ?? null) : null
      deliveries.push(new Delivery(entry, lease, suffix, message, extra))
    }
    if (lease !== null) book.seal(lease)
    return deliveries
  }

  /** The next message that was never handed out, if one is in memory; its body lies under the cursor. */
  #next(): Entry | null {
    const ahead = this.#ahead
    while (!this.#full && ahead.advance()) {
      if (ahead.seq <= this.#restoredTo && this.#book.entries.has(ahead.seq)) continue
      if (this.#expired(ahead.chunk!.messages[ahead.index]!)) {
        this.#parts.store.settle(this.#lane, ahead.seq)
        this.#parts.commit().catch(this.#onError)
        continue
      }
      const entry = new Entry(ahead.seq)
      this.#book.entries.set(entry.seq, entry)
      return entry
    }
    return null
  }

  /** The Message Expiry Interval ran out while the message waited [v5 MQTT-3.3.2-5]. */
  #expired(message: Buffer): boolean {
    if (secondsLeft(message, this.#parts.clock.now()) > 0) return false
    this.#counters.expired++
    return true
  }

  async #serve(pull: Pull<Delivery>, leased: Delivery[]): Promise<void> {
    let deliveries = leased
    try {
      if (leased.some((delivery) => delivery.message === noMessage)) deliveries = await this.#fetch(leased)
      await this.#parts.commit()
    } catch (error) {
      pull.fail(error)
      this.#onError(error)
      this.giveBack(leased)
      return
    }
    if (pull.aborted) {
      this.giveBack(deliveries)
      pull.answer([])
      return
    }
    this.#counters.delivered += deliveries.length
    pull.answer(deliveries)
  }

  /** Reads the messages that are handed out again; without those that expired meanwhile. */
  async #fetch(deliveries: readonly Delivery[]): Promise<Delivery[]> {
    const kept: Delivery[] = []
    let bytes = 0
    let chunk: Chunk | null = null
    for (const [i, delivery] of deliveries.entries()) {
      if (bytes >= FETCHED_BYTES_MAX) {
        this.giveBack(deliveries.slice(i))
        break
      }
      if (delivery.message === noMessage) {
        const seq = delivery.entry.seq
        if (chunk === null || seq < chunk.firstSeq || seq >= chunk.firstSeq + chunk.count)
          chunk = await this.#parts.store.read(this.#lane, seq)
        const index = chunk === null ? -1 : seq - chunk.firstSeq
        const message = chunk?.messages[index]
        if (chunk === null || message === undefined || chunk.isSettled(index) || this.#expired(message)) {
          const entry = this.#book.find(delivery.receipt)
          if (entry !== null) this.#book.settle(entry)
          continue
        }
        delivery.message = message
        delivery.extra = chunk.extras?.[index] ?? null
      }
      bytes += delivery.message.length
      kept.push(delivery)
    }
    this.#book.tidy()
    return kept
  }

  /** What did not reach a worker is ready again at once; the attempt does not count. */
  giveBack(deliveries: readonly Delivery[]): void {
    if (deliveries.length === 0) return
    for (const { receipt } of deliveries) {
      const entry = this.#book.find(receipt)
      if (entry !== null) this.#book.release(entry)
    }
    this.#book.tidy()
    this.#parts.commit().catch(this.#onError)
    this.pump()
  }
}
