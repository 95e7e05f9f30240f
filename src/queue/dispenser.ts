/** Hands messages out. Size: one loop decides about pulls, stripes, pace and keys together. */
import { secondsLeft, storedTime } from '../router/message.ts'
import type { Chunk } from '../store.ts'
import { Delivery } from './delivery.ts'
import { Entry, type Lease } from './entry.ts'
import { fetchMessages } from './fetch.ts'
import type { KeyGate } from './key-gate.ts'
import { Pace } from './pace.ts'
import { leaseSuffix } from './receipt.ts'
import type { QueueCounters, QueueParts } from './settings.ts'
import type { Stripe } from './stripe.ts'
import type { Stripes } from './stripes.ts'
import { expiryOf, keyOf } from './terms.ts'
import { type Pull, WaitingPulls } from './waiting-pulls.ts'

/**
 * Hands messages out: brings waiting pulls and ready messages together, in the order of both. Messages that come back
 * go before those of their priority that were never handed out. How many go at a time, and how fast, is up to the
 * settings of the queue and of its ordering keys.
 */
export class Dispenser {
  readonly #parts: QueueParts
  readonly #stripes: Stripes
  readonly #gate: KeyGate
  readonly #counters: QueueCounters
  readonly #onError: (error: unknown) => void
  readonly #pulls: WaitingPulls<Delivery>
  readonly #pace: Pace
  /** Closed, or not open yet. */
  #closed = true
  #filling = false

