/**
 * A chunk: the entries that one group appended to one lane, stored under one key.
 *
 *     open ──group closes──▶ underWay ──durable──▶ durable ──last entry settled, group closes──▶ removing ──durable──▶ gone
 *       │                       │                                                                    │
 *       └── nothing unsettled ──┴── commit failed ──────────────▶ gone                               └─ failed: stays,
 *                                                                                                       written again
 */
import type { Chunk } from '../../store.ts'
import type { EmbeddedLane } from './lane.ts'
import type { Segment } from './segment.ts'

/** A chunk is closed, and the next one begun, at either limit. */
export const CHUNK_ENTRIES_MAX = 1024
export const CHUNK_BYTES_MAX = 256 * 1024

/** Source of a run: bodies kept in the chunk itself. */
export const INLINE = 0

const EMPTY = Buffer.alloc(0)
/** Rough cost of an entry in memory beside its body, and of a chunk beside its entries. */
const ENTRY_OVERHEAD = 120
const CHUNK_OVERHEAD = 600

export class StoredChunk implements Chunk {
  readonly lane: EmbeddedLane
  readonly firstSeq: number
  count = 0
  readonly messages: Buffer[]
  readonly tags: number[]
  extras: (Buffer | null)[] | null = null

  state: 'open' | 'underWay' | 'durable' | 'removing' | 'gone'
  /** Body bytes of all entries, settled ones included: as written in the key. */
  bytes = 0
  unsettled = 0
  settledBytes = 0
  /** No chunk of the lane lies between this sequence number and `firstSeq`. */
  gapFrom: number

  /** Segments this chunk refers to; a run's source k is segments[k - 1]. */
  readonly segments: Segment[] = []
  /** Triples (source, index of the first body in it, number of entries), in order of entries. */
  readonly runs: number[] = []
  #lastSource: Segment | null | undefined = undefined
  #lastIndex = 0

  /** Bit i set: entry i is settled. */
  settledBits: Uint32Array | null = null
  marks: Map<number, Buffer> | null = null
  /** Listed in the open group because entries were settled. */
  dirty = false
  /** Unfinished groups that write its settlement. */
  pins = 0
  /** A settlement record of it may be on disk. */
  hasSettledRecord = false

  /** In memory by our own will; a chunk let go may live on in the hands of a reader. */
  held = true
  /** A reader may hold it. */
  handedOut = false

  /** Neighbours in the cache's list; null outside of it. */
  newer: StoredChunk | null = null
  older: StoredChunk | null = null
  memory = 0

  constructor(
    lane: EmbeddedLane,
    firstSeq: number,
    gapFrom: number,
    state: 'open' | 'durable',
    messages: Buffer[],
    tags: number[],
  ) {
    this.lane = lane
    this.firstSeq = firstSeq
    this.gapFrom = gapFrom
    this.state = state
    this.messages = messages
    this.tags = tags
  }

  get endSeq(): number {
    return this.firstSeq + this.count
  }

  get full(): boolean {
    return this.count >= CHUNK_ENTRIES_MAX || this.bytes >= CHUNK_BYTES_MAX
  }

  /** Appends one entry; `source` null keeps the body in the chunk, else it is `source`'s body number `index`. */
  push(message: Buffer, tag: number, extra: Buffer | null, source: Segment | null, index: number): void {
    const i = this.count++
    this.messages.push(message)
    this.tags.push(tag)
    if (extra !== null) {
      if (this.extras === null) this.extras = new Array<Buffer | null>(i).fill(null)
      this.extras.push(extra)
    } else if (this.extras !== null) this.extras.push(null)
    this.bytes += message.length
    this.unsettled++
    const runs = this.runs
    if (source === this.#lastSource && (source === null || index === this.#lastIndex + 1)) runs[runs.length - 1]!++
    else this.#startRun(source, index)
    this.#lastIndex = index
  }

  #startRun(source: Segment | null, index: number): void {
    this.#lastSource = source
    if (source === null) {
      this.runs.push(INLINE, 0, 1)
      return
    }
    let slot = this.segments.indexOf(source) + 1
    if (slot === 0) {
      slot = this.segments.push(source)
      source.holders++
    }
    this.runs.push(slot, index, 1)
  }

  isSettled(i: number): boolean {
    return this.settledBits !== null && (this.settledBits[i >>> 5]! & (1 << (i & 31))) !== 0
  }

  markOf(i: number): Buffer | undefined {
    return this.marks === null ? undefined : this.marks.get(i)
  }

  /** Body bytes of the entry just settled, or -1 when it was settled before. */
  settle(i: number): number {
    if (this.settledBits === null)
      this.settledBits = new Uint32Array((Math.max(this.count, CHUNK_ENTRIES_MAX) + 31) >>> 5)
    const word = i >>> 5
    const bit = 1 << (i & 31)
    if ((this.settledBits[word]! & bit) !== 0) return -1
    this.settledBits[word]! |= bit
    const bytes = this.messages[i]!.length
    this.messages[i] = EMPTY
    this.unsettled--
    this.settledBytes += bytes
    return bytes
  }

  /** Takes over what the settlement record on disk says. */
  restoreSettled(bits: Uint32Array, settled: number, bytes: number): void {
    this.settledBits = bits
    this.unsettled = this.count - settled
    this.settledBytes = bytes
    this.hasSettledRecord = true
    for (let i = 0; i < this.count; i++) if (this.isSettled(i)) this.messages[i] = EMPTY
  }

  /** Whether an entry at or after `fromSeq` still waits. */
  waitsFrom(fromSeq: number): boolean {
    if (this.unsettled === 0) return false
    if (fromSeq <= this.firstSeq || this.settledBits === null) return fromSeq < this.endSeq
    for (let i = fromSeq - this.firstSeq; i < this.count; i++) if (!this.isSettled(i)) return true
    return false
  }

  /** An estimate of the memory it holds; bodies shared with other chunks count for the part that falls to it. */
  measure(): number {
    let bytes = CHUNK_OVERHEAD + this.count * ENTRY_OVERHEAD
    if (this.segments.length === 0) bytes += this.bytes
    else for (const segment of this.segments) bytes += segment.bytes / Math.max(1, segment.holders)
    return Math.ceil(bytes)
  }
}
