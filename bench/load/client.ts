/** What publishers, subscribers and idle connections share: connect, say CONNECT, wait for the answer. */
import { FrameScanner, type FrameSink } from './frame-scanner.ts'
import { type Address, type Link, type LinkHandler, TcpLink, TlsLink, type Transport } from './link.ts'
import { Outbox } from './outbox.ts'
import { connackReceiveMaximum, connectPacket, type Version } from './packets.ts'
import { WebSocketLink } from './websocket-link.ts'

export interface ClientOptions extends Address {
  readonly transport: Transport
  readonly version: Version
  readonly clientId: string
  readonly clean: boolean
  readonly receiveMaximum: number
  readonly keepAliveSeconds: number
}

/** Who waits for the client. */
export interface ClientWatcher {
  /** The client has everything it needs to take part: CONNACK, and SUBACK if it subscribes. Called once. */
  ready(): void
  /** The broker refused, broke the protocol or hung up: the run is void. */
  failed(reason: string): void
}

export abstract class LoadClient implements LinkHandler, FrameSink {
  readonly clientId: string
  protected readonly link: Link
  protected readonly outbox = new Outbox()
  protected readonly watcher: ClientWatcher
  /** Receive Maximum the broker granted. */
  protected receiveMaximum = 65_535
  readonly #scanner: FrameScanner
  readonly #options: ClientOptions

  constructor(options: ClientOptions, watcher: ClientWatcher) {
    this.clientId = options.clientId
    this.watcher = watcher
    this.#options = options
    this.#scanner = new FrameScanner(this)
    this.link = link(options, this)
  }

  /** The broker accepted the connection. */
  protected abstract connected(): void
  /** A packet that is neither CONNACK nor a reason to stop. */
  protected abstract message(header: number, bytes: Buffer, from: number, to: number): void
  /** A chunk has been read to its end. */
  protected abstract chunkEnd(): void

  opened(): void {
    this.outbox.add(connectPacket(this.#options))
    this.outbox.flush(this.link)
  }

  received(bytes: Buffer, from: number, to: number): void {
    try {
      this.#scanner.push(bytes, from, to)
    } catch (error) {
      this.fail((error as Error).message)
      return
    }
    this.chunkEnd()
  }

  flushed(): void {
    this.chunkEnd()
  }

  lost(reason: string): void {
    this.watcher.failed(`${this.clientId}: ${reason}`)
  }

  packet(header: number, bytes: Buffer, from: number, to: number): void {
    const type = header >> 4
    if (type === 2) {
      const code = bytes[from + 1]!
      if (code !== 0) {
        this.fail(`CONNECT refused with code ${code}`)
        return
      }
      if (this.#options.version === 5) this.receiveMaximum = connackReceiveMaximum(bytes, from, to)
      this.connected()
    } else if (type === 14) {
      this.fail(`DISCONNECT from the broker with code ${to > from ? bytes[from]! : 0}`)
    } else {
      this.message(header, bytes, from, to)
    }
  }

  close(): void {
    this.link.close()
  }

  protected fail(reason: string): void {
    this.link.close()
    this.watcher.failed(`${this.clientId}: ${reason}`)
  }
}

function link(options: ClientOptions, handler: LinkHandler): Link {
  if (options.transport === 'websocket') return new WebSocketLink(options, handler)
  return options.transport === 'tls' ? new TlsLink(options, handler) : new TcpLink(options, handler)
}

/** A connection that does nothing once it stands. */
export class IdleClient extends LoadClient {
  protected connected(): void {
    this.watcher.ready()
  }
  protected message(): void {}
  protected chunkEnd(): void {}
}
