import type { Rate } from './settings.ts'

/**
 * A rate limit as one number: the generic cell rate algorithm (ITU-T I.371), which is a token bucket that keeps the time
 * at which it would be full again instead of its level. Times are monotonic ms.
 */
export class RateLimit {
  /** When the bucket is full again. */
  fullAt = 0

  /** Ms from `now` until one more is allowed; 0: now. */
  waitMs(rate: Rate, now: number): number {
    if (rate.perSecond <= 0) return 0
    return Math.max(0, this.fullAt - now - ((rate.burst - 1) * 1000) / rate.perSecond)
  }

  /** One takes place. */
  spend(rate: Rate, now: number): void {
    if (rate.perSecond > 0) this.fullAt = Math.max(this.fullAt, now) + 1000 / rate.perSecond
  }
}
