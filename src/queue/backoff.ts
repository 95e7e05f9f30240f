/** How long a message that failed waits before its next attempt. */
export interface Backoff {
  minMs: number
  maxMs: number
  factor: number
  /** `full`: a random share of the computed delay, so that failed messages do not come back all at once. */
  jitter: 'full' | 'none'
}

/**
 * Exponential backoff with full jitter (AWS Architecture Blog, "Exponential Backoff And Jitter").
 * @param failures failed attempts so far, at least 1
 * @param random a number in [0, 1)
 * @returns whole milliseconds
 */
export function backoffMs(backoff: Backoff, failures: number, random: number): number {
  // factor ** a large number is Infinity, which the cap turns back into maxMs.
  const delay = Math.min(backoff.maxMs, backoff.minMs * backoff.factor ** (failures - 1))
  return Math.round(backoff.jitter === 'full' ? delay * random : delay)
}
