/** A byte stream to the broker: raw TCP, or the inside of WebSocket messages. */
import net from 'node:net'

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
  /** Drops the connection at once (RST), so that no port lingers in TIME_WAIT. */
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

export class TcpLink implements Link {
  busy = false
  readonly #socket: net.Socket
  readonly #handler: LinkHandler
  #closed = false

  constructor(address: Address, handler: LinkHandler) {
    this.#handler = handler
    this.#socket = net.connect({
      ...address,
      noDelay: true,
      onread: {
        buffer: readBuffer,
        callback: (bytesRead) => {
          if (!this.#closed) handler.received(readBuffer, 0, bytesRead)
          return true
        },
      },
    })
    this.#socket.on('connect', () => handler.opened())
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
    this.#socket.resetAndDestroy()
  }

  readonly #written = (error?: Error | null): void => {
    if (!this.busy || error || this.#closed || this.#socket.writableLength > 0) return
    this.busy = false
    this.#handler.flushed()
  }

  #lost(reason: string): void {
    if (this.#closed) return
    this.#closed = true
    this.#handler.lost(reason)
  }
}
