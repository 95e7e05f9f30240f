import { backoffMs } from './backoff.ts'
import { Entry, type Lease } from './entry.ts'
import type { ExtendEntry, ExtendResult, NackEntry, Refusal, Result } from './requests.ts'
import type { QueueCounters, QueueParts } from './settings.ts'
import type { Stripe } from './stripe.ts'
import type { Stripes } from './stripes.ts'

/** The reason of an attempt whose lease ran out. */
export const LEASE_OVER = 'lease expired'

/** What workers say about the messages they hold. See `WorkQueue` for what each resolves with. */
export class Answers {
  readonly #parts: QueueParts
  readonly #stripes: Stripes
  readonly #counters: QueueCounters
  readonly #finish: () => Promise<void>

  /** @param finish ends a change: resolves when it is durable */
  constructor(parts: QueueParts, stripes: Stripes, counters: QueueCounters, finish: () => Promise<void>) {
    this.#parts = parts
    this.#stripes = stripes
    this.#counters = counters
    this.#finish = finish
  }

  /** @param late a lease that is over counts too, as long as nobody else has got the message since */
  async ack(receipts: readonly string[], late = false): Promise<Result[]> {
    const now = this.#parts.clock.monotonic()
    const results: Result[] = []
    let servedMs = 0
    for (const receipt of receipts) {
      const stripe = this.#stripes.stripeOf(receipt)
      const entry = stripe?.find(receipt) ?? null
      if (stripe === undefined || entry === null) {
        const back = late ? stripe?.findBack(receipt) : undefined
        if (stripe === undefined || back === undefined || back === null) {
          results.push(this.#lost(receipt))
          continue
        }
        this.#counters.acked++
        stripe.book.discard(back)
        results.push({ receipt, ok: true })
        continue
      }
      servedMs += now - entry.lease!.startedAt
      this.#counters.acked++
      stripe.book.settle(entry)
      results.push({ receipt, ok: true })
    }
    this.#counters.servedMs += servedMs
    await this.#finish()
    return results
  }

  async nack(entries: readonly NackEntry[]): Promise<Result[]> {
    const results: Result[] = []
    for (const { receipt, delayMs, reason, reject, release } of entries) {
      const held = this.#stripes.find(receipt)
      if (held === null) {
        results.push(this.#lost(receipt))
        continue
      }
      if (release === true) held.stripe.book.release(held.entry)
      else this.fail(held.stripe, held.entry, reason ?? 'not acknowledged', delayMs, reject === true)
      results.push({ receipt, ok: true })
    }
    this.#stripes.tidy()
    await this.#stripes.buried()
    await this.#finish()
    return results
  }

  async over(receipts: readonly string[]): Promise<Result[]> {
    const results = await this.nack(receipts.map((receipt) => ({ receipt, reason: LEASE_OVER })))
    this.expired(results.filter(({ ok }) => ok).length)
    return results
  }

  /** Counts leases that ran out, and says so. */
  expired(count: number): void {
    if (count === 0) return
    this.#counters.leasesExpired += count
    this.#parts.events.leaseExpired?.({ queue: this.#parts.name, count })
  }

  async extend(entries: readonly ExtendEntry[]): Promise<ExtendResult[]> {
    const leases = new Map<string, { stripe: Stripe; lease: Lease }>()
    const results: ExtendResult[] = []
    const extended = new Set<Entry>()
    for (const { receipt, leaseMs } of entries) {
      const held = this.#stripes.find(receipt)
      if (held === null) {
        results.push(this.#lost(receipt))
        continue
      }
      const { stripe, entry } = held
      const key = `${stripe.priority} ${leaseMs}`
      const lease = leases.get(key)?.lease ?? stripe.book.newLease(leaseMs)
      leases.set(key, { stripe, lease })
      // Twice in one request: the first one counts.
      if (!extended.has(entry)) stripe.book.extend(entry, lease)
      extended.add(entry)
      results.push({ receipt, ok: true, leasedUntil: entry.lease!.until })
    }
    this.#stripes.tidy()
    for (const { stripe, lease } of leases.values()) stripe.book.seal(lease)
    await this.#finish()
    return results
  }

  /** Ends what is over: delays, and leases, which then count as failures. Their number. */
  expire(stripe: Stripe): number {
    const now = this.#parts.clock.monotonic()
    const { book } = stripe
    const { timers } = book
    let expired = 0
    for (let next = timers.peek(); next !== undefined && next.key <= now; next = timers.peek()) {
      timers.pop()
      if (next instanceof Entry) {
        book.wake(next)
        continue
      }
      for (const entry of next.entries) {
        if (entry.lease !== next) continue
        this.fail(stripe, entry, LEASE_OVER, undefined, false)
        expired++
      }
    }
    if (expired > 0) book.tidy()
    this.expired(expired)
    return expired
  }

  #lost(receipt: string): Refusal {
    this.#counters.receiptsLost++
    return { receipt, ok: false, error: 'receipt_lost' }
  }

  /** The running attempt failed: the message comes back after a while, or is condemned. Then `tidy`. */
  fail(stripe: Stripe, entry: Entry, reason: string, delayMs: number | undefined, reject: boolean): void {
    const { settings, random } = this.#parts
    const { maxAttempts, backoff } = settings
    this.#counters.failed++
    if (reject || entry.attempt >= maxAttempts) {
      try {
        stripe.book.condemn(entry, reason)
      } finally {
        // Its mark may be missing; it is condemned all the same.
        stripe.undertaker.take(entry)
      }
    } else {
      stripe.book.fail(entry, reason, delayMs ?? backoffMs(backoff, entry.attempt, random.next()))
    }
  }
}
