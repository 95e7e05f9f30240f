/** Receives, counts and acknowledges; in mode rate it also measures how long each message took. */
import { type ClientOptions, type ClientWatcher, LoadClient } from './client.ts'
import type { Histogram } from './histogram.ts'
import { type QoS, subscribePacket, type Version } from './packets.ts'
import { microseconds } from './stopwatch.ts'

export interface SubscriberOptions extends ClientOptions {
  readonly topicFilter: string
  readonly qos: QoS
}

const SUBSCRIBE_PACKET_ID = 1

export class Subscriber extends LoadClient {
  /** PUBLISH packets received so far. */
  receivedCount = 0
  /** PUBLISH packets that carried DUP: redeliveries. */
  duplicateCount = 0
  /** Where latencies go while measuring; null: payloads are not looked at. */
  latency: Histogram | null = null
  readonly #topicFilter: string
  readonly #qos: QoS
  readonly #version: Version

  constructor(options: SubscriberOptions, watcher: ClientWatcher) {
    super(options, watcher)
    this.#topicFilter = options.topicFilter
    this.#qos = options.qos
    this.#version = options.version
  }

  protected connected(): void {
    this.outbox.add(subscribePacket(SUBSCRIBE_PACKET_ID, [this.#topicFilter], this.#qos, this.#version))
  }

  protected message(header: number, bytes: Buffer, from: number, to: number): void {
    const type = header >> 4
    if (type === 3) {
      this.receivedCount++
      if (header & 0x08) this.duplicateCount++
      const qos = header & 0x06
      if (qos !== 0) {
        const at = from + 2 + ((bytes[from]! << 8) | bytes[from + 1]!)
        this.outbox.acknowledge(qos === 0x02 ? 0x40 : 0x50, bytes[at]!, bytes[at + 1]!)
      }
      if (this.latency !== null) this.#measure(this.latency, qos, bytes, from)
    } else if (type === 6) {
      this.outbox.acknowledge(0x70, bytes[from]!, bytes[from + 1]!)
    } else if (type === 9) {
      const code = bytes[to - 1]!
      if (code !== this.#qos) this.fail(`SUBSCRIBE answered with code ${code} where ${this.#qos} was asked for`)
      else this.watcher.ready()
    } else {
      this.fail(`a subscriber got packet type ${type}`)
    }
  }

  protected chunkEnd(): void {
    this.outbox.flush(this.link)
  }

  /** The payload begins with the µs at which the message was meant to be sent. */
  #measure(latency: Histogram, qos: number, bytes: Buffer, from: number): void {
    let at = from + 2 + ((bytes[from]! << 8) | bytes[from + 1]!) + (qos === 0 ? 0 : 2)
    if (this.#version === 5) {
      let length = 0
      let shift = 0
      let digit = 0
      do {
        digit = bytes[at++]!
        length += (digit & 0x7f) << shift
        shift += 7
      } while (digit >= 0x80)
      at += length
    }
    latency.record(microseconds() - bytes.readDoubleLE(at))
  }
}
