/**
 * Hashes of short texts, for spreading them evenly. Only `seededHash` is seeded: whoever chooses the texts can make the
 * others collide.
 */
import { systemRandom } from '../base/random.ts'

/** The hash of no text at all: where `hashCode` starts. */
export const emptyHash = 0x811c9dc5

/** FNV-1a, one UTF-16 code at a time. Finish with `mixHash` before using its bits. */
export function hashCode(hash: number, code: number): number {
  return Math.imul(hash ^ code, 0x01000193)
}

/** The finisher of MurmurHash3 (public domain): every bit of the input moves half of the output's. 0 … 2^32 - 1. */
export function mixHash(hash: number): number {
  let h = hash
  h = Math.imul(h ^ (h >>> 16), 0x85ebca6b)
  h = Math.imul(h ^ (h >>> 13), 0xc2b2ae35)
  return (h ^ (h >>> 16)) >>> 0
}

export function hashText(text: string): number {
  let hash = emptyHash
  for (let i = 0; i < text.length; i++) hash = hashCode(hash, text.charCodeAt(i))
  return mixHash(hash)
}

/** Different in every process, so that nobody can prepare texts that meet in one place of a table. */
const seed = systemRandom.below(2 ** 32) | 0

/** The hash of `text` from `start` to `end`, in this process only. 32 bits, signed. */
export function seededHash(text: string, start: number, end: number): number {
  let hash = seed
  for (let i = start; i < end; i++) hash = hashCode(hash, text.charCodeAt(i))
  return mixHash(hash) | 0
}
