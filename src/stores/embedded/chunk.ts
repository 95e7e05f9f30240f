/**
 * A chunk: the entries that one group appended to one lane, stored under one key.
 *
 *     open ──group closes──▶ underWay ──durable──▶ durable ──last entry settled, group closes──▶ removing ──durable──▶ gone
 *       │                       │                                                                    │
 *       └── nothing unsettled ──┴── commit failed ──────────────▶ gone                               └─ failed: stays,
 *                                                                                                       written again
 */
import { PackedBodies } from '../../base/packed-bodies.ts'
import type { Chunk } from '../../store.ts'
import type { EmbeddedLane } from './lane.ts'
import type { Segment } from './segment.ts'

/** A chunk is closed, and the next one begun, at either limit. */
export const CHUNK_ENTRIES_MAX = 1024
export const CHUNK_BYTES_MAX = 256 * 1024

/** Source of a run: bodies kept in the chunk itself. */
export const INLINE = 0

const EMPTY = Buffer.alloc(0)
/** Rough cost of an entry in memory beside its body, where bodies are packed, and of a chunk beside its entries. */
const ENTRY_OVERHEAD = 120
const PACKED_OVERHEAD = 4
const CHUNK_OVERHEAD = 600

/** Arrays of one tag repeated, shared by chunks: most chunks have one tag for all entries. */
const uniformTags = new Map<number, readonly number[]>()
const UNIFORM_TAGS_MAX = 256

function repeated(tag: number): readonly number[] {
  let tags = uniformTags.get(tag)
  if (tags === undefined) {
    tags = new Array<number>(CHUNK_ENTRIES_MAX).fill(tag)
    if (uniformTags.size < UNIFORM_TAGS_MAX) uniformTags.set(tag, tags)
  }
  return tags
}

export class StoredChunk implements Chunk {
  readonly lane: EmbeddedLane
  readonly firstSeq: number
  count = 0
  /**
   * The bodies, unless they are `packed`. While all entries are one run from the start of a segment this is the segment's own
   * array: `#sharesBodies`.
   */
  messages: Buffer[]
  packed: PackedBodies | null = null
  extras: (Buffer | null)[] | null = null
  #sharesBodies = false
  #ownTags: number[] | null = null
  /** The tag of every entry while there is no array. */
  #tag = 0

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

  /** Every entry before it is settled. */
  #settledBefore = 0
  /** Of the others: bit i & 31 of word i >>> 5 is set when entry i is settled. Null: none of them. */
  #settledBits: number[] | null = null
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

  constructor(lane: EmbeddedLane, firstSeq: number, gapFrom: number) {
    this.lane = lane
    this.firstSeq = firstSeq
    this.gapFrom = gapFrom
    this.state = 'open'
    this.messages = []
  }

  /** A chunk as read from disk, nothing of it settled yet. */
  static stored(
    lane: EmbeddedLane,
    firstSeq: number,
    gapFrom: number,
    bytes: number,
    count: number,
    bodies: Buffer[] | PackedBodies,
    tags: number[] | number,
    extras: (Buffer | null)[] | null,
  ): StoredChunk {
    const chunk = new StoredChunk(lane, firstSeq, gapFrom)
    chunk.state = 'durable'
    chunk.count = count
    chunk.unsettled = count
    chunk.bytes = bytes
    if (bodies instanceof PackedBodies) chunk.packed = bodies
    else chunk.messages = bodies
    chunk.extras = extras
    if (typeof tags === 'number') chunk.#tag = tags
    else chunk.#ownTags = tags
    return chunk
  }

  get endSeq(): number {
    return this.firstSeq + this.count
  }

  get full(): boolean {
    return this.count >= CHUNK_ENTRIES_MAX || this.bytes >= CHUNK_BYTES_MAX
  }

  message(i: number): Buffer {
    return this.packed === null ? this.messages[i]! : this.packed.at(i)
  }

  lengthOf(i: number): number {
    return this.packed === null ? this.messages[i]!.length : this.packed.lengthOf(i)
  }

  get tags(): readonly number[] {
    return this.#ownTags ?? repeated(this.#tag)
  }

  /** The tag that all entries have, or null. */
  get uniformTag(): number | null {
    return this.#ownTags === null ? this.#tag : null
  }

