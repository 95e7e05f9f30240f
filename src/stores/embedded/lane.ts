/** The handle of a lane. What the disk knows about it is read at the first question, so a handle alone costs little. */
import type { Chunk, Lane } from '../../store.ts'
import type { StoredChunk } from './chunk.ts'
import { ChunkIndex } from './chunk-index.ts'
import { EvictedChunks } from './evicted-chunks.ts'

export interface LaneLoader {
  /** Fills in `id`, `seq`, `waitingEntries`, `waitingTotal`, `settledEnd` and `marksEnd` from disk. */
  loadLane(lane: EmbeddedLane): void
}

export class EmbeddedLane implements Lane {
  readonly name: string
  onCommitted: ((chunk: Chunk) => void) | null = null
  readonly #loader: LaneLoader

  /** Number of the lane in keys; 0 until something of it is written. */
  id = 0
  loaded = false
  dropped = false
  seq = 1
  waitingEntries = 0
  waitingTotal = 0
  /** Chunks that begin here or later have no settlement record. */
  settledEnd = 0
  /** Entries from here on have no mark. */
  marksEnd = 0
  /** The chunk of the open group. */
  open: StoredChunk | null = null
  /** The chunk in which an entry was last settled. */
  recent: StoredChunk | null = null
  #resident: ChunkIndex<StoredChunk> | null = null
  #evicted: EvictedChunks<StoredChunk> | null = null

  constructor(name: string, loader: LaneLoader) {
    this.name = name
    this.#loader = loader
  }

  get nextSeq(): number {
    this.load()
    return this.seq
  }

  get waiting(): number {
    this.load()
    return this.waitingEntries
  }

  get waitingBytes(): number {
    this.load()
    return this.waitingTotal
  }

  load(): void {
    if (this.loaded) return
    this.#loader.loadLane(this)
    this.loaded = true
  }

  /** Chunks in memory: open, under way, and those the cache keeps. */
  get resident(): ChunkIndex<StoredChunk> {
    this.#resident ??= new ChunkIndex()
    return this.#resident
  }

  /** Chunks not in the cache any more that a reader may still hold. */
  get evicted(): EvictedChunks<StoredChunk> {
    this.#evicted ??= new EvictedChunks()
    return this.#evicted
  }

  takeEvicted(firstSeq: number): StoredChunk | undefined {
    return this.#evicted?.take(firstSeq)
  }

  forget(chunk: StoredChunk): void {
    if (this.recent === chunk) this.recent = null
    if (this.open === chunk) this.open = null
    this.#resident?.remove(chunk)
    if (this.#resident?.size === 0) this.#resident = null
  }
}
