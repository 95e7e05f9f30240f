/** Uniform in [0, 1). */
export type Random = () => number

/** A small seeded generator (mulberry32): the same seed gives the same run on every machine. Not for secrets. */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  return () => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4294967296
  }
}

/** A generator of its own for part `index` of a run, so that devices do not depend on each other's draws. */
export function derivedRandom(seed: number, index: number): Random {
  return seededRandom(Math.imul(seed ^ 0x9e3779b9, 0x85ebca6b) ^ Math.imul(index + 1, 0xc2b2ae35))
}

/** How long to wait before trying again. */
export interface Backoff {
  readonly minMs: number
  readonly maxMs: number
  /** Each attempt waits this many times longer than the one before. */
  readonly factor: number
  /** 0: exactly the computed delay; 1: anywhere between nothing and the computed delay. */
  readonly jitter: number
}

/** Delay in ms before attempt number `attempt` (the first is 0), with jitter so that a fleet does not return at once. */
export function backoffDelayMs(backoff: Backoff, attempt: number, random: Random): number {
  const full = Math.min(backoff.maxMs, backoff.minMs * backoff.factor ** Math.min(attempt, 64))
  return Math.max(1, Math.round(full * (1 - backoff.jitter * random())))
}
