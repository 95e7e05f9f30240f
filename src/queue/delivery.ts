import { PackedBodies } from '../base/packed-bodies.ts'
import type { DeadLetter } from './dead-letter.ts'
import type { Entry, Failure, Lease } from './entry.ts'
import { decodeFailures } from './marks.ts'
import { receiptOf } from './receipt.ts'
import type { Stripe } from './stripe.ts'
import { decodeTerms, type EntryTerms } from './terms.ts'

const NO_TERMS: EntryTerms = {}

/** One message handed to one worker. */
export class Delivery {
  readonly stripe: Stripe
  readonly entry: Entry
  readonly leaseId: number
  /** Proves who holds the lease: `ack`, `nack` and `extend` ask for it. */
  readonly receipt: string
  /** 1 = first. */
  readonly attempt: number
  /** Wall clock ms. */
  readonly leasedUntil: number
  /** What the lane keeps beside the message. */
  extra: Buffer | null
  /** The message, or the bodies it is one of. Null: it has to be fetched. */
  #body: Buffer | PackedBodies | null
  readonly #index: number
  readonly #history: Buffer | null
  #terms: EntryTerms | null = null

  /** @param body the message, or the bodies it is number `index` of; null: to be fetched */
  constructor(
    stripe: Stripe,
    entry: Entry,
    lease: Lease,
    leaseSuffix: string,
    body: Buffer | PackedBodies | null,
    index: number,
    extra: Buffer | null,
  ) {
    this.stripe = stripe
    this.entry = entry
    this.leaseId = entry.leaseId
    this.receipt = receiptOf(stripe.refOf(entry.seq), leaseSuffix)
    this.attempt = entry.attempt
    this.leasedUntil = lease.until
    this.#body = body
    this.#index = index
    this.extra = extra
    this.#history = entry.history
  }

  /** False: it has to be read from the store. */
  get fetched(): boolean {
    return this.#body !== null
  }

  /** The stored message (src/router/message.ts). Shared: never written to. */
  get message(): Buffer {
    const body = this.#body
    if (body instanceof PackedBodies) {
      const message = body.at(this.#index)
      this.#body = message
      return message
    }
    if (body === null) throw new Error('the message was not fetched')
    return body
  }

  set message(message: Buffer) {
    this.#body = message
  }

  get seq(): number {
    return this.entry.seq
  }

  /** The same for every delivery of this message; of no other message ever. */
  get id(): string {
    return this.terms.id ?? this.stripe.idOf(this.entry.seq)
  }

  /** What the producer asked for, and where the message has been. */
  get terms(): EntryTerms {
    if (this.extra === null) return NO_TERMS
    this.#terms ??= decodeTerms(this.extra)
    return this.#terms
  }

  get failedBefore(): boolean {
    return this.#history !== null
  }

  /** Earlier failures of this message in this queue, oldest first. */
  get failures(): Failure[] {
    return decodeFailures(this.#history)
  }

  /** How the message became a dead letter; null when it is none. */
  get deadLetter(): DeadLetter | null {
    return this.terms.deadLetter ?? null
  }
}