  /** Appends one entry; `source` null keeps the body in the chunk, else it is `source`'s body number `index`. */
  push(message: Buffer, tag: number, extra: Buffer | null, source: Segment | null, index: number): void {
    const i = this.count++
    this.bytes += message.length
    this.unsettled++
    if (this.#ownTags !== null) this.#ownTags.push(tag)
    else if (i === 0) this.#tag = tag
    else if (tag !== this.#tag) {
      this.#ownTags = new Array<number>(i).fill(this.#tag)
      this.#ownTags.push(tag)
    }
    if (extra !== null || this.extras !== null) this.#pushExtra(i, extra)
    const continues = source === this.#lastSource && (source === null || index === this.#lastIndex + 1)
    this.#lastIndex = index
    if (continues) {
      const runs = this.runs
      runs[runs.length - 1]!++
      if (!this.#sharesBodies) this.messages.push(message)
      return
    }
    this.#startRun(message, source, index)
  }

  #startRun(message: Buffer, source: Segment | null, index: number): void {
    this.#lastSource = source
    if (this.#sharesBodies) {
      this.messages = this.messages.slice(0, this.count - 1)
      this.#sharesBodies = false
    }
    if (source !== null && index === 0 && this.count === 1) {
      this.messages = source.bodies!
      this.#sharesBodies = true
    } else this.messages.push(message)
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

  #pushExtra(i: number, extra: Buffer | null): void {
    if (this.extras === null) this.extras = new Array<Buffer | null>(i).fill(null)
    this.extras.push(extra)
  }

  isSettled(i: number): boolean {
    if (i < this.#settledBefore) return true
    return this.#settledBits !== null && (this.#settledBits[i >>> 5]! & (1 << (i & 31))) !== 0
  }

  markOf(i: number): Buffer | undefined {
    return this.marks === null ? undefined : this.marks.get(i)
  }

  /** Body bytes of the entry just settled, or -1 when it was settled before. */
  settle(i: number): number {
    if (i === this.#settledBefore && this.#settledBits === null) this.#settledBefore++
    else {
      if (this.isSettled(i)) return -1
      this.#settledBits ??= new Array<number>(CHUNK_ENTRIES_MAX >>> 5).fill(0)
      this.#settledBits[i >>> 5]! |= 1 << (i & 31)
    }
    const bytes = this.lengthOf(i)
    this.#empty(i)
    this.unsettled--
    this.settledBytes += bytes
    return bytes
  }

  /** Takes over what the settlement record on disk says. */
  restoreSettled(bits: number[], settled: number, bytes: number): void {
    this.#settledBits = bits
    this.unsettled = this.count - settled
    this.settledBytes = bytes
    this.hasSettledRecord = true
    for (let i = 0; i < this.count; i++) if (this.isSettled(i)) this.#empty(i)
  }

  #empty(i: number): void {
    if (this.packed === null && !this.#sharesBodies) this.messages[i] = EMPTY
  }

  /** Which entries are settled, 32 to the word. */
  settledWord(word: number): number {
    const bits = this.#settledBits === null ? 0 : this.#settledBits[word]!
    const before = this.#settledBefore - word * 32
    return before <= 0 ? bits : before >= 32 ? -1 : bits | ((1 << before) - 1)
  }

  /** Whether an entry at or after `fromSeq` still waits. */
  waitsFrom(fromSeq: number): boolean {
    if (this.unsettled === 0) return false
    if (fromSeq <= this.firstSeq) return true
    for (let i = fromSeq - this.firstSeq; i < this.count; i++) if (!this.isSettled(i)) return true
    return false
  }

  get evictable(): boolean {
    return this.state === 'durable' && !this.dirty && this.pins === 0
  }

  /** An estimate of the memory it holds; bodies shared with other chunks count for the part that falls to it. */
  measure(): number {
    const overhead = this.packed === null ? ENTRY_OVERHEAD : PACKED_OVERHEAD
    if (this.segments.length === 0) return CHUNK_OVERHEAD + this.count * overhead + this.bytes
    let bytes = CHUNK_OVERHEAD + (this.#sharesBodies ? 0 : this.count * ENTRY_OVERHEAD)
    for (const segment of this.segments) {
      bytes += (segment.bytes + (segment.bodies?.length ?? 0) * ENTRY_OVERHEAD) / Math.max(1, segment.holders)
    }
    return Math.ceil(bytes)
  }
}
