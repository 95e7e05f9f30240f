/** What all byte streams over a Node Duplex have in common. */
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { type Clock, systemClock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { ByteStream, Peer, StreamHandler } from '../transport.ts'

/**
 * After `end`, how long a stream may make no progress before it is cut, in ms. The peer needs the time to read the
 * last packet: closing a TCP connection that has unread bytes resets it and takes that packet away.
 */
const lingerMs = 2000

/**
 *     open ──end, or the peer ends──▶ ending ──flushed and peer gone, or no progress──▶ closed
 *       └───────────────destroy, error─────────────────────────────────────────────────┘
 *
 * Errors of the Duplex never surface as 'error' events elsewhere; they arrive in the handler's `closed`.
 */
export abstract class SourceStream implements ByteStream {
  readonly peer: Peer
  readonly source: Duplex
  protected handler: StreamHandler | null = null
  readonly #clock: Clock
  #state: 'open' | 'ending' | 'closed' = 'open'
  #error: Error | null = null
  #cancelLinger: (() => void) | null = null

  constructor(source: Duplex, peer: Peer, clock: Clock = systemClock) {
    this.peer = peer
    this.source = source
    this.#clock = clock
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

  abstract write(bytes: Buffer, written?: () => void): boolean

  /** Takes what was read. Still called after `end`, so that the peer's end is seen. */
  protected abstract read(bytes: Buffer): void

  get bufferedBytes(): number {
    return this.source.writableLength
  }

  protected get open(): boolean {
    return this.#state === 'open'
  }

  setHandler(handler: StreamHandler): void {
    this.handler = handler
    if (this.#state === 'closed') queueMicrotask(() => handler.closed(this.#error))
    else (this.source as Wrapped).on('data', onData)
  }

  pause(): void {
    if (this.#state === 'open') this.source.pause()
  }

  resume(): void {
    // Without a handler there is no 'data' listener yet, and a flowing stream would lose its bytes.
    if (this.handler !== null) this.source.resume()
  }

  end(): void {
    if (this.beginEnd()) this.source.end()
  }

  destroy(): void {
    this.source.destroy()
  }

  /** Starts the way to the end, within the time for it. False: it was started before. */
  protected beginEnd(): boolean {
    if (this.#state !== 'open') return false
    this.#state = 'ending'
    // What still comes in is read, so that the peer's end is seen.
    this.source.resume()
    this.#linger(this.bufferedBytes)
    return true
  }

  /** Names the error with which the stream will close; the first one counts. */
  protected because(error: Error): void {
    this.#error ??= error
  }

  sourceRead(bytes: Buffer): void {
    try {
      this.read(bytes)
    } catch (error) {
      this.because(new SluiceError('invariant', 'a stream handler threw', { cause: error }))
      this.destroy()
    }
  }

  sourceDrained(): void {
    if (this.#state === 'open') this.handler?.drain()
  }

  sourceEnded(): void {
    this.end()
  }

  sourceFailed(error: Error): void {
    this.because(error)
    // A Duplex made without autoDestroy would stay open after its error.
    this.source.destroy()
  }

  sourceClosed(): void {
    if (this.#state === 'closed') return
    this.#state = 'closed'
    this.#cancelLinger?.()
    this.handler?.closed(this.#error)
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
type Wrapped = Duplex & { [stream]: SourceStream }

// One function each for all streams: closures of its own would cost every connection half a kilobyte.
function onData(this: Wrapped, bytes: Buffer): void {
  this[stream].sourceRead(bytes)
}
function onDrain(this: Wrapped): void {
  this[stream].sourceDrained()
}
function onEnd(this: Wrapped): void {
  this[stream].sourceEnded()
}
function onError(this: Wrapped, error: Error): void {
  this[stream].sourceFailed(error)
}
function onClose(this: Wrapped): void {
  this[stream].sourceClosed()
}
