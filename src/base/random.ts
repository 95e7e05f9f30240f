/** Randomness, injected. Nothing outside this file asks the machine for random numbers. */
import { randomBytes } from 'node:crypto'

export interface Random {
  /** A number in [0, 1). Not for secrets. */
  next(): number
  /** A whole number in [0, below). Not for secrets. */
  below(below: number): number
  /** Unguessable bytes as hexadecimal text, two characters each. */
  id(bytes: number): string
}

export const systemRandom: Random = {
  next: () => Math.random(),
  below: (below) => Math.floor(Math.random() * below),
  id: (bytes) => randomBytes(bytes).toString('hex'),
}

/**
 * The same numbers for the same seed, so that a failed test can be run again (mulberry32: 32 bits of state, good enough
 * for choosing, useless for secrets).
 */
export function seededRandom(seed: number): Random {
  let state = seed >>> 0
  const next = (): number => {
    state = (state + 0x6d2b79f5) >>> 0
    let t = state
    t = Math.imul(t ^ (t >>> 15), t | 1)
    t ^= t + Math.imul(t ^ (t >>> 7), t | 61)
    return ((t ^ (t >>> 14)) >>> 0) / 4_294_967_296
  }
  const below = (n: number): number => Math.floor(next() * n)
  return {
    next,
    below,
    id: (bytes) => Array.from({ length: bytes }, () => below(256).toString(16).padStart(2, '0')).join(''),
  }
}
