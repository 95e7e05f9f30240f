import { SluiceError } from '../errors.ts'
import { givePooled, POOLED_BYTES, takePooled } from './assembly-pool.ts'

/** Takes whole packets: `buf[start]` is the first byte, the body is `bodyStart..end`. Returns false to stop reading. */
export interface FrameSink {
  frame(buf: Buffer, start: number, bodyStart: number, end: number): boolean
  /** The memory of the last frame is about to be used again, before the read it ended in is dealt with. */
  forget?(): void
}

/** First allocation for a packet that spans reads and whose size is not known yet. */
const ASSEMBLY_BYTES_MIN = 64
/** A packet up to this size gets its place at once; the place of a larger one doubles as bytes really arrive. */
const ASSEMBLY_AT_ONCE_BYTES = POOLED_BYTES

/**
 * Cuts a byte stream into MQTT Control Packets ([v5 2.1] [v3 2.2]).
 *
 * Packets that lie whole inside one read are handed over in place, without a copy. A packet that spans reads is
 * assembled in a buffer of its own; beyond 256 KiB that grows with what has arrived, not with what was announced. An
 * announced size above the limit is refused before a byte of the body is kept.
 *
 *     idle ──part of a header──▶ header ──size known──▶ body ──last byte──▶ idle
 */
export class FrameReader {
  /** Bytes of the unfinished packet, or null when idle. */
  #assembly: Buffer | null = null
  /** `#assembly` goes back to the pool. */
  #pooled = false
  #filled = 0
  /** Size of the unfinished packet with its fixed header; 0 while the header is incomplete. */
  #expected = 0
  /** Largest packet accepted, fixed header included, in bytes. */
  packetBytesMax: number

  constructor(packetBytesMax: number) {
    this.packetBytesMax = packetBytesMax
  }

  /** Bytes kept of an unfinished packet. */
  get heldBytes(): number {
    return this.#filled
  }

  /**
   * Hands every whole packet in `buf` from offset `from` to the sink. Returns the offset after the last byte taken:
   * `buf.length`, or less when the sink stopped the reading (then call again with the rest).
   * @throws SluiceError malformed_packet, packet_too_large
   */
  feed(buf: Buffer, from: number, sink: FrameSink): number {
    const length = buf.length
    let at = from
    if (this.#assembly !== null) {
      at = this.#continue(buf, at)
      if (this.#expected === 0 || this.#filled < this.#expected) return at
      if (!this.#complete(sink)) return at
    }
    while (at + 1 < length) {
      let b = buf[at + 1]!
      let body = at + 2
      let remaining = b
      if (b > 127) {
        remaining = b & 127
        let shift = 7
        let complete = false
        while (body < length) {
          b = buf[body++]!
          remaining |= (b & 127) << shift
          if (b < 128) {
            complete = true
            break
          }
          shift += 7
          if (shift > 21) throw malformedLength()
        }
        if (!complete) break
      }
      const end = body + remaining
      if (end - at > this.packetBytesMax) throw this.#tooLarge(end - at)
      if (end > length) break
      const more = sink.frame(buf, at, body, end)
      at = end
      if (!more) return at
    }
    if (at < length) {
      this.#keep(buf, at)
      at = length
    }
    return at
  }

  /** Forgets the unfinished packet: nothing comes any more. */
  close(): void {
    if (this.#pooled) givePooled(this.#assembly!)
    this.#assembly = null
    this.#pooled = false
    this.#filled = 0
    this.#expected = 0
  }

  #complete(sink: FrameSink): boolean {
    const packet = this.#assembly!
    const end = this.#expected
    const pooled = this.#pooled
    this.#assembly = null
    this.#pooled = false
    this.#filled = 0
    this.#expected = 0
    if (!pooled) return sink.frame(packet, 0, headerBytes(packet), end)
    try {
      return sink.frame(packet, 0, headerBytes(packet), end)
    } finally {
      sink.forget?.()
      givePooled(packet)
    }
  }

  #keep(buf: Buffer, at: number): void {
    const bytes = buf.length - at
    // Its size is read first, so that the bytes are copied to their final place.
    this.#assembly = buf.subarray(at)
    this.#filled = bytes
    this.#expected = 0
    this.#readExpected()
    const room = Math.min(this.#expected, Math.max(bytes, ASSEMBLY_AT_ONCE_BYTES))
    const pooled = takePooled(this.#expected)
    this.#pooled = pooled !== null
    this.#assembly = pooled ?? Buffer.allocUnsafeSlow(Math.max(ASSEMBLY_BYTES_MIN, bytes, room))
    buf.copy(this.#assembly, 0, at)
  }

  #continue(buf: Buffer, from: number): number {
    let at = from
    while (this.#expected === 0 && at < buf.length) {
      this.#assembly![this.#filled++] = buf[at++]!
      this.#readExpected()
    }
    if (this.#expected === 0) return at
    const wanted = Math.min(this.#expected - this.#filled, buf.length - at)
    const room = this.#assembly!.length - this.#filled
    if (wanted > room) {
      const grown = Math.max(this.#filled + wanted, this.#assembly!.length * 2, ASSEMBLY_AT_ONCE_BYTES)
      const size = Math.min(this.#expected, grown)
      const larger = Buffer.allocUnsafeSlow(size)
      this.#assembly!.copy(larger, 0, 0, this.#filled)
      this.#assembly = larger
    }
    buf.copy(this.#assembly!, this.#filled, at, at + wanted)
    this.#filled += wanted
    return at + wanted
  }

  /** Sets #expected once the fixed header of the unfinished packet is complete. */
  #readExpected(): void {
    const assembly = this.#assembly!
    let remaining = 0
    for (let i = 1; i < this.#filled; i++) {
      const b = assembly[i]!
      remaining |= (b & 127) << (7 * (i - 1))
      if (b < 128) {
        const total = i + 1 + remaining
        if (total > this.packetBytesMax) throw this.#tooLarge(total)
        this.#expected = total
        return
      }
      if (i === 4) throw malformedLength()
    }
  }

  #tooLarge(bytes: number): SluiceError {
    return new SluiceError('packet_too_large', `packet of ${bytes} bytes; the limit is ${this.packetBytesMax}`)
  }
}

function headerBytes(packet: Buffer): number {
  let i = 1
  while (packet[i]! > 127) i++
  return i + 1
}

function malformedLength(): SluiceError {
  return new SluiceError('malformed_packet', 'Remaining Length has more than four bytes')
}
