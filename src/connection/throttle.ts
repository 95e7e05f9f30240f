import type { Clock } from '../base/clock.ts'
import type { Limits } from '../config/schema.ts'
import type { Backpressure, Pausable } from './backpressure.ts'
import { TokenBucket } from './token-bucket.ts'

/**
 * Holds one connection to its rate of PUBLISH packets: a client that is faster is not read for a while, so that TCP slows
 * it down; nothing is dropped.
 */
export class Throttle {
  readonly #connection: Pausable
  readonly #backpressure: Backpressure
  readonly #clock: Clock
  readonly #messages: TokenBucket | null
  readonly #bytes: TokenBucket | null
  /** Monotonic ms until which it is not read. */
  #pausedUntil = 0

  /** Null: the limits name no rate. */
  static of(connection: Pausable, limits: Limits, backpressure: Backpressure, clock: Clock): Throttle | null {
    const { publishesPerSecondMax, publishBytesPerSecondMax } = limits
    if (publishesPerSecondMax === 0 && publishBytesPerSecondMax === 0) return null
    return new Throttle(connection, publishesPerSecondMax, publishBytesPerSecondMax, backpressure, clock)
  }

  private constructor(
    connection: Pausable,
    publishesPerSecond: number,
    bytesPerSecond: number,
    backpressure: Backpressure,
    clock: Clock,
  ) {
    const bucket = (perSecond: number): TokenBucket | null =>
      perSecond === 0 ? null : new TokenBucket(perSecond, perSecond, clock.monotonic())
    this.#connection = connection
    this.#backpressure = backpressure
    this.#clock = clock
    this.#messages = bucket(publishesPerSecond)
    this.#bytes = bucket(bytesPerSecond)
  }

  /** A PUBLISH of this many bytes was taken. */
  published(bytes: number): void {
    const now = this.#clock.monotonic()
    const wait = Math.max(this.#messages?.overdraw(1, now) ?? 0, this.#bytes?.overdraw(bytes, now) ?? 0)
    if (wait === 0 || now + wait <= this.#pausedUntil) return
    this.#pausedUntil = now + wait
    this.#backpressure.pauseFor(this.#connection, wait)
  }
}
