/**
 * Memory in which packets that span reads are put together, used again: a sender of large packets would otherwise cost a new
 * piece, page faults and all, with every read. There are few pieces, and they are not waited for: senders that leave their
 * packets unfinished keep them from others, who then get memory of their own.
 */
export const POOLED_BYTES = 256 * 1024
/** Smaller packets get memory of their own, of their size. */
const WANTED_BYTES_MIN = 16 * 1024
const PIECES_MAX = 8

const free: Buffer[] = []
let pieces = 0

/** A piece of `POOLED_BYTES` for a packet of this size, or null: allocate. */
export function takePooled(bytes: number): Buffer | null {
  if (bytes < WANTED_BYTES_MIN || bytes > POOLED_BYTES) return null
  const piece = free.pop()
  if (piece !== undefined) return piece
  if (pieces === PIECES_MAX) return null
  pieces++
  return Buffer.allocUnsafeSlow(POOLED_BYTES)
}

/** Takes back what `takePooled` gave, when nobody looks at it any more. */
export function givePooled(piece: Buffer): void {
  free.push(piece)
}
