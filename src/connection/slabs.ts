import { READ_BYTES } from '../transport.ts'

/**
 * Output buffers, reused. A connection that writes little borrows a small one; one that fills it within a turn of the
 * event loop gets the next size. Nothing is held while a connection is idle. The largest takes all that came with one
 * read: what does not fit into it lies in memory that nobody uses again, and is not copied.
 */
const SIZES = [1024, 8 * 1024, 64 * 1024, READ_BYTES] as const
/** Free buffers kept of each size; more are left to the garbage collector. */
const FREE_MAX = [4096, 512, 128, 32] as const

const free: Buffer[][] = SIZES.map(() => [])

export const LARGEST_SLAB_CLASS = SIZES.length - 1

export function slabBytes(sizeClass: number): number {
  return SIZES[sizeClass]!
}

export function takeSlab(sizeClass: number): Buffer {
  return free[sizeClass]!.pop() ?? Buffer.allocUnsafeSlow(SIZES[sizeClass]!)
}

/** Takes back a buffer from `takeSlab`; buffers of other sizes are ignored. */
export function returnSlab(slab: Buffer): void {
  const sizeClass = SIZES.indexOf(slab.length as (typeof SIZES)[number])
  if (sizeClass !== -1 && free[sizeClass]!.length < FREE_MAX[sizeClass]!) free[sizeClass]!.push(slab)
}
