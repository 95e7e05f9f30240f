import { SluiceError } from '../errors.ts'
import { VARINT_MAX, varintBytes, writeVarint } from './varint.ts'

/** Room kept in front of the body for the first byte and the Remaining Length. */
const HEADER_MAX = 5

/** Collects the fields of one packet body, then puts the fixed header in front. The counterpart of `BodyReader`. */
export class BodyWriter {
  #buf = Buffer.allocUnsafe(64)
  #pos = HEADER_MAX

  /** Bytes of the body so far. */
  get length(): number {
    return this.#pos - HEADER_MAX
  }

  uint8(value: number): this {
    const at = this.#claim(1)
    this.#buf[at] = value
    return this
  }

  uint16(value: number): this {
    const at = this.#claim(2)
    this.#buf.writeUInt16BE(value, at)
    return this
  }

  uint32(value: number): this {
    const at = this.#claim(4)
    this.#buf.writeUInt32BE(value, at)
    return this
  }

  varint(value: number): this {
    if (value < 0 || value > VARINT_MAX) throw new SluiceError('invariant', `${value} is no Variable Byte Integer`)
    const at = this.#claim(varintBytes(value))
    writeVarint(this.#buf, at, value)
    return this
  }

  string(value: string): this {
    const length = Buffer.byteLength(value)
    this.#length16(length)
    const at = this.#claim(length)
    this.#buf.write(value, at)
    return this
  }

  binary(value: Uint8Array): this {
    this.#length16(value.length)
    return this.bytes(value)
  }

  /** Bytes without a length in front. */
  bytes(value: Uint8Array): this {
    const at = this.#claim(value.length)
    this.#buf.set(value, at)
    return this
  }

  /** The body alone. The writer must not be used afterwards. */
  body(): Buffer {
    return this.#buf.subarray(HEADER_MAX, this.#pos)
  }

  /** The whole packet: first byte, Remaining Length, body. The writer must not be used afterwards. */
  packet(type: number, flags: number): Buffer {
    const length = this.length
    if (length > VARINT_MAX) throw new SluiceError('invariant', `a packet body of ${length} bytes is too long`)
    const start = HEADER_MAX - 1 - varintBytes(length)
    this.#buf[start] = (type << 4) | flags
    writeVarint(this.#buf, start + 1, length)
    return this.#buf.subarray(start, this.#pos)
  }

  #length16(length: number): void {
    if (length > 0xffff) throw new SluiceError('invariant', `a field of ${length} bytes is longer than 65535`)
    this.uint16(length)
  }

  #claim(length: number): number {
    const at = this.#pos
    this.#pos = at + length
    if (this.#pos > this.#buf.length) {
      const grown = Buffer.allocUnsafe(Math.max(this.#pos, this.#buf.length * 2))
      this.#buf.copy(grown, HEADER_MAX, HEADER_MAX, at)
      this.#buf = grown
    }
    return at
  }
}
