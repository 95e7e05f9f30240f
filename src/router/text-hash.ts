/** Hashes of short texts, for spreading them evenly. Not seeded: whoever chooses the texts can make them collide. */

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
