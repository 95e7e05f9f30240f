/**
 * Frames of the WebSocket protocol as a server reads and writes them (RFC 6455, 5.2). Pure: no sockets.
 *
 *     byte 0  FIN, RSV1-3, opcode        byte 1  MASK, length (126: 16 bits follow, 127: 64 bits follow)
 *     then the extended length, the masking key (client to server only), the payload
 */
import { Buffer } from 'node:buffer'

const CONTINUATION = 0x0
const TEXT = 0x1
const BINARY = 0x2
const CLOSE = 0x8
const PING = 0x9
const PONG = 0xa

const FIN = 0x80
const MASK = 0x80
const HEADER_BYTES_MAX = 14
const CONTROL_PAYLOAD_MAX = 125

/** Status codes of a close frame (RFC 6455, 7.4.1). */
export const closeCode = { normal: 1000, protocolError: 1002, unsupportedData: 1003, noStatus: 1005 } as const

/** Why nothing more is read: the peer's close frame, or what is wrong with a frame. */
export interface FramesEnd {
  readonly code: number
  /** Null: the peer closes. */
  readonly error: string | null
}

/**
 * Cuts what was read into frames. What MQTT sees is a stream of bytes in which frames mean nothing [v5 MQTT-6.0.0-2], so
 * payloads are passed on as they come, also of a frame that is not complete: nothing is kept of it, however long it is.
 */
export class FrameParser {
  /** Set once there is nothing more to read. */
  end: FramesEnd | null = null
  /** Payloads of pings that wait for their pong. */
  pings: Buffer[] | null = null
  #opcode = 0
  /** Bytes of the payload that are still to come; 0: a header is next. */
  #left = 0
  /** The masking key as a number, turned so that its highest byte is for the next byte of the payload. */
  #mask = 0
  /** A message was begun and goes on in continuation frames. */
  #fragmented = false
  /** The beginning of a header that spans reads. */
  #head: Buffer | null = null
  #headFilled = 0
  /** Payload of a control frame so far. */
  #control: Buffer | null = null
  #controlFilled = 0

