import { type DeadLetter, decodeDeadLetter } from './dead-letter.ts'
import type { Entry, Failure, Lease } from './entry.ts'
import { decodeFailures } from './marks.ts'
import { receiptOf } from './receipt.ts'

/** One message handed to one worker. */
export class Delivery {
  readonly entry: Entry
  readonly leaseId: number
  /** Proves who holds the lease: `ack`, `nack` and `extend` ask for it. */
  readonly receipt: string
  /** 1 = first. */
  readonly attempt: number
  /** Wall clock ms. */
  readonly leasedUntil: number
  /** The stored message (src/router/message.ts). Shared: never written to. */
  message: Buffer
  /** What the lane keeps beside the message. */
  extra: Buffer | null
  readonly #history: Buffer | null

  constructor(entry: Entry, lease: Lease, leaseSuffix: string, message: Buffer, extra: Buffer | null) {
    this.entry = entry
    this.leaseId = entry.leaseId
    this.receipt = receiptOf(entry.seq, leaseSuffix)
    this.attempt = entry.attempt
    this.leasedUntil = lease.until
    this.message = message
    this.extra = extra
    this.#history = entry.history
  }

  get seq(): number {
    return this.entry.seq
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
    return decodeDeadLetter(this.extra)
  }
}
