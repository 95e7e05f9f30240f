import type { EncodedPublish } from '../wire/publish.ts'
import type { Loan } from './loan.ts'

/** A PUBLISH kept until the in-flight window of a connection opens. */
export interface Waiting extends EncodedPublish {
  readonly firstByte: number
  /** Set when it comes from a shared subscription. */
  readonly loan: Loan | null
}

/** Messages of QoS 1 and 2 that a session without durable state has to hold back: a queue in memory. */
export class Pending {
  #items: (Waiting | undefined)[] = []
  #head = 0
  bytes = 0

  get length(): number {
    return this.#items.length - this.#head
  }

  /** Keeps a copy of the packet. */
  push(encoded: EncodedPublish, firstByte: number, loan: Loan | null): void {
    const buf = Buffer.from(encoded.buf.subarray(encoded.start, encoded.end))
    this.bytes += buf.length
    this.#items.push({ buf, start: 0, end: buf.length, packetIdOffset: encoded.packetIdOffset, firstByte, loan })
  }

  *items(): IterableIterator<Waiting> {
    for (let i = this.#head; i < this.#items.length; i++) yield this.#items[i]!
  }

  shift(): Waiting | undefined {
    const item = this.#items[this.#head]
    if (item === undefined) return undefined
    this.#items[this.#head++] = undefined
    this.bytes -= item.end
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