  /**
   * Returns the payload bytes in `chunk`, unmasked and moved together at its beginning: the chunk is the parser's to change.
   * Look at `end` and `pings` afterwards.
   */
  push(chunk: Buffer): Buffer {
    const length = chunk.length
    let at = 0
    let filled = 0
    while (at < length && this.end === null) {
      if (this.#left === 0) {
        at = this.#readHeader(chunk, at)
        continue
      }
      const n = Math.min(this.#left, length - at)
      if (this.#control !== null) {
        this.#controlFilled += chunk.copy(this.#control, this.#controlFilled, at, at + n)
      } else {
        unmask(chunk, at, filled, n, this.#mask)
        this.#mask = turned(this.#mask, n)
        filled += n
      }
      at += n
      this.#left -= n
      if (this.#left === 0 && this.#control !== null) this.#controlFrame(this.#control)
    }
    return chunk.subarray(0, filled)
  }

  /** Reads what is there of a header; returns where it ends. */
  #readHeader(chunk: Buffer, from: number): number {
    if (this.#head === null && chunk.length - from >= HEADER_BYTES_MAX) {
      this.#begin(chunk, from)
      return from + headerBytes(chunk[from + 1]!)
    }
    this.#head ??= Buffer.allocUnsafe(HEADER_BYTES_MAX)
    const head = this.#head
    let at = from
    while (at < chunk.length) {
      head[this.#headFilled++] = chunk[at++]!
      if (this.#headFilled >= 2 && this.#headFilled === headerBytes(head[1]!)) {
        this.#head = null
        this.#headFilled = 0
        this.#begin(head, 0)
        break
      }
    }
    return at
  }

  /** A header is complete. */
  #begin(buf: Buffer, at: number): void {
    const first = buf[at]!
    const second = buf[at + 1]!
    const opcode = first & 15
    const wrong = this.#check(first, second)
    if (wrong !== null) {
      this.end = opcode === TEXT ? { code: closeCode.unsupportedData, error: wrong } : protocolError(wrong)
      return
    }
    let body = at + 2
    let length = second & 127
    if (length === 126) {
      length = buf.readUInt16BE(body)
      body += 2
    } else if (length === 127) {
      length = buf.readUInt32BE(body) * 0x1_0000_0000 + buf.readUInt32BE(body + 4)
      body += 8
      // RFC 6455, 5.2: the most significant bit is 0. Beyond 2^53 a number is not exact, nor a frame meant seriously.
      if (length > Number.MAX_SAFE_INTEGER) {
        this.end = protocolError('a frame of more than 2^53 bytes')
        return
      }
    }
    this.#mask = (buf[body]! << 24) | (buf[body + 1]! << 16) | (buf[body + 2]! << 8) | buf[body + 3]!
    this.#opcode = opcode
    this.#left = length
    if (opcode < CLOSE) {
      this.#fragmented = (first & FIN) === 0
      return
    }
    this.#control = Buffer.allocUnsafe(length)
    this.#controlFilled = 0
    if (length === 0) this.#controlFrame(this.#control)
  }

  /** What is wrong with the first two bytes of a frame, or null. */
  #check(first: number, second: number): string | null {
    const opcode = first & 15
    if ((first & 0x70) !== 0) return 'a frame with reserved bits'
    if ((second & MASK) === 0) return 'a frame of a client without mask'
    if (opcode >= CLOSE) {
      if (opcode > PONG) return `a frame with the reserved opcode ${opcode}`
      if ((first & FIN) === 0) return 'a fragmented control frame'
      return (second & 127) > CONTROL_PAYLOAD_MAX ? 'a control frame of more than 125 bytes' : null
    }
    if (opcode === TEXT) return 'a WebSocket text frame [MQTT-6.0.0-1]'
    if (opcode > BINARY) return `a frame with the reserved opcode ${opcode}`
    if (opcode === CONTINUATION) return this.#fragmented ? null : 'a continuation of nothing'
    return this.#fragmented ? 'a new message within another' : null
  }

  #controlFrame(payload: Buffer): void {
    this.#control = null
    unmask(payload, 0, 0, payload.length, this.#mask)
    if (this.#opcode === PING) {
      this.pings ??= []
      this.pings.push(payload)
    } else if (this.#opcode === CLOSE) {
      const code = payload.length >= 2 ? payload.readUInt16BE(0) : closeCode.noStatus
      this.end =
        payload.length === 1 || !mayBeSent(code) ? protocolError('a close frame without a code') : { code, error: null }
    }
  }
}

function protocolError(error: string): FramesEnd {
  return { code: closeCode.protocolError, error }
}

/** RFC 6455, 7.4: codes a peer may put in a close frame; 1005 stands for none. */
function mayBeSent(code: number): boolean {
  if (code >= 3000) return code <= 4999
  return code >= 1000 && code <= 1014 && code !== 1004 && code !== 1006
}

function headerBytes(second: number): number {
  const length = second & 127
  return 2 + (length < 126 ? 0 : length === 126 ? 2 : 8) + ((second & MASK) === 0 ? 0 : 4)
}

/** The masking key after `n` bytes of payload. */
function turned(mask: number, n: number): number {
  const bits = (n & 3) * 8
  return bits === 0 ? mask : (mask << bits) | (mask >>> (32 - bits))
}

/** From here on words are worth their setup. */
const BY_WORDS_MIN = 256
const keyBytes = Buffer.alloc(4)
const key = new Int32Array(keyBytes.buffer, keyBytes.byteOffset, 1)

/** Unmasks `n` bytes at `from` and puts them at `to`, which is not behind `from`. */
function unmask(buf: Buffer, from: number, to: number, n: number, mask: number): void {
  if (n >= BY_WORDS_MIN) {
    if (from !== to) buf.copyWithin(to, from, from + n)
    unmaskWords(buf, to, to + n, mask)
    return
  }
  const a = mask >>> 24
  const b = (mask >>> 16) & 255
  const c = (mask >>> 8) & 255
  const d = mask & 255
  let i = 0
  for (; i + 3 < n; i += 4) {
    buf[to + i] = buf[from + i]! ^ a
    buf[to + i + 1] = buf[from + i + 1]! ^ b
    buf[to + i + 2] = buf[from + i + 2]! ^ c
    buf[to + i + 3] = buf[from + i + 3]! ^ d
  }
  if (i < n) buf[to + i] = buf[from + i]! ^ a
  if (i + 1 < n) buf[to + i + 1] = buf[from + i + 1]! ^ b
  if (i + 2 < n) buf[to + i + 2] = buf[from + i + 2]! ^ c
}

function unmaskWords(buf: Buffer, start: number, end: number, mask: number): void {
  // A view of words has to begin at a multiple of four.
  const lead = -(buf.byteOffset + start) & 3
  unmask(buf, start, start, lead, mask)
  const aligned = start + lead
  keyBytes.writeInt32BE(turned(mask, lead))
  const word = key[0]!
  const words = new Int32Array(buf.buffer, buf.byteOffset + aligned, (end - aligned) >> 2)
  for (let w = 0; w < words.length; w++) words[w] = words[w]! ^ word
  const rest = aligned + words.length * 4
  unmask(buf, rest, rest, end - rest, turned(mask, lead))
}

/** The header of a binary frame of `length` bytes from the server: it ends the message, and is not masked. */
export function writeBinaryHeader(target: Buffer, length: number): number {
  target[0] = FIN | BINARY
  if (length < 126) {
    target[1] = length
    return 2
  }
  if (length < 0x1_0000) {
    target[1] = 126
    target.writeUInt16BE(length, 2)
    return 4
  }
  target[1] = 127
  target.writeUInt32BE(Math.floor(length / 0x1_0000_0000), 2)
  target.writeUInt32BE(length % 0x1_0000_0000, 6)
  return 10
}

export function pongFrame(payload: Buffer): Buffer {
  return Buffer.concat([Buffer.from([FIN | PONG, payload.length]), payload])
}

/** @param code `closeCode.noStatus`: a frame without one */
export function closeFrame(code: number): Buffer {
  return code === closeCode.noStatus
    ? Buffer.from([FIN | CLOSE, 0])
    : Buffer.from([FIN | CLOSE, 2, code >> 8, code & 255])
}
