import { storedTime } from '../router/message.ts'
import type { QueueCounters, QueueParts } from './settings.ts'
import type { Stripes } from './stripes.ts'
import { trimLane } from './trim.ts'

/** Takes messages out of a queue that nobody holds: too many, too old, or no longer wanted. One sweep at a time. */
export class Sweep {
  readonly #parts: QueueParts
  readonly #stripes: Stripes
  readonly #counters: QueueCounters
  #running = false

  constructor(parts: QueueParts, stripes: Stripes, counters: QueueCounters) {
    this.#parts = parts
    this.#stripes = stripes
    this.#counters = counters
  }

  /** Until the limits are kept. */
  async makeRoom(): Promise<void> {
    const { limits } = this.#parts.settings
    const over = (): boolean =>
      this.#stripes.waiting > limits.messagesMax || this.#stripes.waitingBytes > limits.bytesMax
    this.#counters.dropped += await this.#sweep(over)
  }

  /** As long as the head of a lane is past its time. */
  async expire(): Promise<void> {
    const { clock, settings } = this.#parts
    const { ageMs } = settings.limits
    if (ageMs === 0) return
    this.#counters.expired += await this.#sweep((message) => storedTime(message) + ageMs <= clock.now())
  }

  /** Everything. Resolves with the number; what waits for another attempt is durable with the next commit. */
  async purge(): Promise<number> {
    let count = await this.#sweep(() => true)
    for (const { book } of this.#stripes.all) {
      for (const entry of book.entries.values()) {
        if (entry.state !== 'ready' && entry.state !== 'delayed') continue
        book.discard(entry)
        count++
      }
    }
    return count
  }

  /** Those of the lowest priority first. */
  async #sweep(over: (message: Buffer) => boolean): Promise<number> {
    if (this.#running) return 0
    this.#running = true
    let count = 0
    try {
      for (const { lane, book } of this.#stripes.all.toReversed())
        count += await trimLane(this.#parts, lane, over, (seq) => book.entries.has(seq))
    } finally {
      this.#running = false
    }
    if (count > 0) this.#parts.left()
    return count
  }
}
