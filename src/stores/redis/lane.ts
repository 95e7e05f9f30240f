/** The handle of a lane: what was last heard of it, and what this process has written since. */
import type { Chunk, Lane } from '../../store.ts'
import { ChunkIndex } from '../embedded/chunk-index.ts'
import { EvictedChunks } from '../embedded/evicted-chunks.ts'
import type { RedisChunk } from './chunk.ts'
import type { LaneWrites } from './group.ts'

export class RedisLane implements Lane {
  readonly name: string
  onCommitted: ((chunk: Chunk) => void) | null = null
  dropped = false

  /** Highest sequence number the lane has given, as last heard. */
  last = 0
  /** Entries and bytes that wait, as last heard. */
  entries = 0
  bytes = 0
  /** The place among the replies of the one that told so. */
  #toldAt = 0
  /** How often a group that writes here was answered. */
  heard = 0
  /** Of groups that have not been answered. */
  pendingEntries = 0
  pendingBytes = 0
  settledEntries = 0
  settledBytes = 0

  /** What the open group writes here. */
  open: LaneWrites | null = null
  /** What is written and not known to be durable, oldest first. */
  unanswered: LaneWrites[] = []
  /** For each read under way, the writes whose outcome Redis may not have known when it answered. */
  readonly #reads = new Set<LaneWrites[]>()
  /** Settled before the number was known to be given: by a group that followed the append at once. */
  early: Set<number> | null = null

  /** This process is the keeper. Always, unless nodes share the store. */
  kept: boolean
  /** `onCommitted` was told of everything up to here. */
  told = 0
  /** It is being asked how much waits in it. */
  measuring: Promise<void> | null = null
  /** What others appended is being read. */
  fetching = false
  #resident: ChunkIndex<RedisChunk> | null = null
  #evicted: EvictedChunks<RedisChunk> | null = null

  constructor(name: string, kept: boolean) {
    this.name = name
    this.kept = kept
  }

  get nextSeq(): number {
    return this.last + this.pendingEntries + 1
  }

  get waiting(): number {
    return Math.max(0, this.entries + this.pendingEntries - this.settledEntries)
  }

  get waitingBytes(): number {
    return Math.max(0, this.bytes + this.pendingBytes - this.settledBytes)
  }

  /** Redis says how much waits. @param place among its replies: an earlier one than the last does not count */
  count(entries: number, bytes: number, place: number): void {
    if (place < this.#toldAt) return
    this.#toldAt = place
    this.entries = entries
    this.bytes = bytes
  }

  addWrites(writes: LaneWrites): void {
    this.unanswered.push(writes)
    this.note(writes)
  }

  /** Reads under way have to take these writes into account. */
  note(writes: LaneWrites): void {
    for (const read of this.#reads) read.push(writes)
  }

  /**
   * Asks Redis for something about the lane.
   * @returns the answer, and what was written before it came and may not be in it
   */
  async during<T>(ask: () => Promise<T>): Promise<{ answer: T; writes: readonly LaneWrites[] }> {
    const writes = [...this.unanswered]
    this.#reads.add(writes)
    try {
      return { answer: await ask(), writes }
    } finally {
      this.#reads.delete(writes)
    }
  }

  /** Chunks in memory. */
  get resident(): ChunkIndex<RedisChunk> {
    this.#resident ??= new ChunkIndex()
    return this.#resident
  }

  /** The chunk that holds `seq`: in memory, or let go of while a reader may hold it. */
  holding(seq: number): RedisChunk | undefined {
    return this.#resident?.holding(seq) ?? this.#evicted?.holding(seq)
  }

  /** The first sequence number from `seq` on that a chunk holds; infinite: none. */
  nextHeld(seq: number): number {
    const resident = this.#resident?.endingAfter(seq)
    const next = resident === undefined ? Number.POSITIVE_INFINITY : Math.max(seq, resident.firstSeq)
    return Math.min(next, this.#evicted?.nextHeld(seq) ?? Number.POSITIVE_INFINITY)
  }

  forget(chunk: RedisChunk): void {
    this.#resident?.remove(chunk)
    if (this.#resident?.size === 0) this.#resident = null
  }

  /** The cache has no room for the chunk. */
  evict(chunk: RedisChunk): void {
    this.forget(chunk)
    if (!chunk.handedOut || chunk.unsettled === 0) return
    this.#evicted ??= new EvictedChunks()
    this.#evicted.add(chunk)
  }

  get chunks(): RedisChunk[] {
    return this.#resident?.all() ?? []
  }
}
