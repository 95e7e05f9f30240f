import { READ_BYTES } from '../transport.ts'

/**
 * Output buffers, reused. A connection that writes little borrows a small one; one that fills it within a turn of the
 * event loop gets the next size. Nothing is held while a connection is idle. The largest takes all that came with one
 * read: what does not fit into it lies in memory that nobody uses again, and is not copied.
 */
const SIZES = [1024, 8 * 1024, 64 * 1024, READ_BYTES] as const
/** Free buffers kept of each size; more are left to the garbage collector. */
const FREE_MAX = [4096, 512, 128, 32] as const

/** An output buffer, and a view of it for short copies. */
export class Slab {
  readonly bytes: Buffer
  readonly view: DataView
  readonly sizeClass: number

  constructor(sizeClass: number) {
    this.sizeClass = sizeClass
    this.bytes = Buffer.allocUnsafeSlow(SIZES[sizeClass]!)
    this.view = new DataView(this.bytes.buffer)
  }
}

const free: Slab[][] = SIZES.map(() => [])

export const LARGEST_SLAB_CLASS = SIZES.length - 1

export function slabBytes(sizeClass: number): number {
  return SIZES[sizeClass]!
}

export function takeSlab(sizeClass: number): Slab {
  return free[sizeClass]!.pop() ?? new Slab(sizeClass)
}

/** Takes back what `takeSlab` gave. */
export function returnSlab(slab: Slab): void {
  const others = free[slab.sizeClass]!
  if (others.length < FREE_MAX[slab.sizeClass]!) others.push(slab)
}
