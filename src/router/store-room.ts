import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Store, StoreRoomFacts } from '../store.ts'
import type { Events } from '../telemetry/events.ts'

/** How often the room is looked at, in ms. */
const LOOK_MS = 500

/** A level begins at its limit and ends when things are this much better, as a share of the limit. */
const HYSTERESIS = 0.05
/** Share of `storeBytesMax` from which on the store counts as low. */
const LOW_SHARE = 0.85

export interface StoreRoomLimits {
  /** Bytes in use at which no more is taken; 0: no limit. */
  readonly storeBytesMax: number
  /** Free bytes of the disk below which it is said that they are few, and below which no more is taken; 0: not looked at. */
  readonly diskFreeBytesLow: number
  readonly diskFreeBytesMin: number
}

/** 0: enough; 1: getting less, which is told; 2: publishes that would be kept are refused. */
export type RoomLevel = 0 | 1 | 2

/**
 * Watches how much room the store has left, so that publishers hear "no" while there still is room for what makes some: the
 * acknowledgements of subscribers and workers.
 *
 *     0 enough ──less than low──▶ 1 low ──less than min, or storeBytesMax reached──▶ 2 short
 *        ◀──── 5 % better than low ────┘ ◀──────────── 5 % better than min ─────────────┘
 */
export class StoreRoom {
  readonly #store: Store
  readonly #clock: Clock
  readonly #events: Events
  readonly #limits: StoreRoomLimits
  #cancel: (() => void) | null = null
  #running = false
  level: RoomLevel = 0
  /** As last looked at. */
  facts: StoreRoomFacts = { usedBytes: 0, diskFreeBytes: null }
  /** Why nothing that has to be kept is taken; null: it is. */
  shortage: SluiceError | null = null

  constructor(store: Store, limits: StoreRoomLimits, clock: Clock, events: Events) {
    this.#store = store
    this.#limits = limits
    this.#clock = clock
    this.#events = events
  }

  /** Looks, and goes on looking. Resolves after the first look. */
  async start(): Promise<void> {
    if (this.#store.room === undefined) return
    this.#running = true
    await this.look()
  }

  stop(): void {
    this.#running = false
    this.#cancel?.()
  }

  async look(): Promise<void> {
    await this.#measure()
    if (this.#running) this.#cancel = this.#clock.after(LOOK_MS, () => void this.look())
  }

  /** `shortage` as it is now: for who writes so much at a time that the next look may come too late. */
  async shortageNow(): Promise<SluiceError | null> {
    if (this.#running) await this.#measure()
    return this.shortage
  }

  async #measure(): Promise<void> {
    const facts = await this.#store.room?.().catch(() => null)
    if (!this.#running || !facts) return
    this.facts = facts
    this.#judge(facts)
  }

  #judge({ usedBytes, diskFreeBytes }: StoreRoomFacts): void {
    const { storeBytesMax, diskFreeBytesLow, diskFreeBytesMin } = this.#limits
    const reached = (bytes: number, limit: number, level: RoomLevel): boolean =>
      limit > 0 && bytes >= limit * (this.level >= level ? 1 - HYSTERESIS : 1)
    const below = (bytes: number | null, limit: number, level: RoomLevel): boolean =>
      limit > 0 && bytes !== null && bytes < limit * (this.level >= level ? 1 + HYSTERESIS : 1)
    let why: string | null = null
    let level: RoomLevel = 0
    if (reached(usedBytes, storeBytesMax, 2)) why = `limits.storeBytesMax of ${storeBytesMax} is reached`
    else if (below(diskFreeBytes, diskFreeBytesMin, 2))
      why = `${diskFreeBytes} bytes are free on the disk; limits.diskFreeBytesMin is ${diskFreeBytesMin}`
    if (why !== null) level = 2
    else if (reached(usedBytes, storeBytesMax * LOW_SHARE, 1) || below(diskFreeBytes, diskFreeBytesLow, 1)) level = 1
    this.shortage = why === null ? null : new SluiceError('store_full', why)
    if (level === this.level) return
    this.level = level
    this.#events.emit('storeRoom', { level, usedBytes, diskFreeBytes, reason: why })
  }
}
