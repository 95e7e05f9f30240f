/**
 * Finds the MQTT frames in a byte stream without building anything for them.
 *
 * Whole frames are announced where they lie in the received chunk. Only a frame cut by the end of a chunk is copied,
 * and announced from that copy when its rest has arrived.
 */

export interface FrameSink {
  /** One whole packet. `header` is its first byte; its body is `bytes[from..to)`, valid until the call returns. */
  packet(header: number, bytes: Buffer, from: number, to: number): void
}

const INITIAL_REST_BYTES = 512

export class FrameScanner {
  readonly #sink: FrameSink
  /** The beginning of a frame that the last chunk ended in, or null as long as none ever was. */
  #rest: Buffer | null = null
  #held = 0

  constructor(sink: FrameSink) {
    this.#sink = sink
  }

  /** Takes the next bytes of the stream, `bytes[from..to)`. Throws RangeError on a Remaining Length over four bytes. */
  push(bytes: Buffer, from: number, to: number): void {
    const sink = this.#sink
    let at = this.#held > 0 ? this.#finish(bytes, from, to) : from
    while (to - at >= 2) {
      let body = at + 2
      let digit = bytes[at + 1]!
      let remaining = digit & 0x7f
      if (digit >= 0x80) {
        let shift = 7
        do {
          if (body >= to) break
          if (shift > 21) throw new RangeError('Remaining Length is longer than four bytes')
          digit = bytes[body++]!
          remaining += (digit & 0x7f) << shift
          shift += 7
        } while (digit >= 0x80)
        if (digit >= 0x80) break
      }
      const end = body + remaining
      if (end > to) break
      sink.packet(bytes[at]!, bytes, body, end)
      at = end
    }
    if (at < to) this.#hold(bytes, at, to)
  }

  #hold(bytes: Buffer, from: number, to: number): void {
    const rest = this.#room(this.#held + to - from)
    bytes.copy(rest, this.#held, from, to)
    this.#held += to - from
  }

  #room(needed: number): Buffer {
    if (this.#rest === null || this.#rest.length < needed) {
      const larger = Buffer.allocUnsafeSlow(Math.max(INITIAL_REST_BYTES, needed))
      this.#rest?.copy(larger, 0, 0, this.#held)
      this.#rest = larger
    }
    return this.#rest
  }

  /** Completes the held frame if the chunk has the rest of it; returns where the next frame begins. */
  #finish(bytes: Buffer, from: number, to: number): number {
    let at = from
    let frame = this.#heldFrameBytes()
    while (frame === 0) {
      if (at === to) return to
      this.#hold(bytes, at, at + 1)
      at++
      frame = this.#heldFrameBytes()
    }
    const taken = Math.min(frame - this.#held, to - at)
    this.#room(frame)
    this.#hold(bytes, at, at + taken)
    at += taken
    if (this.#held === frame) {
      const rest = this.#rest!
      let body = 1
      while (rest[body++]! >= 0x80) {}
      this.#held = 0
      this.#sink.packet(rest[0]!, rest, body, frame)
    }
    return at
  }

  /** Length of the frame that the held bytes begin; 0 while its Remaining Length is not complete. */
  #heldFrameBytes(): number {
    const rest = this.#rest!
    let remaining = 0
    let shift = 0
    for (let at = 1; at < this.#held; at++) {
      if (shift > 21) throw new RangeError('Remaining Length is longer than four bytes')
      const digit = rest[at]!
      remaining += (digit & 0x7f) << shift
      if (digit < 0x80) return at + 1 + remaining
      shift += 7
    }
    return 0
  }
}
