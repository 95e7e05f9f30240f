import { SluiceError } from '../errors.ts'
import type { Lane } from '../store.ts'
import { Answers } from './answers.ts'
import type { Delivery } from './delivery.ts'
import { Dispenser } from './dispenser.ts'
import type { Entry } from './entry.ts'
import { describeQueue } from './info.ts'
import { keepLane } from './keep-lane.ts'
import { KeyGate } from './key-gate.ts'
import { decodeFailures } from './marks.ts'
import { Repair } from './repair.ts'
import type { ExtendEntry, ExtendResult, NackEntry, QueueInfo, Result } from './requests.ts'
import { QueueCounters, type QueueParts, type QueueSettings } from './settings.ts'
import { Stripe } from './stripe.ts'
import { Stripes } from './stripes.ts'
import { Sweep } from './sweep.ts'

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
 * Delivery is at least once. First in, first out among messages of one priority that are ready; what comes back is handed
 * out before what was never handed out. Leases, attempts and failures are durable before a pull is answered, and an
 * acknowledgement is durable when `ack` resolves: after a crash a lease runs on for the rest of its time and its receipt
 * still counts.
 */
export class WorkQueue {
  readonly name: string
  readonly counters = new QueueCounters()

  readonly #parts: QueueParts
  readonly #stripes: Stripes
  readonly #gate: KeyGate
  readonly #dispenser: Dispenser
  readonly #repair: Repair
  readonly #answers: Answers
  readonly #sweep: Sweep
  #state: 'new' | 'open' | 'closed' = 'new'
  #opening: Promise<void> | null = null

