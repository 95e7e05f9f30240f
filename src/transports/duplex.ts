/** A byte stream over any Node Duplex: TCP and TLS sockets, and streams handed to `broker.handle`. */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Clock, systemClock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { ByteStream, Peer, StreamHandler } from '../transport.ts'
import { readShared } from './shared-reading.ts'

/**
 * After `end`, how long a stream may make no progress before it is cut, in ms. The peer needs the time to read the
 * last packet: closing a TCP connection that has unread bytes resets it and takes that packet away.
 */
const lingerMs = 2000

/**
 * The stream of a socket that a listener accepted and has not begun to read. It reads into memory that all such streams share
 * (see `readShared`), or like any other Duplex where that cannot be had.
 */
export function socketStream(socket: Socket, protocol: Peer['protocol']): ByteStream {
  const peer = { protocol, address: socket.remoteAddress ?? '', port: socket.remotePort ?? 0 }
  return new DuplexStream(socket, peer, systemClock, 'accepted')
}

/** Wraps `source`. Its errors never surface as 'error' events elsewhere; they arrive in `closed`. */
export function duplexStream(source: Duplex, peer: Peer, clock: Clock = systemClock): ByteStream {
  return new DuplexStream(source, peer, clock, 'flowing')
}

/** How bytes come: by 'data' events (of an accepted socket after `resume`), or from shared memory without them. */
type Reading = 'flowing' | 'accepted' | 'shared'

/**
 *     open ──end, or the peer ends──▶ ending ──flushed and peer gone, or no progress──▶ closed
 *       └───────────────destroy, error─────────────────────────────────────────────────┘
 */
class DuplexStream implements ByteStream {
  readonly peer: Peer
  readonly source: Duplex
  readonly #clock: Clock
  readonly #reading: Reading
  #handler: StreamHandler | null = null
  #state: 'open' | 'ending' | 'closed' = 'open'
  #error: Error | null = null
  #cancelLinger: (() => void) | null = null

  constructor(source: Duplex, peer: Peer, clock: Clock, reading: Reading) {
    this.peer = peer
    this.source = source
    this.#clock = clock
    this.#reading = reading === 'accepted' && readShared(source as Socket, this) ? 'shared' : reading
    // Without it, Nagle's algorithm holds small acknowledgements back for 40 ms.
    if (source instanceof Socket) source.setNoDelay(true)
    const wrapped = source as Wrapped
    wrapped[stream] = this
    wrapped.on('error', onError)
    wrapped.on('close', onClose)
    wrapped.on('end', onEnd)
    wrapped.on('drain', onDrain)
    if (source.destroyed) queueMicrotask(() => this.sourceClosed())
  }

  get bufferedBytes(): number {
    return this.source.writableLength
  }

  setHandler(handler: StreamHandler): void {
    this.#handler = handler
    if (this.#state === 'closed') {
      queueMicrotask(() => handler.closed(this.#error))
      return
    }
    if (this.#reading !== 'shared') (this.source as Wrapped).on('data', onData)
    if (this.#reading !== 'flowing') this.source.resume()
  }

  sourceRead(bytes: Buffer): void {
    if (this.#state !== 'open') return
    try {
      this.#handler?.data(bytes)
    } catch (error) {
      this.#error ??= new SluiceError('invariant', 'a stream handler threw', { cause: error })
      this.destroy()
    }
  }

  sourceDrained(): void {
    if (this.#state === 'open') this.#handler?.drain()
  }

  sourceFailed(error: Error): void {
    this.#error ??= error
    // A Duplex made without autoDestroy would stay open after its error.
    this.source.destroy()
  }

  sourceClosed(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#cancelLinger?.()
    this.#handler?.closed(this.#error)
  }

  write(bytes: Buffer, written?: () => void): boolean {
    if (this.#state === 'open') return this.source.write(bytes, written)
    written?.()
    return false
  }

  pause(): void {
    if (this.#state === 'open') this.source.pause()
  }

  resume(): void {
    // Without a handler there is no 'data' listener yet, and a flowing stream would lose its bytes.
    if (this.#handler !== null) this.source.resume()
  }

  end(): void {
    if (this.#state !== 'open') return
    this.#state = 'ending'
    this.source.end()
    // What still comes in is read and dropped, so that the peer's end is seen.
    this.source.resume()
    this.#linger(this.bufferedBytes)
  }

  destroy(): void {
    this.source.destroy()
  }

  #linger(buffered: number): void {
    this.#cancelLinger = this.#clock.after(lingerMs, () => {
      const now = this.bufferedBytes
      if (now < buffered) this.#linger(now)
      else this.source.destroy()
    })
  }
}

const stream = Symbol('the stream that wraps this Duplex')
type Wrapped = Duplex & { [stream]: DuplexStream }

// One function each for all streams: closures of its own would cost every connection half a kilobyte.
function onData(this: Wrapped, bytes: Buffer): void {
  this[stream].sourceRead(bytes)
}
function onDrain(this: Wrapped): void {
  this[stream].sourceDrained()
}
function onEnd(this: Wrapped): void {
  this[stream].end()
}
function onError(this: Wrapped, error: Error): void {
  this[stream].sourceFailed(error)
}
function onClose(this: Wrapped): void {
  this[stream].sourceClosed()
}
