/**
 * Byte strings that lie in one buffer, in order. A Buffer of its own for each costs more than all else that is done to a message
 * that waits, so one is made when somebody asks for it.
 */
export class PackedBodies {
  readonly buffer: Buffer
  /** Body i is `buffer` from `starts[i]` up to, not including, `starts[i + 1]`. */
  readonly starts: Uint32Array

  constructor(buffer: Buffer, starts: Uint32Array) {
    this.buffer = buffer
    this.starts = starts
  }

  /** A view of body i, another one each time. */
  at(i: number): Buffer {
    return this.buffer.subarray(this.starts[i], this.starts[i + 1])
  }

  lengthOf(i: number): number {
    return this.starts[i + 1]! - this.starts[i]!
  }
}
