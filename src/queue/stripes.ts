import type { Clock } from '../base/clock.ts'
import type { Entry } from './entry.ts'
import { receiptRef } from './receipt.ts'
import { priorityOf, type Stripe } from './stripe.ts'
import { PRIORITY_DEFAULT } from './terms.ts'

/** A message with a worker. */
export interface Held {
  readonly stripe: Stripe
  readonly entry: Entry
}

/** The stripes of a queue that are in use, and which of them is to be served next. */
export class Stripes {
  /** The one every queue has. */
  readonly usual: Stripe
  /** All of them, highest priority first. */
  readonly all: Stripe[]
  readonly #byPriority: (Stripe | undefined)[] = new Array(10)
  readonly #clock: Clock
  readonly #make: (priority: number) => Stripe
  readonly #ageingMs: () => number

  /**
   * @param make a stripe of this priority, asked for once
   * @param ageingMs each such time of waiting lifts a message by one priority; 0: never
   */
  constructor(make: (priority: number) => Stripe, clock: Clock, ageingMs: () => number) {
    this.#make = make
    this.usual = make(PRIORITY_DEFAULT)
    this.all = [this.usual]
    this.#byPriority[PRIORITY_DEFAULT] = this.usual
    this.#clock = clock
    this.#ageingMs = ageingMs
  }

  /** The stripe of this priority, made when absent. */
  of(priority: number): Stripe {
    const known = this.#byPriority[priority]
    if (known !== undefined) return known
    const stripe = this.#make(priority)
    this.#byPriority[priority] = stripe
    this.all.push(stripe)
    this.all.sort((a, b) => b.priority - a.priority)
    return stripe
  }

  /** The stripe of the message that this receipt was for. */
  stripeOf(receipt: string): Stripe | undefined {
    return this.all.length === 1 ? this.usual : this.#byPriority[priorityOf(receiptRef(receipt))]
  }

  /** What this receipt holds now; null: the lease was lost, or never was. */
  find(receipt: string): Held | null {
    const stripe = this.stripeOf(receipt)
    const entry = stripe?.find(receipt) ?? null
    return stripe === undefined || entry === null ? null : { stripe, entry }
  }

  /**
   * The stripe whose next message comes first: of the highest priority, where each `ageingMs` that it has waited lifts a
   * message by one. Null when nothing is at hand, or a stripe has to be read from the store first.
   * @param fresh whether messages that were never handed out may be, per stripe
   */
  next(fresh: (stripe: Stripe) => boolean): Stripe | null {
    const now = this.#clock.now()
    const ageingMs = this.#ageingMs()
    let best: Stripe | null = null
    let bestScore = Number.NEGATIVE_INFINITY
    for (const stripe of this.all) {
      let time = stripe.lastTime
      if (stripe.book.ready.size === 0) {
        if (!fresh(stripe)) continue
        time = stripe.ahead.headTime()
        if (time === Number.POSITIVE_INFINITY) {
          // The store may hold one that comes before all others.
          if (stripe.ahead.wantsMore) return null
          continue
        }
      }
      const lift =
        ageingMs > 0 && time !== Number.POSITIVE_INFINITY ? Math.floor(Math.max(0, now - time) / ageingMs) : 0
      if (stripe.priority + lift > bestScore) {
        best = stripe
        bestScore = stripe.priority + lift
      }
    }
    return best
  }

  /** Messages and bytes not done. Asked for each message that comes. */
  get waiting(): number {
    let total = 0
    for (let i = 0; i < this.all.length; i++) total += this.all[i]!.lane.waiting
    return total
  }

  get waitingBytes(): number {
    let total = 0
    for (let i = 0; i < this.all.length; i++) total += this.all[i]!.lane.waitingBytes
    return total
  }

  sum(count: (stripe: Stripe) => number): number {
    let total = 0
    for (const stripe of this.all) total += count(stripe)
    return total
  }

  /** Brings the records of leases in line with what they still hold. */
  tidy(): void {
    for (const { book } of this.all) book.tidy()
  }

  /** Everything condemned so far has been moved to the dead letters, or has met an error. */
  async buried(): Promise<void> {
    for (const { undertaker } of this.all) await undertaker.done()
  }
}
