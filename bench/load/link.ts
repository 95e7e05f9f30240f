/** A byte stream to the broker: raw TCP, TLS, or the inside of WebSocket messages. */
import net from 'node:net'
import tls from 'node:tls'

export type Transport = 'tcp' | 'tls' | 'websocket'

export interface LinkHandler {
  /** The stream stands; `send` may be called from here on. */
  opened(): void
  /** Bytes came in. They are valid until the call returns. */
  received(bytes: Buffer, from: number, to: number): void
  /** What a `send` that returned false was given has left the process. */
  flushed(): void
  /** The stream is gone, unasked. Called at most once, never after `close`. */
  lost(reason: string): void
}

export interface Link {
  /** True between a `send` that returned false and the `flushed` that follows it; no `send` is allowed meanwhile. */
  readonly busy: boolean
  /** Sends `bytes[from..to)`. True: they have been handed over and may be changed. False: not before `flushed`. */
  send(bytes: Buffer, from: number, to: number): boolean
  /** Drops the connection at once (TCP: RST), so that no port lingers in TIME_WAIT. */
  close(): void
}

/**
 * All sockets of the process read into this one buffer: what was read is dealt with before the next read, and ten
 * thousand idle connections need no memory of their own.
 */
const readBuffer = Buffer.allocUnsafeSlow(256 * 1024)

export interface Address {
  readonly host: string
  readonly port: number
}

/** A socket; which kind, the subclasses say. */
abstract class SocketLink implements Link {
  busy = false
  protected readonly handler: LinkHandler
  readonly #socket: net.Socket
  #closed = false

  constructor(address: Address, handler: LinkHandler) {
    this.handler = handler
    this.#socket = this.connect(address)
    this.#socket.on('error', (error) => this.#lost(error.message))
    this.#socket.on('close', () => this.#lost('closed by the broker'))
  }

  send(bytes: Buffer, from: number, to: number): boolean {
    const socket = this.#socket
    this.busy = true
    socket.write(from === 0 && to === bytes.length ? bytes : bytes.subarray(from, to), this.#written)
    // Node tries the system call at once; when the kernel took everything nothing is left to wait for.
    if (socket.writableLength > 0) return false
    this.busy = false
    return true
  }

  close(): void {
    this.#closed = true
    // A TLS socket cannot be reset; a TLS run has few of them.
    if (this.#socket instanceof tls.TLSSocket) this.#socket.destroy()
    else this.#socket.resetAndDestroy()
  }

  /** Opens a socket that calls `read` with what comes in and `handler.opened` once the stream stands. */
  protected abstract connect(address: Address): net.Socket

  protected read(bytes: Buffer, length: number): void {
    if (!this.#closed) this.handler.received(bytes, 0, length)
  }

  readonly #written = (error?: Error | null): void => {
    if (!this.busy || error || this.#closed || this.#socket.writableLength > 0) return
    this.busy = false
    this.handler.flushed()
  }

  #lost(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    this.handler.lost(reason)
  }
}

export class TcpLink extends SocketLink {
  protected connect(address: Address): net.Socket {
    const onread = {
      buffer: readBuffer,
      callback: (bytesRead: number) => {
        this.read(readBuffer, bytesRead)
        return true
      },
    }
    return net.connect({ ...address, noDelay: true, onread }).on('connect', () => this.handler.opened())
  }
}

/** TLS as Node negotiates it by default. The certificate is not checked: the benchmark made it a moment ago. */
export class TlsLink extends SocketLink {
  protected connect(address: Address): net.Socket {
    // Node's TLS sockets have no `onread`; they hand out a buffer per record.
    return tls
      .connect({ ...address, rejectUnauthorized: false })
      .setNoDelay(true)
      .on('secureConnect', () => this.handler.opened())
      .on('data', (bytes: Buffer) => this.read(bytes, bytes.length))
  }
}
