/** The bytes inside a WebSocket's frames as a stream. */
import { SluiceError } from '../errors.ts'
import type { ByteStream } from '../transport.ts'
import { SourceStream } from './source-stream.ts'
import { closeCode, closeFrame, FrameParser, pongFrame, writeBinaryHeader } from './websocket-frames.ts'

const HEADER_BYTES_MAX = 10
/** Up to this size header and payload are copied into one buffer: one write costs less than two in one go. */
const COPIED_BYTES_MAX = 2048

/**
 * The server's side of a WebSocket after its handshake. Frames mean nothing: packets may share or span them
 * [v5 MQTT-6.0.0-2].
 *
 * Whoever wants to end says so in a close frame; the other answers with one, then the server closes (RFC 6455, 7.1.1).
 */
export class WebSocketStream extends SourceStream implements ByteStream {
  readonly #frames = new FrameParser()

  write(bytes: Buffer, written?: () => void): boolean {
    if (!this.open) {
      written?.()
      return false
    }
    const { source } = this
    if (bytes.length <= COPIED_BYTES_MAX) {
      const frame = Buffer.allocUnsafe(HEADER_BYTES_MAX + bytes.length)
      const at = writeBinaryHeader(frame, bytes.length)
      source.write(frame.subarray(0, at + bytes.copy(frame, at)))
      written?.()
    } else {
      const header = Buffer.allocUnsafe(HEADER_BYTES_MAX)
      source.cork()
      source.write(header.subarray(0, writeBinaryHeader(header, bytes.length)))
      source.write(bytes, written)
      source.uncork()
    }
    return !source.writableNeedDrain
  }

  override end(): void {
    this.#close(closeCode.normal)
  }

  /** The peer is gone without a close frame. */
  override sourceEnded(): void {
    this.beginEnd()
    this.source.end()
  }

  protected read(bytes: Buffer): void {
    const frames = this.#frames
    const payload = frames.push(bytes)
    if (payload.length > 0 && this.open) this.handler?.data(payload)
    if (frames.pings !== null) this.#pong(frames.pings)
    if (frames.end !== null) this.#ended(frames.end.code, frames.end.error)
  }

  #pong(pings: Buffer[]): void {
    this.#frames.pings = null
    // Only the latest has to be answered (RFC 6455, 5.5.3): one who does not read cannot make us keep pongs.
    if (this.open && !this.source.writableNeedDrain) this.source.write(pongFrame(pings.at(-1)!))
  }

  #ended(code: number, error: string | null): void {
    if (error !== null) this.because(new SluiceError('protocol_error', error))
    this.#close(code)
    this.source.end()
  }

  #close(code: number): void {
    if (this.beginEnd()) this.source.write(closeFrame(code))
  }
}
