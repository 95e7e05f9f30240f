import type { Memory } from '../connection/memory.ts'
import { put32 } from '../router/message.ts'
import type { Publication } from '../router/publication.ts'
import type { EncodedPublish } from '../wire/publish-writer.ts'
import type { Loan } from './loan.ts'

/** A PUBLISH kept until the in-flight window of a connection opens. */
export interface Waiting extends EncodedPublish {
  readonly firstByte: number
  /** ms since 1970 at which its Message Expiry Interval is over; Infinity: it has none. */
  readonly expiresAt: number
  /** Offset of the interval's four bytes in the packet, from `start`; -1: it has none there. */
  readonly expiryOffset: number
  /** Set when it comes from a shared subscription. */
  readonly loan: Loan | null
}

/** What keeping a message costs beside its bytes. */
const ITEM_BYTES = 200

/** Messages of QoS 1 and 2 that a session without durable state has to hold back: a queue in memory. */
export class Pending {
  #items: (Waiting | undefined)[] = []
  #head = 0
  bytes = 0
  readonly #memory: Memory

  constructor(memory: Memory) {
    this.#memory = memory
  }

  get length(): number {
    return this.#items.length - this.#head
  }

  /** Keeps a copy of the packet. */
  push(
    message: Publication,
    encoded: EncodedPublish,
    firstByte: number,
    version5: boolean,
    now: number,
    loan: Loan | null,
  ): void {
    const buf = Buffer.from(encoded.buf.subarray(encoded.start, encoded.end))
    const { packetIdOffset } = encoded
    const expires = message.expirySeconds >= 0
    const expiresAt = expires ? now + message.expirySeconds * 1000 : Number.POSITIVE_INFINITY
    // The message's properties and payload are the end of a packet of MQTT 5; one of MQTT 3 has no properties.
    const tail = message.propsEnd - message.propsStart + message.payloadEnd - message.payloadStart
    const expiryOffset = expires && version5 ? buf.length - tail + message.expiryOffset : -1
    this.bytes += buf.length
    this.#memory.add(buf.length + ITEM_BYTES)
    this.#items.push({ buf, start: 0, end: buf.length, packetIdOffset, firstByte, expiresAt, expiryOffset, loan })
  }

  *items(): IterableIterator<Waiting> {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i]!
  }

  /** Gives everything up. */
  clear(): void {
    this.#memory.add(-this.bytes - this.length * ITEM_BYTES)
    this.bytes = 0
    this.#items = []
    this.#head = 0
  }

  shift(): Waiting | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined
    this.#items[this.#head++] = undefined
    this.bytes -= item.end
    this.#memory.add(-item.end - ITEM_BYTES)
    if (this.#head === this.#items.length) {
      this.#items = []
      this.#head = 0
    } else if (this.#head > 1024 && this.#head * 2 > this.#items.length) {
      this.#items = this.#items.slice(this.#head)
      this.#head = 0
    }
    return item
  }
}

/** Writes what is left of the Message Expiry Interval [v5 MQTT-3.3.2-6]. False: nothing is [v5 MQTT-3.3.2-5]. */
export function countDown(waiting: Waiting, now: number): boolean {
  if (waiting.expiresAt <= now) return false
  if (waiting.expiryOffset >= 0)
    put32(waiting.buf, waiting.start + waiting.expiryOffset, Math.ceil((waiting.expiresAt - now) / 1000))
  return true
}
