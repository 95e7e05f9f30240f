/**
 * A network connection of the lab: bytes lie in it, in both directions, until somebody delivers them. A crash or a reset
 * may lose what lies there.
 */
import { PassThrough } from 'node:stream'
import type { ByteStream, Peer, StreamHandler } from '../../../src/transport.ts'

const HIGH_WATER = 64 * 1024

interface Sent {
  readonly bytes: Buffer
  readonly written: (() => void) | undefined
}

/** The client's end. */
export interface LineHandler {
  received(bytes: Buffer): void
  /** The connection is gone, whoever closed it. */
  gone(): void
}

export class LabLine implements ByteStream {
  readonly peer: Peer = { protocol: 'stream', address: '', port: 0 }
  client: LineHandler | null = null
  /** The client reads nothing. */
  frozen = false
  #handler: StreamHandler | null = null
  #toBroker: Buffer[] = []
  #toClient: Sent[] = []
  #buffered = 0
  #paused = false
  #full = false
  /** The broker closed its end: what is queued still goes out, then the connection is gone. */
  #ending = false
  #gone = false
  #toldBroker = false
  /** The process at the other end died. */
  #orphan = false
  #source: PassThrough | null = null

  get source(): PassThrough {
    this.#source ??= new PassThrough()
    return this.#source
  }
  get isGone(): boolean {
    return this.#gone
  }
  get bufferedBytes(): number {
    return this.#buffered
  }
  /** Something can be delivered. */
  get busy(): boolean {
    if (this.#gone) return !this.#toldBroker && !this.#orphan
    return (
      (this.#toBroker.length > 0 && !this.#paused && !this.#ending) ||
      (!this.frozen && (this.#toClient.length > 0 || this.#ending))
    )
  }

  // The broker's end.

  setHandler(handler: StreamHandler): void {
    this.#handler = handler
  }
  write(bytes: Buffer, written?: () => void): boolean {
    if (this.#gone || this.#ending || this.#orphan) {
      written?.()
      return false
    }
    this.#toClient.push({ bytes: Buffer.from(bytes), written })
    this.#buffered += bytes.length
    this.#full ||= this.#buffered > HIGH_WATER
    return !this.#full
  }
  pause(): void {
    this.#paused = true
  }
  resume(): void {
    this.#paused = false
  }
  end(): void {
    this.#ending = true
  }
  destroy(): void {
    this.#toClient = []
    this.#ending = true
  }

  // The client's end.

  send(bytes: Buffer): void {
    if (!this.#gone) this.#toBroker.push(bytes)
  }
  /** Cuts the connection. What the client sent may still arrive, in part. */
  reset(arrives: number): void {
    if (this.#gone) return
    for (let i = 0; i < arrives && this.#toBroker.length > 0 && !this.#paused; i++) this.deliverToBroker()
    this.#close()
  }

  // The network between them.

  /** One write of the client reaches the broker. */
  deliverToBroker(): void {
    if (this.#gone) {
      this.#tellBroker()
      return
    }
    if (this.#paused || this.#ending) return
    const bytes = this.#toBroker.shift()
    if (bytes !== undefined) this.#handler?.data(bytes)
  }

  /** Everything the broker wrote reaches the client, and the end of the stream after it. */
  deliverToClient(): void {
    if (this.#gone || this.frozen) return
    for (let sent = this.#toClient.shift(); sent !== undefined; sent = this.#toClient.shift()) {
      this.#buffered -= sent.bytes.length
      sent.written?.()
      this.client?.received(sent.bytes)
      if (this.#gone) return
    }
    if (this.#full && !this.#orphan) {
      this.#full = false
      this.#handler?.drain()
    }
    if (this.#ending) this.#close()
  }

  /** The broker's process dies. `reaches`: what it had written still arrives at the client. */
  orphan(reaches: boolean): void {
    if (this.#gone) {
      this.#orphan = true
      return
    }
    this.#orphan = true
    if (reaches) this.deliverToClient()
    this.#close()
  }

  #close(): void {
    if (this.#gone) return
    this.#gone = true
    this.#toBroker = []
    this.#toClient = []
    this.client?.gone()
  }

  #tellBroker(): void {
    if (this.#toldBroker || this.#orphan) return
    this.#toldBroker = true
    this.#handler?.closed(null)
  }
}
