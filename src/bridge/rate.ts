import type { Clock } from '../base/clock.ts'

export interface RateConfig {
  /** Messages a second that are kept, in the long run. */
  perSecond: number
  /** Messages that may come at once. */
  burst: number
}

/** Senders remembered; the one heard of least recently is forgotten first, and starts anew with its burst. */
export const SENDERS_MAX = 100_000

interface Bucket {
  tokens: number
  at: number
}

/** A token bucket for each sender. */
export class SenderRate {
  readonly #config: RateConfig
  readonly #clock: Clock
  /** In the order in which they were heard of. */
  readonly #buckets = new Map<string, Bucket>()

  constructor(config: RateConfig, clock: Clock) {
    this.#config = config
    this.#clock = clock
  }

  get senders(): number {
    return this.#buckets.size
  }

  /** Whether one more message of this sender is within its rate; if so, it counts. */
  admits(sender: string): boolean {
    const { perSecond, burst } = this.#config
    const now = this.#clock.monotonic()
    let bucket = this.#buckets.get(sender)
    if (bucket === undefined) {
      if (this.#buckets.size >= SENDERS_MAX) this.#buckets.delete(this.#buckets.keys().next().value!)
      bucket = { tokens: burst, at: now }
    } else {
      this.#buckets.delete(sender)
      bucket.tokens = Math.min(burst, bucket.tokens + ((now - bucket.at) / 1000) * perSecond)
      bucket.at = now
    }
    this.#buckets.set(sender, bucket)
    if (bucket.tokens < 1) return false
    bucket.tokens--
    return true
  }
}
