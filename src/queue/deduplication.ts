import { createHash } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import type { Chunk, Lane, LaneTarget, Store } from '../store.ts'
import { keepLane } from './keep-lane.ts'
import type { Deduplication as Settings } from './settings.ts'

/** Keys up to this length are kept as they are, longer ones as their SHA-256. */
const WHOLE_BYTES_MAX = 32
/** The lane is trimmed when it holds this many more than it has to. */
const SLACK = 1000

/**
 * The keys that came within the window, in memory and in a lane of their own, so that a restart forgets none: an entry is
 * written in one group with the message it stands for.
 *
 *     entry: u48 wall clock ms | key
 */
export class DeduplicationWindow {
  readonly #store: Store
  readonly #clock: Clock
  readonly #settings: () => Settings
  readonly #commit: () => Promise<void>
  readonly #lane: Lane
  readonly #targets: readonly LaneTarget[]
  /** When each key came, oldest first. */
  readonly #keys = new Map<string, number>()
  /** Resolves when the lane is this node's. */
  readonly #kept: Promise<void>
  #trimming = false

  constructor(queue: string, store: Store, clock: Clock, settings: () => Settings, commit: () => Promise<void>) {
    this.#store = store
    this.#clock = clock
    this.#settings = settings
    this.#commit = commit
    this.#lane = store.lane(`qd/${queue}`)
    this.#kept = keepLane(store, this.#lane)
    this.#targets = [{ lane: this.#lane, tag: 0, extra: null }]
  }

  get size(): number {
    return this.#keys.size
  }

  /** Reads what a process before this one kept. */
  async open(): Promise<void> {
    await this.#kept
    let chunk: Chunk | null
    for (let from = 1; ; from = chunk.firstSeq + chunk.count) {
      chunk = await this.#store.read(this.#lane, from)
      if (chunk === null) break
      for (let i = 0; i < chunk.count; i++) {
        const entry = chunk.message(i)
        if (!chunk.isSettled(i) && entry.length > 6) this.#keys.set(entry.toString('latin1', 6), entry.readUIntBE(0, 6))
      }
    }
    this.#forget()
  }

  /** Whether a message with this key came within the window. */
  has(key: Buffer): boolean {
    const at = this.#keys.get(shorten(key).toString('latin1'))
    return at !== undefined && at + this.#settings().windowMs > this.#clock.now()
  }

  /** Remembers the key, in the group in which its message is written; when that fails it never came. */
  add(key: Buffer): void {
    const short = shorten(key)
    const entry = Buffer.allocUnsafe(6 + short.length)
    const now = this.#clock.now()
    entry.writeUIntBE(now, 0, 6)
    short.copy(entry, 6)
    this.#store.append(entry, this.#targets)
    const name = short.toString('latin1')
    this.#keys.delete(name)
    this.#keys.set(name, now)
    this.#commit().catch(() => {
      if (this.#keys.get(name) === now) this.#keys.delete(name)
    })
    this.#forget()
  }

  #forget(): void {
    const { windowMs, keysMax } = this.#settings()
    const end = this.#clock.now() - windowMs
    for (const [key, at] of this.#keys) {
      if (at > end && this.#keys.size <= keysMax) break
      this.#keys.delete(key)
    }
    if (this.#lane.waiting > this.#keys.size + SLACK && !this.#trimming) void this.#trim()
  }

  /** Drops the oldest entries of the lane. */
  async #trim(): Promise<void> {
    this.#trimming = true
    try {
      while (this.#lane.waiting > this.#keys.size) {
        const chunk = await this.#store.read(this.#lane, 1)
        if (chunk === null) break
        for (let i = 0; i < chunk.count && this.#lane.waiting > this.#keys.size; i++)
          if (!chunk.isSettled(i)) this.#store.settle(this.#lane, chunk.firstSeq + i)
      }
      await this.#commit()
    } catch {
      // The next key tries again.
    } finally {
      this.#trimming = false
    }
  }
}

function shorten(key: Buffer): Buffer {
  return key.length <= WHOLE_BYTES_MAX ? key : createHash('sha256').update(key).digest()
}
