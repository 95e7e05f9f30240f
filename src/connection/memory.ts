import type { Pausable } from './backpressure.ts'

/**
 * How short memory is, and what gives way, in this order:
 *
 * 0. nothing;
 * 1. QoS 0 messages for slow readers: each connection may have less unsent;
 * 2. connections of readers that are frozen: they are closed, those that hold most first;
 * 3. publishers: they are not read;
 * 4. new connections: they are refused.
 */
export type MemoryLevel = 0 | 1 | 2 | 3 | 4

/** Share of the budget at which each level begins. It ends a tenth of the budget lower. */
const BEGINS = [0, 0.5, 0.75, 0.9, 1] as const
const ENDS_LOWER = 0.1

/** What all slow readers together may hold at level 1, as a share of the budget. */
const SLOW_READERS_SHARE = 0.25

/** What one run of QoS 0 packets may take in all its receivers, as a share of the budget. */
const RUN_SHARE = 0.1

const SLOW_READER_BYTES_MIN = 4 * 1024
const SLOW_READER_BYTES_MAX = 64 * 1024

/**
 * Counts the bytes that wait in memory for clients: output buffers, queues of sessions without a lane, unfinished packets.
 * They are what grows when publishers are faster than subscribers, and what can be given up.
 */
export class Memory {
  /** Bytes that may wait. */
  readonly budgetBytes: number
  /** Bytes that wait. */
  heldBytes = 0
  level: MemoryLevel = 0
  /** Unsent bytes that a connection may have from level 1 on. */
  slowReaderBytesMax = SLOW_READER_BYTES_MAX
  /** Called when the level has changed, within `add`: it must not touch connections at once. */
  onLevel: ((level: MemoryLevel) => void) | null = null
  /** Holds back a publisher whose messages have to wait. */
  holdBack: ((publisher: Pausable) => void) | null = null
  /** How many connections share the budget. */
  connections: () => number = () => 1
  /** Why the level may not fall below 4: the process holds too much altogether. */
  #overall = false
  #raiseAt: number
  #lowerAt = Number.NEGATIVE_INFINITY

  constructor(budgetBytes: number) {
    this.budgetBytes = budgetBytes
    this.#raiseAt = budgetBytes * BEGINS[1]
  }

  add(bytes: number): void {
    this.heldBytes += bytes
    if (this.heldBytes >= this.#raiseAt || this.heldBytes < this.#lowerAt) this.#judge()
  }

  /** A message went its way. @param heldBefore bytes that waited before */
  published(publisher: Pausable, heldBefore: number): void {
    if (this.level >= 3 && this.heldBytes > heldBefore) this.holdBack?.(publisher)
  }

  /** Bytes that may be copied to so many receivers in one go, so that they take a part of the budget at most. */
  runBytesMax(receivers: number): number {
    const each = (this.budgetBytes * RUN_SHARE) / receivers
    // Just below a size of output buffers, which are given whole.
    return each >= 256 * 1024
      ? Number.POSITIVE_INFINITY
      : each >= 64 * 1024
        ? 60 * 1024
        : each >= 8 * 1024
          ? 7 * 1024
          : 1
  }

  /** The process as a whole is above its limit, or no longer: no new connections until then. */
  set overall(above: boolean) {
    if (above === this.#overall) return
    this.#overall = above
    this.onLevel?.(this.level)
  }

  /** Level 4 is reached by the bytes that wait or by the process as a whole. */
  get refuses(): boolean {
    return this.#overall || this.level === 4
  }

  #judge(): void {
    const share = this.heldBytes / this.budgetBytes
    let level: number = this.level
    while (level < 4 && share >= BEGINS[level + 1]!) level++
    while (level > 0 && share < BEGINS[level]! - ENDS_LOWER) level--
    this.#raiseAt = level === 4 ? Number.POSITIVE_INFINITY : this.budgetBytes * BEGINS[level + 1]!
    this.#lowerAt = level === 0 ? Number.NEGATIVE_INFINITY : this.budgetBytes * (BEGINS[level]! - ENDS_LOWER)
    if (level === this.level) return
    if (this.level === 0) {
      const each = (this.budgetBytes * SLOW_READERS_SHARE) / Math.max(1, this.connections())
      this.slowReaderBytesMax = Math.min(SLOW_READER_BYTES_MAX, Math.max(SLOW_READER_BYTES_MIN, Math.floor(each)))
    }
    this.level = level as MemoryLevel
    this.onLevel?.(this.level)
  }
}
