/** A client without a socket: bytes go in and come out by calls, in the memory of a socket that is used again. */
import { Duplex } from 'node:stream'
import { type ByteStream, READ_BYTES, type StreamHandler } from '../../src/transport.ts'
import { encodeAck } from '../../src/wire/ack.ts'
import { encodeConnect, encodeSubscribe } from '../../src/wire/client-packets.ts'
import { PacketType } from '../../src/wire/control.ts'
import { FrameReader } from '../../src/wire/frame-reader.ts'
import type { ProtocolVersion } from '../../src/wire/versions.ts'

/** All streams read into it, as the broker's sockets do; what was read is gone when the handler returns. */
const memory = Buffer.alloc(READ_BYTES)

export class MemoryStream implements ByteStream {
  readonly peer = { protocol: 'stream', address: '', port: 0 } as const
  readonly source = new Duplex()
  readonly version: ProtocolVersion
  /** PUBLISH packets that came out. */
  readonly received: Buffer[] = []
  /** SUBACK came. */
  subscribed = false
  /** Of what `feed` was given, what the broker did not want yet. */
  #unread: Buffer[] = []
  #handler: StreamHandler | null = null
  #paused = false
  /** The broker takes output back when it is read: later. */
  #unwritten: { bytes: Buffer; written: (() => void) | undefined }[] = []
  readonly #reader = new FrameReader(Number.MAX_SAFE_INTEGER)
  ended = false
  /** Reads nothing of what the broker sends. */
  frozen = false

  constructor(version: ProtocolVersion) {
    this.version = version
  }

  get bufferedBytes(): number {
    return this.#unwritten.reduce((sum, { bytes }) => sum + bytes.length, 0)
  }

  connect(clientId: string): void {
    this.feed(encodeConnect({ version: this.version, clientId }))
  }

  subscribe(topicFilter: string, qos: 0 | 1 | 2, subscriptionIdentifier = 0): void {
    const properties = subscriptionIdentifier === 0 ? null : { subscriptionIdentifiers: [subscriptionIdentifier] }
    this.feed(encodeSubscribe(this.version, 1, [{ topicFilter, qos }], properties))
  }

  /** What the client sends, in as many reads as there are pieces of at most 256 KiB. */
  feed(bytes: Buffer): void {
    this.#unread.push(bytes)
    this.#read()
  }

  /** Takes what the broker has sent; answers QoS 1. */
  take(): void {
    if (this.frozen) return
    const unwritten = this.#unwritten
    this.#unwritten = []
    for (const { bytes, written } of unwritten) {
      this.#reader.feed(bytes, 0, { frame: (buf, start, body, end) => this.#frame(buf, start, body, end) })
      written?.()
    }
    if (unwritten.length > 0) this.#handler?.drain()
  }

  setHandler(handler: StreamHandler): void {
    this.#handler = handler
  }
  write(bytes: Buffer, written?: () => void): boolean {
    // Looked at when it is taken: whoever changes it before `written` is called is found out.
    this.#unwritten.push({ bytes, written })
    return false
  }
  pause(): void {
    this.#paused = true
  }
  resume(): void {
    this.#paused = false
    setImmediate(() => this.#read())
  }
  end(): void {
    this.destroy()
  }
  destroy(): void {
    if (this.ended) return
    this.ended = true
    setImmediate(() => this.#handler?.closed(null))
  }

  #read(): void {
    while (!this.#paused && !this.ended) {
      const next = this.#unread.shift()
      if (next === undefined) return
      const length = Math.min(next.length, memory.length)
      next.copy(memory, 0, 0, length)
      if (length < next.length) this.#unread.unshift(next.subarray(length))
      this.#handler?.data(memory.subarray(0, length))
      memory.fill(0xff, 0, length)
    }
  }

  #frame(buf: Buffer, start: number, body: number, end: number): boolean {
    const first = buf[start]!
    if (first >> 4 === PacketType.SUBACK) this.subscribed = true
    if (first >> 4 !== PacketType.PUBLISH) return true
    this.received.push(Buffer.from(buf.subarray(start, end)))
    if ((first & 6) === 2) {
      const at = body + 2 + buf.readUInt16BE(body)
      this.feed(encodeAck(PacketType.PUBACK, this.version, buf.readUInt16BE(at), 0))
    }
    return true
  }
}
