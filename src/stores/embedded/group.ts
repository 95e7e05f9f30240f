/**
 * Everything written between two commits. One group is open at a time; a closed one is under way until the engine has made
 * it durable or has refused it. Reads of what is not yet on disk are answered from here.
 */
import type { LaneTarget } from '../../store.ts'
import { CHUNK_BYTES_MAX, CHUNK_ENTRIES_MAX, type StoredChunk } from './chunk.ts'
import type { EmbeddedLane } from './lane.ts'
import type { Segment } from './segment.ts'

export interface TableWrite {
  readonly key: Buffer
  /** Null: removed. */
  readonly value: Buffer | null
}

export class Group {
  /** Chunks with the entries appended in this group. */
  chunks: StoredChunk[] = []
  /** Segments made in this group. */
  readonly segments: Segment[] = []
  readonly #segmentOf = new Map<readonly LaneTarget[], Segment>()

  /** Chunks in which entries were settled. */
  settled: StoredChunk[] = []
  /** Of those, the ones whose settlement record is in this group's batch. */
  readonly settledWritten: StoredChunk[] = []
  /** Chunks of which nothing waits any more. */
  readonly removing: StoredChunk[] = []
  /** Older segments whose count of references changed. */
  readonly counted = new Set<Segment>()
  /** Lanes, by name, whose record is to be written or removed. */
  readonly laneNames = new Set<string>()
  /** Names of lanes dropped: what the disk says about them no longer holds. */
  readonly droppedNames: string[] = []
  /** Lanes whose chunks are to be removed bit by bit, and those of which nothing is left. */
  readonly doomed: number[] = []
  readonly undoomed: { id: number; chunks: number }[] = []
  /** Further keys to remove. */
  readonly removedKeys: Buffer[] = []
  readonly marks = new Map<EmbeddedLane, Map<number, Buffer | null>>()
  /** Writes to the tables by scope (one session, or a whole table) and key. */
  readonly tables = new Map<string, Map<string, TableWrite>>()

  /** Keys of ended sessions: as settlements do, they outlive the failure of the group. */
  readonly ended: { scope: string; key: Buffer }[] = []
  /** Change of the number of entries that wait. */
  waiting = 0
  /** Who is told when it is closed, and what comes of it. */
  watchers: { readonly closed: () => void; readonly decided: (failure: unknown) => void }[] = []
  /** Body bytes appended. */
  bytes = 0
  touched = false
  closeWanted = false
  /** Holds nothing but what failed groups left to be written. */
  repairs = false
  /** Monotonic ms; negative while it is open. */
  closedAt = -1
  /** Encoded chunks and segments; goes back to the pool once the group is durable. */
  arena: Buffer | null = null
  readonly done: Promise<void>
  resolve!: () => void
  reject!: (error: unknown) => void

  constructor() {
    this.done = new Promise<void>((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    // Whoever called commit() sees the rejection; a group nobody waits for must not end the process.
    this.done.catch(() => {})
  }

  /** The segment that takes the next body for these targets. */
  segmentFor(targets: readonly LaneTarget[], make: () => Segment): Segment {
    const current = this.#segmentOf.get(targets)
    if (current !== undefined && current.bodies!.length < CHUNK_ENTRIES_MAX && current.bytes < CHUNK_BYTES_MAX)
      return current
    const segment = make()
    segment.pins++
    this.#segmentOf.set(targets, segment)
    this.segments.push(segment)
    return segment
  }

  count(segment: Segment): void {
    if (this.counted.has(segment)) return
    this.counted.add(segment)
    segment.pins++
    this.touched = true
  }

  setMark(lane: EmbeddedLane, seq: number, bytes: Buffer | null): void {
    let ofLane = this.marks.get(lane)
    if (ofLane === undefined) {
      ofLane = new Map()
      this.marks.set(lane, ofLane)
    }
    ofLane.set(seq, bytes)
    this.touched = true
  }

  write(scope: string, key: Buffer, value: Buffer | null): void {
    let writes = this.tables.get(scope)
    if (writes === undefined) {
      writes = new Map()
      this.tables.set(scope, writes)
    }
    writes.set(key.toString('latin1'), { key, value })
    this.touched = true
  }
}
