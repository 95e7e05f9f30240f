import type { QoS } from './account.ts'

/** A message that waits for its turn. */
export interface Outgoing {
  readonly stream: number
  readonly sequence: number
  readonly topic: string
  readonly payload: string
  readonly qos: QoS
}

/** Slots freed at the front before the array is cut. */
const cutAt = 1024

/** What a device has made and not sent, first in first out. When full the oldest is given up, and counted. */
export class Backlog {
  readonly #max: number
  #messages: Outgoing[] = []
  #head = 0
  /** Messages given up. */
  discarded = 0

  constructor(max: number) {
    this.#max = max
  }

  get size(): number {
    return this.#messages.length - this.#head
  }

  get first(): Outgoing | undefined {
    return this.#messages[this.#head]
  }

  push(message: Outgoing): void {
    if (this.size >= this.#max) {
      this.removeFirst()
      this.discarded += 1
    }
    this.#messages.push(message)
  }

  removeFirst(): void {
    if (this.size === 0) return
    this.#head += 1
    if (this.#head < this.#messages.length && this.#head < cutAt) return
    this.#messages = this.#messages.slice(this.#head)
    this.#head = 0
  }
}