  /** Use `Queues`, which makes exactly one for each name; then `open`. */
  constructor(parts: QueueParts) {
    const { clock } = parts
    this.#parts = parts
    this.name = parts.name
    const keys = (): QueueSettings['keys'] => parts.settings.keys
    this.#gate = new KeyGate(keys, clock, () => this.#dispenser.pump())
    const ageingMs = (): number => parts.settings.ageingMs
    this.#stripes = new Stripes((priority) => this.#makeStripe(priority), clock, ageingMs)
    this.#repair = new Repair(clock, () => {
      for (const { book } of this.#stripes.all) book.rewrite()
      return parts.commit()
    })
    this.#sweep = new Sweep(parts, this.#stripes, this.counters)
    this.#answers = new Answers(parts, this.#stripes, this.counters, () => this.#finish())
    this.#dispenser = new Dispenser(parts, this.#stripes, this.#gate, this.counters, this.#onError)
  }

  /**
   * Reads leases, delays and attempts from the store; from then on pulls are served. Rejects when that fails: then it can be
   * called again.
   */
  open(): Promise<void> {
    this.#opening ??= this.#open().finally(() => {
      this.#opening = null
    })
    return this.#opening
  }

  get isOpen(): boolean {
    return this.#state === 'open'
  }

  async #open(): Promise<void> {
    if (this.#state !== 'new') return
    for (const priority of this.#parts.priorities) this.#stripes.of(priority)
    for (const stripe of this.#stripes.all) {
      await keepLane(this.#parts.store, stripe.lane)
      this.#listen(stripe)
      await stripe.restore(this.#gate)
    }
    if (this.#state !== 'new') return
    this.#state = 'open'
    this.#dispenser.start()
  }

  /** The lane of the messages of the usual priority. */
  get lane(): Lane {
    return this.#stripes.usual.lane
  }

  /** The lane of the messages of this priority, made on first use. */
  laneOf(priority: number): Lane {
    return this.#stripes.of(priority).lane
  }

  get stripes(): readonly Stripe[] {
    return this.#stripes.all
  }

  get settings(): QueueSettings {
    return this.#parts.settings
  }

  /** Holds from now on; what is leased is not touched. */
  set settings(settings: QueueSettings) {
    this.#parts.settings = settings
    this.#dispenser.pump()
  }

  /** Nobody gets messages while it is paused. */
  get paused(): boolean {
    return this.#dispenser.paused
  }

  set paused(paused: boolean) {
    this.#dispenser.paused = paused
  }

  /** Messages and bytes not done. */
  get waiting(): number {
    return this.#stripes.waiting
  }

  get waitingBytes(): number {
    return this.#stripes.waitingBytes
  }

  /** Messages that came so far: the sum of sequence numbers. */
  get arrived(): number {
    return this.#stripes.sum(({ lane }) => lane.nextSeq - 1)
  }

  /** The id of a message by its number: the same for every delivery, and of no other message ever. */
  idOf(ref: number): string {
    return `${this.#parts.epoch}-${ref}`
  }

  get deadLetterQueue(): string {
    return this.#parts.deadLetterQueue
  }

  get ready(): number {
    return Math.max(0, this.waiting - this.leased - this.delayed)
  }

  get leased(): number {
    return this.#stripes.sum(({ book }) => book.leased)
  }

  /** Waiting for the next attempt, or for the dead letters. */
  get delayed(): number {
    return this.#stripes.sum(({ book }) => book.delayed + book.dying)
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
    if (this.#state === 'closed') throw new SluiceError('server_shutting_down', `queue ${this.name} is closing`)
    return this.#dispenser.pull(max, leaseMs, waitMs, signal)
  }

  /**
   * The work is done. Resolves when that is durable.
   * @throws SluiceError store_unavailable, store_full: not durable yet. It is written again when the store is back, so
   *   that the same receipt then counts as lost; after a crash the message would come once more.
   * @param late a lease that is over counts too, as long as nobody else has got the message since
   */
  ack(receipts: readonly string[], late = false): Promise<Result[]> {
    return this.#answers.ack(receipts, late)
  }

  /** The holder says that its time is over before the lease is. Resolves when that is durable. Errors as `ack`. */
  leaseOver(receipts: readonly string[]): Promise<Result[]> {
    return this.#answers.over(receipts)
  }

  /** What this receipt holds: the attempt, 1 = first, and the end of the lease in wall clock ms; null: nothing. */
  held(receipt: string): { attempt: number; until: number } | null {
    const entry = this.#stripes.find(receipt)?.entry
    return entry === undefined ? null : { attempt: entry.attempt, until: entry.lease!.until }
  }

  /** The work failed, or is given back. Resolves when that is durable. Errors as `ack`. */
  nack(entries: readonly NackEntry[]): Promise<Result[]> {
    return this.#answers.nack(entries)
  }

  /** The work takes longer: the lease ends `leaseMs` from now. Resolves when that is durable. Errors as `ack`. */
  extend(entries: readonly ExtendEntry[]): Promise<ExtendResult[]> {
    return this.#answers.extend(entries)
  }

  /** Gives deliveries back that never reached a worker: ready at once, the attempt does not count. */
  release(deliveries: readonly Delivery[]): void {
    this.#dispenser.giveBack(deliveries)
  }

  /** The queue takes more than it has room for: the oldest messages that nobody holds go. */
  makeRoom(): void {
    this.#sweep.makeRoom().catch(this.#onError)
  }

  /** Gives up messages at the head of the queue whose time is over and that nobody holds. */
  expire(): Promise<void> {
    return this.#sweep.expire()
  }

  /** Gives up every message that nobody holds. Resolves, when that is durable, with their number. */
  purge(): Promise<number> {
    return this.#sweep.purge().then((count) => this.#finish().then(() => count))
  }

  /** Counts of this moment. */
  info(): Promise<QueueInfo> {
    return describeQueue(this, this.#parts.store)
  }

  /** Answers waiting pulls with nothing and takes no more. Acknowledgements still count while the store is open. */
  async close(): Promise<void> {
    this.#state = 'closed'
    this.#repair.close()
    for (const stripe of this.#stripes.all) stripe.close()
    this.#dispenser.close()
    await this.#stripes.buried()
  }

  #makeStripe(priority: number): Stripe {
    const hooks = { onBuried: (entry: Entry) => this.#onBuried(entry), onError: this.#onError }
    const stripe = new Stripe(this.#parts, priority, hooks, (due) => this.#due(due))
    // At first all are made before any listens: see `open`.
    if (this.#state === 'open') {
      void keepLane(this.#parts.store, stripe.lane)
      this.#listen(stripe)
    }
    return stripe
  }

  #listen(stripe: Stripe): void {
    stripe.lane.onCommitted = (chunk) => this.#dispenser.committed(stripe, chunk)
    stripe.book.onGone = (entry) => {
      if (entry.gate !== null) this.#gate.done(entry.gate)
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
  #due(stripe: Stripe): void {
    if (this.#state === 'closed') return
    if (this.#answers.expire(stripe) > 0) {
      this.#commitQuietly()
    }
    this.#dispenser.pump()
  }

  /** Ends a change: the leases' records in line, places that came free used, all of it durable. */
  async #finish(): Promise<void> {
    this.#stripes.tidy()
    this.#dispenser.pump()
    this.#parts.left()
    await this.#parts.commit().catch((error: unknown) => {
      this.#onError(error)
      throw error
    })
  }

  #commitQuietly(): void {
    this.#parts.commit().catch(this.#onError)
  }

  readonly #onError = (error: unknown): void => {
    if (!(error instanceof SluiceError)) this.#parts.events.internalError?.({ where: `queue ${this.name}`, error })
    this.#repair.start()
  }
}
