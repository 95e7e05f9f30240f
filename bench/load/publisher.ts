/**
 * Sends PUBLISH frames from a prepared block, as fast as the broker acknowledges them or by a clock.
 *
 *     QoS 0   block ──▶ link                      as long as the link takes it
 *     QoS 1   block ──▶ link ──▶ PUBACK           at most `window` in flight
 *     QoS 2   block ──▶ link ──▶ PUBREC ──▶ PUBREL ──▶ PUBCOMP
 */
import { type ClientOptions, type ClientWatcher, LoadClient } from './client.ts'
import type { Histogram } from './histogram.ts'
import { PacketIds } from './packet-ids.ts'
import { type PublishBlock, publishBlock, type QoS } from './packets.ts'
import { microseconds } from './stopwatch.ts'

export interface PublisherOptions extends ClientOptions {
  /** Topics of equal length, used in turn. */
  readonly topics: readonly string[]
  readonly qos: QoS
  readonly payloadBytes: number
  readonly userProperties: number
  readonly window: number
}

const BLOCK_BYTES = 64 * 1024

export class Publisher extends LoadClient {
  /** PUBLISH packets handed to the link. */
  sentCount = 0
  /** Flows the broker completed with success (PUBACK or PUBCOMP). */
  acknowledgedCount = 0
  /** Flows the broker ended with an MQTT 5 reason code of 0x80 or above. */
  refusedCount = 0
  /** Called when the publisher could send more although nothing will tell it so; null while it should not send. */
  wantsTurn: ((publisher: Publisher) => void) | null = null
  /** Where times from due to acknowledged go while measuring; null: nobody asks. Open loop, QoS 1 and 2. */
  latency: Histogram | null = null
  readonly #qos: QoS
  readonly #window: number
  readonly #block: PublishBlock
  readonly #ids: PacketIds | null
  /** The frame of the block that is sent next. */
  #nextFrame = 0
  #flooding = false
  /** Open loop: µs at which message n is due is `#firstDue + n * #gap`. */
  #firstDue = 0
  #gap = 0
  #dueIndex = 0
  /** Open loop: when the message of each Packet Identifier was due. */
  #dueById = new Float64Array(0)

  constructor(options: PublisherOptions, watcher: ClientWatcher) {
    super(options, watcher)
    this.#qos = options.qos
    this.#window = options.window
    this.#block = publishBlock({ ...options, blockBytes: BLOCK_BYTES })
    this.#ids = options.qos > 0 ? new PacketIds() : null
  }

  /** Starts to send without pause. */
  flood(): void {
    this.#flooding = true
    this.#sendMore()
  }

  /** Sends message n at `firstDue + n * gap` µs from now on, whenever `sendDue` is called. */
  schedule(firstDue: number, gap: number): void {
    this.#firstDue = firstDue
    this.#gap = gap
    if (this.#ids !== null) this.#dueById = new Float64Array(65_536)
  }

  stop(): void {
    this.#flooding = false
    this.#gap = 0
  }

  /** One turn of a publisher that asked for it through `wantsTurn`. */
  turn(): void {
    this.#sendMore()
  }

  /**
   * Sends what is due at `now`. Each message carries the time at which it was *meant* to leave, so that a broker (or
   * a full window) that makes us late is charged for the wait: no coordinated omission. `lag` counts how late we were.
   */
  sendDue(now: number, lag: Histogram | null): void {
    if (this.#gap === 0 || this.link.busy) return
    const due = Math.floor((now - this.#firstDue) / this.#gap) + 1 - this.#dueIndex
    const count = Math.min(due, this.#allowed())
    if (count <= 0) return
    const { bytes, frameBytes, payloadOffset } = this.#block
    let at = this.#nextFrame * frameBytes + payloadOffset
    for (let i = 0; i < count; i++, at += frameBytes) {
      const meant = this.#firstDue + this.#dueIndex++ * this.#gap
      bytes.writeDoubleLE(meant, at)
      lag?.record(now - meant)
    }
    this.#send(count)
  }

  protected connected(): void {
    this.watcher.ready()
  }

  protected message(header: number, bytes: Buffer, from: number, to: number): void {
    const type = header >> 4
    const packetId = (bytes[from]! << 8) | bytes[from + 1]!
    const refused = to - from > 2 && bytes[from + 2]! >= 0x80
    if (type === 5 && !refused && this.#qos === 2) {
      this.outbox.acknowledge(0x62, bytes[from]!, bytes[from + 1]!)
    } else if ((type === 4 && this.#qos === 1) || (type === 7 && this.#qos === 2) || (type === 5 && refused)) {
      if (!this.#ids!.release(packetId)) this.fail(`packet type ${type} for identifier ${packetId}, not in flight`)
      else if (refused) this.refusedCount++
      else {
        this.acknowledgedCount++
        this.latency?.record(microseconds() - this.#dueById[packetId]!)
      }
    } else {
      this.fail(`a QoS ${this.#qos} publisher got packet type ${type}`)
    }
  }

  protected chunkEnd(): void {
    this.outbox.flush(this.link)
    if (this.#flooding) this.#sendMore()
  }

  #sendMore(): void {
    if (!this.#flooding || this.link.busy) return
    let count = this.#allowed()
    while (count > 0 && this.#send(count)) {
      if (this.#qos === 0) {
        // Nothing comes back that would wake us: the event loop gives us the next turn.
        this.wantsTurn?.(this)
        return
      }
      // The block may have ended before the window did.
      count = this.#allowed()
    }
  }

  /** Frames that may be sent now: what is left of the block, and of the window. */
  #allowed(): number {
    const left = this.#block.count - this.#nextFrame
    const ids = this.#ids
    return ids === null ? left : Math.min(left, Math.min(this.#window, this.receiveMaximum) - ids.inFlight)
  }

  /** Sends the next `count` frames of the block; true when more may be sent at once. */
  #send(count: number): boolean {
    const { bytes, frameBytes, packetIdOffset } = this.#block
    const from = this.#nextFrame * frameBytes
    const ids = this.#ids
    if (ids !== null) {
      const timed = this.#gap > 0
      let due = this.#firstDue + (this.#dueIndex - count) * this.#gap
      for (let i = 0, at = from + packetIdOffset; i < count; i++, at += frameBytes) {
        const packetId = ids.take()
        if (timed) {
          this.#dueById[packetId] = due
          due += this.#gap
        }
        bytes[at] = packetId >> 8
        bytes[at + 1] = packetId & 0xff
      }
    }
    this.sentCount += count
    this.#nextFrame = this.#nextFrame + count === this.#block.count ? 0 : this.#nextFrame + count
    return this.link.send(bytes, from, from + count * frameBytes)
  }
}
