import type { ByteStream } from '../transport.ts'
import { FrameReader, type FrameSink } from '../wire/frame-reader.ts'
import type { Memory } from './memory.ts'

/** Takes the packets of one connection. */
export interface PacketSink extends FrameSink {
  /** Gets what reading or `frame` throws. */
  failed(error: unknown): void
}

/**
 * The reading side of a connection: bytes become packets, one after the other, unless something holds the reading back.
 *
 *     open ──hold, pause──▶ held back (the stream is not read; what was read waits) ──release, resume──▶ open
 */
export class Intake {
  readonly #stream: ByteStream
  readonly #reader: FrameReader
  readonly #sink: PacketSink
  /** Bytes read and not handled yet, in order, in memory of their own. */
  #waiting: Buffer[] = []
  /** Decisions pending about packets. */
  #holds = 0
  #paused = false
  #feeding = false
  /** The stream is not read. */
  #stopped = false
  #closed = false
  readonly #memory: Memory
  /** Bytes of an unfinished packet. */
  unfinishedBytes = 0

  constructor(stream: ByteStream, packetBytesMax: number, memory: Memory, sink: PacketSink) {
    this.#memory = memory
    this.#stream = stream
    this.#reader = new FrameReader(packetBytesMax)
    this.#sink = sink
  }

  /** Largest packet accepted, fixed header included, in bytes. */
  set packetBytesMax(bytes: number) {
    this.#reader.packetBytesMax = bytes
  }

  /** True when the next packet may be handled. */
  get open(): boolean {
    return this.#holds === 0 && !this.#paused && !this.#closed
  }

  data(bytes: Buffer): void {
    if (this.open && !this.#feeding && this.#waiting.length === 0) {
      const rest = this.#feed(bytes)
      if (rest !== null) this.#waiting.unshift(Buffer.from(rest))
      if (this.#stopped) this.#continue()
    } else if (!this.#closed) {
      this.#waiting.push(Buffer.from(bytes))
    }
  }

  /** Stops handling packets until `release`: a decision about one of them is pending. Holds nest. */
  hold(): void {
    this.#holds++
    this.#stop()
  }

  release(): void {
    this.#holds--
    this.#continue()
  }

  pause(): void {
    this.#paused = true
    this.#stop()
  }

  resume(): void {
    this.#paused = false
    this.#continue()
  }

  close(): void {
    this.#closed = true
    this.#waiting = []
    this.#unfinished(0)
    this.#reader.close()
  }

  #unfinished(bytes: number): void {
    if (bytes === this.unfinishedBytes) return
    this.#memory.add(bytes - this.unfinishedBytes)
    this.unfinishedBytes = bytes
  }

  /** Returns what the sink left; null: nothing. */
  #feed(bytes: Buffer): Buffer | null {
    this.#feeding = true
    let taken = bytes.length
    try {
      taken = this.#reader.feed(bytes, 0, this.#sink)
    } catch (error) {
      this.#sink.failed(error)
    }
    this.#feeding = false
    if (!this.#closed) this.#unfinished(this.#reader.heldBytes)
    return taken < bytes.length && !this.#closed ? bytes.subarray(taken) : null
  }

  #stop(): void {
    if (this.#stopped) return
    this.#stopped = true
    this.#stream.pause()
  }

  #continue(): void {
    // Released from within a packet's handling: the loop that is under way goes on.
    if (this.#feeding) return
    while (this.open) {
      const bytes = this.#waiting.shift()
      if (bytes === undefined) {
        this.#stopped = false
        this.#stream.resume()
        return
      }
      const rest = this.#feed(bytes)
      if (rest !== null) this.#waiting.unshift(rest)
    }
  }
}
