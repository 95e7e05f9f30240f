import { malformed } from './malformed.ts'
import { readString, stringEnd } from './utf8.ts'
import { readVarint, varintBytes } from './varint.ts'

/**
 * Reads the fields of one packet body in order and refuses to read beyond its end. For control packets, which are rare;
 * PUBLISH and the short acknowledgements are read without it.
 *
 * Every method throws `SluiceError` malformed_packet, naming the packet and the field. Values never refer to the buffer read from.
 */
export class BodyReader {
  readonly buf: Buffer
  readonly end: number
  /** Prefix of error messages: the packet's name. */
  readonly packet: string
  /** Offset of the next field. */
  pos: number

  constructor(buf: Buffer, start: number, end: number, packet: string) {
    this.buf = buf
    this.pos = start
    this.end = end
    this.packet = packet
  }

  get left(): number {
    return this.end - this.pos
  }

  uint8(what: string): number {
    const at = this.#take(1, what)
    return this.buf[at]!
  }

  uint16(what: string): number {
    return this.buf.readUInt16BE(this.#take(2, what))
  }

  uint32(what: string): number {
    return this.buf.readUInt32BE(this.#take(4, what))
  }

  varint(what: string): number {
    const value = readVarint(this.buf, this.pos, this.end, `${this.packet}: ${what}`)
    this.pos += varintBytes(value)
    return value
  }

  string(what: string): string {
    const value = readString(this.buf, this.pos, this.end, `${this.packet}: ${what}`)
    this.pos = stringEnd(this.buf, this.pos)
    return value
  }

  /** Binary Data: a two-byte length, then the bytes, copied. */
  binary(what: string): Buffer {
    const length = this.uint16(what)
    const at = this.#take(length, what)
    return Buffer.from(this.buf.subarray(at, at + length))
  }

  /** Nothing may follow the last field. */
  finish(): void {
    if (this.left !== 0) throw malformed(`${this.packet}: ${this.left} bytes after the last field`)
  }

  #take(length: number, what: string): number {
    const at = this.pos
    if (at + length > this.end) throw malformed(`${this.packet}: ${what} is cut short`)
    this.pos = at + length
    return at
  }
}
