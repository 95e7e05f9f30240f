/**
 * A WebSocket client just large enough for load (RFC 6455): binary messages both ways, ping answered, close obeyed.
 *
 * Outgoing bytes are copied into one reused buffer and masked there four bytes at a time. The mask is fixed but not
 * zero: a server may skip the work for a zero mask, and no real client sends one.
 */
import { randomBytes } from 'node:crypto'
import { type Address, type Link, type LinkHandler, TcpLink } from './link.ts'

const HEADER_BYTES = 8
/** Longest payload of one outgoing frame: a 16-bit length, kept a multiple of four. */
const FRAME_PAYLOAD_MAX = 65_532
const SHORT_PAYLOAD_MAX = 125
const MASK = Buffer.from([0x5a, 0xc3, 0x19, 0x86])
const MASK_WORD = new Uint32Array(MASK.buffer.slice(MASK.byteOffset, MASK.byteOffset + 4))[0]!

const OPCODE_CLOSE = 0x8
const OPCODE_PING = 0x9
const OPCODE_PONG = 0xa

export class WebSocketLink implements Link, LinkHandler {
  readonly #tcp: TcpLink
  readonly #handler: LinkHandler
  readonly #address: Address
  #state: 'connecting' | 'upgrading' | 'open' = 'connecting'
  #upgrade = ''
  #out = Buffer.alloc(0)
  /** Header of the frame being read: at most two bytes, and eight of extended length. */
  readonly #head = Buffer.alloc(10)
  #headBytes = 0
  #payloadLeft = 0
  #opcode = 0

  constructor(address: Address, handler: LinkHandler) {
    this.#address = address
    this.#handler = handler
    this.#tcp = new TcpLink(address, this)
  }

  get busy(): boolean {
    return this.#tcp.busy
  }

  close(): void {
    this.#tcp.close()
  }

  send(bytes: Buffer, from: number, to: number): boolean {
    const frames = Math.ceil((to - from) / FRAME_PAYLOAD_MAX)
    const needed = to - from + frames * (HEADER_BYTES + 4)
    if (this.#out.length < needed) this.#out = Buffer.allocUnsafeSlow(needed * 2)
    let end = 0
    for (let at = from; at < to; at += FRAME_PAYLOAD_MAX) {
      end = this.#frame(0x82, bytes, at, Math.min(to, at + FRAME_PAYLOAD_MAX), end)
    }
    return this.#tcp.send(this.#out, 0, end)
  }

  opened(): void {
    this.#state = 'upgrading'
    const { host, port } = this.#address
    const request = Buffer.from(
      `GET /mqtt HTTP/1.1\r\nHost: ${host}:${port}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n` +
        `Sec-WebSocket-Version: 13\r\nSec-WebSocket-Protocol: mqtt\r\n` +
        `Sec-WebSocket-Key: ${randomBytes(16).toString('base64')}\r\n\r\n`,
    )
    this.#tcp.send(request, 0, request.length)
  }

  flushed(): void {
    if (this.#state === 'open') this.#handler.flushed()
  }

  lost(reason: string): void {
    this.#handler.lost(reason)
  }

  received(bytes: Buffer, from: number, to: number): void {
    let at = this.#state === 'open' ? from : this.#readUpgrade(bytes, from, to)
    while (at < to) {
      if (this.#payloadLeft === 0) {
        at = this.#readHeader(bytes, at, to)
        if (this.#payloadLeft === 0) continue
      }
      const taken = Math.min(this.#payloadLeft, to - at)
      this.#payloadLeft -= taken
      if (this.#opcode < OPCODE_CLOSE) this.#handler.received(bytes, at, at + taken)
      at += taken
    }
  }

  /** Reads the answer to the upgrade; returns where the first WebSocket frame begins (`to`: nothing of it here). */
  #readUpgrade(bytes: Buffer, from: number, to: number): number {
    const before = this.#upgrade.length
    this.#upgrade += bytes.toString('latin1', from, to)
    const end = this.#upgrade.indexOf('\r\n\r\n')
    if (end < 0) return to
    if (!/^HTTP\/1\.1 101 /.test(this.#upgrade)) {
      this.#tcp.close()
      this.#handler.lost(`upgrade refused: ${this.#upgrade.slice(0, this.#upgrade.indexOf('\r\n'))}`)
      return to
    }
    this.#state = 'open'
    this.#handler.opened()
    return from + end + 4 - before
  }

  /** Collects the frame header byte by byte; sets `#payloadLeft` when it is complete. */
  #readHeader(bytes: Buffer, from: number, to: number): number {
    let at = from
    while (at < to) {
      this.#head[this.#headBytes++] = bytes[at++]!
      if (this.#headBytes < 2) continue
      const short = this.#head[1]! & 0x7f
      if (this.#headBytes < (short === 126 ? 4 : short === 127 ? 10 : 2)) continue
      this.#opcode = this.#head[0]! & 0x0f
      this.#payloadLeft =
        short === 126 ? this.#head.readUInt16BE(2) : short === 127 ? this.#head.readUIntBE(4, 6) : short
      this.#headBytes = 0
      if (this.#opcode === OPCODE_PING) this.#pong()
      else if (this.#opcode === OPCODE_CLOSE) {
        this.#tcp.close()
        this.#handler.lost('closed by the broker (WebSocket close)')
        return to
      }
      break
    }
    return at
  }

  /** An empty pong: the broker's ping carries nothing we would have to give back during a run. */
  #pong(): void {
    if (this.#tcp.busy) return
    const pong = Buffer.from([0x80 | OPCODE_PONG, 0x80, ...MASK])
    this.#tcp.send(pong, 0, pong.length)
  }

  /** Writes one masked frame into the outgoing buffer at `at`; returns its end. */
  #frame(firstByte: number, bytes: Buffer, from: number, to: number, at: number): number {
    const out = this.#out
    const length = to - from
    out[at] = firstByte
    if (length <= SHORT_PAYLOAD_MAX) {
      out[at + 1] = 0x80 | length
      MASK.copy(out, at + 2)
      for (let i = 0; i < length; i++) out[at + 6 + i] = bytes[from + i]! ^ MASK[i & 3]!
      return at + 6 + length
    }
    out[at + 1] = 0x80 | 126
    out.writeUInt16BE(length, at + 2)
    MASK.copy(out, at + 4)
    const start = at + HEADER_BYTES
    bytes.copy(out, start, from, to)
    maskInPlace(out, start, length)
    return start + length
  }
}

function maskInPlace(out: Buffer, start: number, length: number): void {
  let i = 0
  // Words need alignment to four bytes in the underlying memory; frames after the first one may lack it.
  if (((out.byteOffset + start) & 3) === 0) {
    const words = new Uint32Array(out.buffer, out.byteOffset + start, length >> 2)
    for (let w = 0; w < words.length; w++) words[w] = words[w]! ^ MASK_WORD
    i = words.length * 4
  }
  for (; i < length; i++) out[start + i] = out[start + i]! ^ MASK[i & 3]!
}
