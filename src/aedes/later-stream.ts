import type { Duplex } from 'node:stream'
import type { ByteStream, Peer, StreamHandler } from '../transport.ts'

/**
 * A stream that is no socket may hand over what is written at its other end inside the writer's own call. Then a program
 * would be told of what its write led to before the write has returned, and before it had a chance to listen. This one
 * passes on what comes in the next turn of the event loop, and ends a turn after the last write, as a socket does.
 */
export class LaterStream implements ByteStream {
  readonly peer: Peer
  readonly source: Duplex
  readonly #stream: ByteStream
  /** Within this turn. */
  #wrote = false
  /** Reads that have not been passed on yet. */
  #coming = 0
  #paused = false

  constructor(stream: ByteStream) {
    this.peer = stream.peer
    this.source = stream.source
    this.#stream = stream
  }

  get bufferedBytes(): number {
    return this.#stream.bufferedBytes
  }

  setHandler(handler: StreamHandler): void {
    this.#stream.setHandler({
      data: (bytes) => {
        const copy = Buffer.from(bytes)
        this.#coming++
        setImmediate(() => {
          this.#coming--
          this.#data(handler, copy)
        })
      },
      drain: () => handler.drain(),
      // Streams tell their end after the call that led to it anyway; it only has to come after what was read.
      closed: (error) => {
        if (this.#coming === 0) handler.closed(error)
        else setImmediate(() => handler.closed(error))
      },
    })
  }

  #data(handler: StreamHandler, bytes: Buffer): void {
    try {
      handler.data(bytes)
    } catch {
      this.#stream.destroy()
    }
  }

  write(bytes: Buffer, written?: () => void): boolean {
    if (!this.#wrote) {
      this.#wrote = true
      setImmediate(() => {
        this.#wrote = false
      })
    }
    return this.#stream.write(bytes, written)
  }

  /** Takes effect after the next turn: most pauses are over by then, and what comes meanwhile keeps its place in time. */
  pause(): void {
    if (this.#paused) return
    this.#paused = true
    const pause = (): void => {
      if (this.#paused) this.#stream.pause()
    }
    setImmediate(() => setImmediate(pause))
  }

  resume(): void {
    this.#paused = false
    this.#stream.resume()
  }

  end(): void {
    if (this.#wrote) setImmediate(() => this.#stream.end())
    else this.#stream.end()
  }

  destroy(): void {
    this.#stream.destroy()
  }
}
