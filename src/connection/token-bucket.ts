/**
 * How much may happen over time: `perSecond` tokens come in every second and up to `capacity` wait to be taken (the leaky
 * bucket as a meter, ITU-T I.371). May be overdrawn: what was taken too much has to come in first.
 */
export class TokenBucket {
  readonly #perMs: number
  readonly #capacity: number
  #tokens: number
  /** Monotonic ms. */
  #at: number

  constructor(perSecond: number, capacity: number, now: number) {
    this.#perMs = perSecond / 1000
    this.#capacity = capacity
    this.#tokens = capacity
    this.#at = now
  }

  /** Takes one token if there is one. @param now monotonic ms */
  takeOne(now: number): boolean {
    this.#refill(now)
    if (this.#tokens < 1) return false
    this.#tokens--
    return true
  }

  /** Takes tokens, also those that are not there yet. Returns ms until it is no longer overdrawn; 0: it is not. */
  overdraw(tokens: number, now: number): number {
    this.#refill(now)
    this.#tokens -= tokens
    return this.#tokens >= 0 ? 0 : Math.ceil(-this.#tokens / this.#perMs)
  }

  #refill(now: number): void {
    this.#tokens = Math.min(this.#capacity, this.#tokens + Math.max(0, now - this.#at) * this.#perMs)
    this.#at = now
  }
}
