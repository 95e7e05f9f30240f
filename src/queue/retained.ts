import type { Clock } from '../base/clock.ts'
import { storedTime } from '../router/message.ts'
import type { Lane, Store } from '../store.ts'
import { keepLane } from './keep-lane.ts'
import type { Retention } from './settings.ts'
import { trimLane } from './trim.ts'

/** What a queue keeps for replay: every message that came, done or not, for a time and up to a size. Its bodies are shared. */
export class Retained {
  readonly lane: Lane
  /** Resolves when the lane is this node's: only then it is known what it holds. */
  readonly kept: Promise<void>
  readonly #store: Store
  readonly #clock: Clock
  readonly #settings: () => Retention
  readonly #commit: () => Promise<void>
  #trimming: Promise<void> | null = null

  constructor(queue: string, store: Store, clock: Clock, settings: () => Retention, commit: () => Promise<void>) {
    this.#store = store
    this.#clock = clock
    this.#settings = settings
    this.#commit = commit
    this.lane = store.lane(`qk/${queue}`)
    this.kept = keepLane(store, this.lane)
  }

  /** More is kept than there is to be. */
  get over(): boolean {
    return this.lane.waitingBytes > this.#settings().bytesMax
  }

  /** Lets go of what is past its time, and of the oldest of what is too much. Safe to call at any time. */
  trim(): Promise<void> {
    this.#trimming ??= this.#trim().finally(() => {
      this.#trimming = null
    })
    return this.#trimming
  }

  async #trim(): Promise<void> {
    const { lane } = this
    if (lane.waiting === 0) return
    const over = (message: Buffer): boolean => {
      const { ms, bytesMax } = this.#settings()
      return lane.waitingBytes > bytesMax || storedTime(message) + ms <= this.#clock.now()
    }
    await trimLane({ store: this.#store, commit: this.#commit }, lane, over, () => false)
  }
}
