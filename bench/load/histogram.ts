/**
 * Counts of latencies in buckets whose width grows with the value, so that any value up to about an hour is kept with
 * an error under 1 % in a fixed amount of memory and one increment.
 *
 * Values below 256 µs have a bucket each. Above, every doubling is split into 128 buckets.
 */

import type { Latency } from './result.ts'

const SPLIT_BITS = 7
const SPLIT = 1 << SPLIT_BITS
const VALUE_MAX = 0xffff_ffff
const BUCKETS = (32 - SPLIT_BITS + 1) * SPLIT

function bucketOf(value: number): number {
  if (value < 2 * SPLIT) return value
  const shift = 31 - Math.clz32(value) - SPLIT_BITS
  return (shift << SPLIT_BITS) + (value >>> shift)
}

/** The largest value that falls into the bucket: percentiles err to the slow side. */
function upperValue(bucket: number): number {
  if (bucket < 2 * SPLIT) return bucket
  const shift = (bucket >> SPLIT_BITS) - 1
  return ((bucket & (SPLIT - 1)) + SPLIT + 1) * 2 ** shift - 1
}

/** The percentiles a result reports. */
export function percentiles(histogram: Histogram): Latency {
  return {
    count: histogram.total,
    p50: histogram.percentile(50),
    p90: histogram.percentile(90),
    p99: histogram.percentile(99),
    p999: histogram.percentile(99.9),
    max: histogram.max,
  }
}

export class Histogram {
  readonly #counts = new Float64Array(BUCKETS)
  #total = 0
  #max = 0

  get total(): number {
    return this.#total
  }

  /** The largest value recorded, exact; 0 when there is none. */
  get max(): number {
    return this.#max
  }

  /** Records one latency in µs; fractions are cut, negative values count as 0. */
  record(microseconds: number): void {
    const value = microseconds <= 0 ? 0 : microseconds >= VALUE_MAX ? VALUE_MAX : microseconds >>> 0
    const bucket = bucketOf(value)
    this.#counts[bucket] = this.#counts[bucket]! + 1
    this.#total++
    if (value > this.#max) this.#max = value
  }

  /** The latency in µs that `percent` of the recorded values do not exceed; 0 when nothing was recorded. */
  percentile(percent: number): number {
    const wanted = Math.ceil((this.#total * percent) / 100)
    let seen = 0
    for (let bucket = 0; bucket < BUCKETS; bucket++) {
      seen += this.#counts[bucket]!
      if (seen >= wanted && seen > 0) return Math.min(upperValue(bucket), this.#max)
    }
    return this.#max
  }
}
