/**
 * What the embedded store needs from a storage engine: an ordered map of bytes to bytes that applies a batch of
 * writes atomically. Everything the store means by lanes, chunks and sessions is built above this line, so every
 * engine behaves alike.
 */

import type { SluiceError } from '../../errors.ts'
import { sealed } from './checksum.ts'
import { isBare } from './keys.ts'

/** Writes of one group, in order. A later write to the same key wins. */
export class WriteBatch {
  readonly keys: Buffer[] = []
  /** Parallel to `keys`; null removes. */
  readonly values: (Buffer | null)[] = []
  readonly #seals: boolean

  /** @param seals values that are put get seals */
  constructor(seals = false) {
    this.#seals = seals
  }

  put(key: Buffer, value: Buffer): void {
    this.putAsIs(key, this.#seals && !isBare(key) ? sealed(key, value) : value)
  }

  /** The value has its seal, or needs none. */
  putAsIs(key: Buffer, value: Buffer): void {
    this.keys.push(key)
    this.values.push(value)
  }

  /** Removing a key that is absent is no error. */
  remove(key: Buffer): void {
    this.keys.push(key)
    this.values.push(null)
  }

  get size(): number {
    return this.keys.length
  }
}

export interface Entry {
  readonly key: Buffer
  readonly value: Buffer
}

/** What a look at a part of the store showed. */
export interface LookedAt {
  /** What is wrong with it; null: nothing. */
  readonly fault: string | null
  /** Where the next part begins; null: there is none. */
  readonly next: Buffer | null
  /** What lies in it; nothing where something is wrong. */
  readonly records: readonly Entry[]
}

export interface Engine {
  readonly kind: 'lmdb' | 'memory'
  readonly durable: boolean
  /** Commits that may be under way at once. */
  readonly underWayMax: number
  /**
   * Bytes of bodies from which a group is given while another is under way. An engine that takes them one after the other
   * gains nothing from a small one that is closed early, and whoever writes next waits for two groups before its own
   * can begin: two and a half times as long as a flush takes, in the mean, instead of one and a half. A large one is
   * worth encoding while the disk is busy.
   */
  readonly overlapBytes: number
  /** Why no commit will succeed any more before a restart. */
  readonly broken?: SluiceError | null | undefined

  /** Rejects with a `SluiceError`: store_locked, store_corrupt, store_full, store_unavailable. */
  open(): Promise<void>
  close(): Promise<void>

  /**
   * Applies the whole batch or nothing of it, after every batch given before. Calls `done` later, in the order in which batches
   * were given: with null when the batch is durable, with the reason when nothing of it is. Once a commit has failed,
   * those given before its `done` was called fail too. (A callback, because between the settling of a promise and its
   * handlers a further commit could slip in.) The buffers of the batch must not change before `done`, and are not kept after.
   */
  commit(batch: WriteBatch, done: (failure: SluiceError | null) => void): void

  /* Reads see committed batches only. Buffers returned are the caller's. Ranges are [start, end). */

  get(key: Buffer): Buffer | undefined
  keys(start: Buffer, end: Buffer, limit: number): Buffer[]
  entries(start: Buffer, end: Buffer, limit: number): Entry[]
  /** The greatest key k with low <= k <= high. */
  lastKey(low: Buffer, high: Buffer): Buffer | undefined
  /** Whether the record under this key is known not to be what was written. */
  isDamaged?(key: Buffer): boolean
  bytesOnDisk(): number
  /** Lets go of memory that reads have taken. Nothing may be under way and nothing may read meanwhile. */
  relax?(): Promise<void>
  /**
   * Whether the part of the store in which the key lies is as it should be, without trusting it; it may be in use meanwhile. Null:
   * it changes too fast, ask again. Parts are some KiB.
   */
  lookAt?(from: Buffer): LookedAt | null
  /** All parts were looked at when it was opened. */
  readonly wholeAtOpen?: boolean
  /** What was damaged when it was opened, in words, and has been mended. */
  readonly mended?: readonly string[]
  /** What there is of it on disk, and how much of that holds nothing. */
  space?(): { bytes: number; freeBytes: number }
  /** Bytes the file system has left for us. */
  diskFreeBytes?(): Promise<number>
  /**
   * Replaces everything by these entries, which come in the order of their keys: at once or not at all, whatever happens meanwhile.
   * Nothing may be under way.
   * @param keptAs name of the file in which what there was is kept; null: it is not
   */
  rewrite?(entries: Iterable<Entry>, keptAs: string | null): Promise<void>
}
