/** Time after which a measurement counts 1/e of what it did, in ms. */
const MEMORY_MS = 60_000

/**
 * An exponentially weighted moving average of a rate, for samples that need not come regularly: the weight of a sample is
 * 1 - exp(-Δt/τ). The first sample counts whole.
 */
export class RateMeter {
  perSecond = 0
  #total: number | null = null
  #at = 0
  #sampled = false

  /**
   * @param total counted so far; a count that went down starts anew
   * @param at monotonic ms
   */
  sample(total: number, at: number): void {
    const before = this.#total
    const elapsed = at - this.#at
    if (before !== null && total >= before && elapsed <= 0) return
    this.#total = total
    this.#at = at
    if (before === null || total < before) return
    const current = ((total - before) * 1000) / elapsed
    const weight = this.#sampled ? 1 - Math.exp(-elapsed / MEMORY_MS) : 1
    this.perSecond += weight * (current - this.perSecond)
    this.#sampled = true
  }
}

/** A mean over what happened lately: of `sum` over `count`, both counted up, with the same memory. */
export class MeanMeter {
  mean = 0
  #sum = 0
  #count = 0
  #at: number | null = null

  sample(sum: number, count: number, at: number): void {
    const happened = count - this.#count
    if (happened > 0) {
      const current = (sum - this.#sum) / happened
      const weight = this.#at === null ? 1 : 1 - Math.exp(-(at - this.#at) / MEMORY_MS)
      this.mean += weight * (current - this.mean)
      this.#at = at
    }
    this.#sum = sum
    this.#count = count
  }
}