  constructor(
    parts: QueueParts,
    stripes: Stripes,
    gate: KeyGate,
    counters: QueueCounters,
    onError: (error: unknown) => void,
  ) {
    this.#parts = parts
    this.#stripes = stripes
    this.#gate = gate
    this.#counters = counters
    this.#onError = onError
    this.#pulls = new WaitingPulls(parts.clock, parts.limits.pullsWaitingMax)
    const leased = (): number => stripes.sum(({ book }) => book.leased)
    this.#pace = new Pace(
      parts.paused,
      () => parts.settings,
      leased,
      parts.clock,
      () => this.pump(),
    )
    gate.onFree = (seq, state) => {
      // It may be on its way elsewhere.
      if (stripes.usual.book.entries.has(seq)) return gate.done(state)
      const entry = new Entry(seq)
      entry.gate = state
      stripes.usual.book.admit(entry)
    }
  }

  get waiting(): number {
    return this.#pulls.size
  }

  get paused(): boolean {
    return this.#pace.paused
  }

  /** While paused, pulls wait. What is leased stays leased, and is answered for as ever. */
  set paused(paused: boolean) {
    this.#pace.paused = paused
    this.pump()
  }

  /** Until now pulls wait. */
  start(): void {
    this.#closed = false
    this.pump()
  }

  /** Answers waiting pulls with nothing. */
  close(): void {
    this.#closed = true
    this.#pace.stop()
    this.#gate.stop()
    this.#pulls.answerAll()
  }

  /** See `WorkQueue.pull`. */
  pull(max: number, leaseMs: number, waitMs: number, signal: AbortSignal | undefined): Promise<Delivery[]> {
    return this.#pulls.wait(max, leaseMs, waitMs, signal, () => this.pump())
  }

  /** A chunk of the stripe became durable. */
  committed(stripe: Stripe, chunk: Chunk): void {
    stripe.ahead.committed(chunk)
    this.pump()
  }

  /** Serves waiting pulls as far as messages are at hand. A pull during which the store cannot be asked fails. */
  pump(): void {
    try {
      this.#pump()
    } catch (error) {
      this.#pulls.first()?.fail(error)
      this.#onError(error)
    }
  }

  #pump(): void {
    if (this.#closed || this.#filling) return
    for (let pull = this.#pulls.first(); pull !== undefined; pull = this.#pulls.first()) {
      if (!this.#pace.allows()) {
        this.#pulls.answerImpatient()
        return
      }
      if (this.#toFill(pull.max) !== null) {
        void this.#fill(pull.max)
        return
      }
      const deliveries = this.#take(pull)
      if (deliveries.length === 0) {
        // What was in memory had been handed out or settled before, or has to wait for its turn.
        if (this.#pace.allows() && this.#toFill(1) !== null) continue
        this.#pulls.answerImpatient()
        return
      }
      this.#pulls.remove(pull)
      void this.#serve(pull, deliveries)
    }
  }

  get #full(): boolean {
    const { unsettledMax, failureBytesMax } = this.#parts.limits
    const { all, usual } = this.#stripes
    let unsettled = usual.book.entries.size
    let historyBytes = usual.book.historyBytes
    for (let i = 0; i < all.length && all.length > 1; i++) {
      if (all[i] === usual) continue
      unsettled += all[i]!.book.entries.size
      historyBytes += all[i]!.book.historyBytes
    }
    return unsettled >= unsettledMax || historyBytes >= failureBytesMax
  }

  /** Whether messages of this stripe that were never handed out may be looked at. */
  readonly #fresh = (stripe: Stripe): boolean =>
    !this.#full && (stripe !== this.#stripes.usual || this.#gate.parked === 0 || !this.#gate.full)

  /** A stripe to read from the store before `wanted` messages can be handed out; null: none. */
  #toFill(wanted: number): Stripe | null {
    const { all } = this.#stripes
    let available = 0
    for (let i = 0; i < all.length; i++) available += all[i]!.ahead.available + all[i]!.book.ready.size
    for (let i = 0; i < all.length; i++) {
      const stripe = all[i]!
      // Who comes first cannot be told before the first of each is known.
      const unknown = all.length > 1 && stripe.ahead.available === 0
      if (stripe.ahead.wantsMore && (unknown || available < wanted) && this.#fresh(stripe)) return stripe
    }
    return null
  }

  async #fill(wanted: number): Promise<void> {
    this.#filling = true
    try {
      for (let stripe = this.#toFill(wanted); stripe !== null; stripe = this.#toFill(wanted)) {
        if (this.#closed) break
        await stripe.ahead.fill()
      }
    } catch (error) {
      this.#pulls.first()?.fail(error)
    } finally {
      this.#filling = false
    }
    this.pump()
  }

  /**
   * Reads what the next pull will ask for while the disk is busy with this one. The group is closed in the turn that follows,
   * and handed to the disk in the one after that: before, reading would only keep it from getting there.
   */
  #prepare(wanted: number): void {
    if (this.#toFill(wanted) === null) return
    setImmediate(() =>
      setImmediate(() => {
        if (!this.#closed && !this.#filling && this.#toFill(wanted) !== null) void this.#fill(wanted)
      }),
    )
  }

  /** Leases what is at hand, in memory and in the open group. */
  #take(pull: Pull<Delivery>): Delivery[] {
    const { all, usual } = this.#stripes
    const deliveries: Delivery[] = []
    // One lease for each stripe: their records lie in different lanes.
    const leases: { stripe: Stripe; lease: Lease }[] = []
    let leaseId = 0
    let suffix = ''
    const paced = this.#pace.limited
    const now = this.#parts.clock.now()
    while (deliveries.length < pull.max && (!paced || deliveries.length === 0 || this.#pace.allows())) {
      const stripe = all.length === 1 ? usual : this.#stripes.next(this.#fresh)
      if (stripe === null) break
      const { book, ahead } = stripe
      const back = book.ready.pop()
      const entry = back ?? this.#next(stripe, now)
      if (entry === null) {
        if (all.length === 1 || ahead.wantsMore) break
        continue
      }
      if (leaseId === 0) {
        leaseId = book.nextLeaseId()
        suffix = leaseSuffix(leaseId)
      }
      let held = leases.length === 0 ? undefined : leases.find((other) => other.stripe === stripe)
      if (held === undefined) {
        held = { stripe, lease: book.newLease(pull.leaseMs) }
        leases.push(held)
      }
      const { lease } = held
      book.hold(entry, lease, leaseId)
      if (paced) this.#pace.spend(lease.startedAt)
      const { chunk, index } = ahead
      const body = back === undefined ? (chunk!.packed ?? chunk!.message(index)) : null
      const extra = back === undefined ? (chunk!.extras?.[index] ?? null) : null
      deliveries.push(new Delivery(stripe, entry, lease, suffix, body, index, extra))
    }
    for (const { stripe, lease } of leases) stripe.book.seal(lease)
    return deliveries
  }

  /** The next message of the stripe that was never handed out, if one is in memory; its body lies under the cursor. */
  #next(stripe: Stripe, now: number): Entry | null {
    const { ahead, book } = stripe
    while (this.#fresh(stripe) && ahead.advance()) {
      if (ahead.seq <= stripe.restoredTo && book.entries.has(ahead.seq)) continue
      const { index } = ahead
      const chunk = ahead.chunk!
      const { packed } = chunk
      const message = packed === null ? chunk.message(index) : packed.buffer
      const at = packed === null ? 0 : packed.starts[index]!
      const extra = chunk.extras?.[index] ?? null
      if (this.#expired(message, extra, now, at)) {
        this.#parts.store.settle(stripe.lane, ahead.seq)
        this.#parts.commit().catch(this.#onError)
        continue
      }
      const key = extra === null ? '' : keyOf(extra)
      const gate = key === '' ? null : this.#gate.pass(key, ahead.seq)
      if (key !== '' && gate === null) continue
      const entry = new Entry(ahead.seq)
      entry.gate = gate
      book.entries.set(entry.seq, entry)
      if (this.#stripes.all.length > 1) stripe.lastTime = storedTime(message, at)
      return entry
    }
    return null
  }

  /**
   * Its time is over: the Message Expiry Interval [v5 MQTT-3.3.2-5], the time to live its producer gave it, or the age up to
   * which the queue keeps messages.
   * @param at where the message begins in the buffer
   */
  readonly #expired = (message: Buffer, extra: Buffer | null, now = this.#parts.clock.now(), at = 0): boolean => {
    const { ageMs } = this.#parts.settings.limits
    const over =
      secondsLeft(message, now, at) <= 0 ||
      (extra !== null && expiryOf(extra) <= now) ||
      (ageMs > 0 && storedTime(message, at) + ageMs <= now)
    if (over) this.#counters.expired++
    return over
  }

  async #serve(pull: Pull<Delivery>, leased: Delivery[]): Promise<void> {
    let deliveries = leased
    try {
      if (leased.some((delivery) => !delivery.fetched)) deliveries = await this.#fetch(leased)
      const durable = this.#parts.commit()
      this.#prepare(pull.max)
      await durable
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
    // All of them were given up meanwhile: there may be others.
    if (deliveries.length === 0 && !this.#closed) this.#pulls.putBack(pull)
    else pull.answer(deliveries)
    // What was given up may have made room for others.
    if (deliveries.length < leased.length) this.pump()
  }

  async #fetch(leased: readonly Delivery[]): Promise<Delivery[]> {
    const { kept, rest } = await fetchMessages(this.#parts.store, leased, this.#expired)
    this.#stripes.tidy()
    this.giveBack(rest)
    return kept
  }

  /** What did not reach a worker is ready again at once; the attempt does not count. */
  giveBack(deliveries: readonly Delivery[]): void {
    if (deliveries.length === 0) return
    for (const { stripe, seq, leaseId } of deliveries) {
      const entry = stripe.book.find(seq, leaseId)
      if (entry !== null) stripe.book.release(entry)
    }
    this.#stripes.tidy()
    this.#parts.commit().catch(this.#onError)
    this.pump()
  }
}
