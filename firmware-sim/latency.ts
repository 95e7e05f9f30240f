const smallestMs = 0.01
const growth = Math.log(1.02)
const buckets = 1_200

/** Counts durations in buckets 2 % apart: percentiles within 2 %, in constant memory, from 10 µs to years. */
export class LatencyHistogram {
  readonly #counts = new Float64Array(buckets)
  #total = 0
  #maxMs = 0

  get count(): number {
    return this.#total
  }

  get maxMs(): number {
    return this.#maxMs
  }

  record(ms: number): void {
    const index = ms <= smallestMs ? 0 : Math.ceil(Math.log(ms / smallestMs) / growth)
    this.#counts[Math.min(index, buckets - 1)]! += 1
    this.#total += 1
    if (ms > this.#maxMs) this.#maxMs = ms
  }

  /** The duration that the share `p` (0 to 1) of all records does not exceed; null when there are none. */
  percentileMs(p: number): number | null {
    if (this.#total === 0) return null
    let left = Math.max(1, Math.ceil(this.#total * p))
    for (let index = 0; index < buckets; index += 1) {
      left -= this.#counts[index]!
      if (left <= 0) return Math.min(this.#maxMs, smallestMs * Math.exp(growth * index))
    }
    return this.#maxMs
  }
}
