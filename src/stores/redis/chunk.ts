/** A stretch of a lane in memory: what one group appended, or a page that was read. */
import type { Chunk } from '../../store.ts'
import type { RedisLane } from './lane.ts'

/** A chunk has at most so many entries, and no further one once its bodies have so many bytes. */
export const CHUNK_ENTRIES_MAX = 1024
export const CHUNK_BYTES_MAX = 256 * 1024
/** Rough cost in bytes of an entry in memory beside its body. */
const ENTRY_OVERHEAD = 48
const EMPTY = Buffer.alloc(0)

/** Where a body lies that several lanes share, and until the group is sent, how many entries refer to it. */
export interface SharedBody {
  readonly id: string
  readonly message: Buffer
  refs: number
}

export class RedisChunk implements Chunk {
  readonly lane: RedisLane
  readonly firstSeq: number
  readonly messages: Buffer[]
  readonly packed = null
  readonly tags: number[]
  extras: (Buffer | null)[] | null
  /** Ids of shared bodies; null: every entry has its own. */
  readonly shared: (string | null)[] | null
  #settled: Uint8Array | null = null
  unsettled: number
  marks: Map<number, Buffer> | null = null
  memory = 0
  newer: RedisChunk | null = null
  older: RedisChunk | null = null
  /** A reader may hold it. */
  handedOut = false

  constructor(
    lane: RedisLane,
    firstSeq: number,
    messages: Buffer[],
    tags: number[],
    extras: (Buffer | null)[] | null,
    shared: (string | null)[] | null,
  ) {
    this.lane = lane
    this.firstSeq = firstSeq
    this.messages = messages
    this.tags = tags
    this.extras = extras
    this.shared = shared
    this.unsettled = messages.length
  }

  get count(): number {
    return this.messages.length
  }

  get endSeq(): number {
    return this.firstSeq + this.messages.length
  }

  get evictable(): boolean {
    return true
  }

  get bytes(): number {
    let bytes = 0
    for (const { length } of this.messages) bytes += length
    return bytes
  }

  message(i: number): Buffer {
    return this.messages[i]!
  }

  lengthOf(i: number): number {
    return this.messages[i]!.length
  }

  isSettled(i: number): boolean {
    return this.#settled !== null && this.#settled[i] === 1
  }

  markOf(i: number): Buffer | undefined {
    return this.marks?.get(i)
  }

  /** Returns the bytes of the body, or -1 when it was settled before. */
  settle(i: number): number {
    this.#settled ??= new Uint8Array(this.messages.length)
    if (this.#settled[i] === 1) return -1
    this.#settled[i] = 1
    this.unsettled--
    const bytes = this.messages[i]!.length
    this.messages[i] = EMPTY
    this.marks?.delete(i)
    return bytes
  }

  /** True when an entry at or after `seq` waits. */
  waitsFrom(seq: number): boolean {
    if (this.unsettled === 0) return false
    for (let i = Math.max(0, seq - this.firstSeq); i < this.messages.length; i++) if (!this.isSettled(i)) return true
    return false
  }

  measure(): number {
    return 256 + this.messages.length * ENTRY_OVERHEAD + this.bytes
  }
}
