/** What the parts of the embedded store share: the engine, the groups, and what is kept in memory. */
import type { Clock } from '../../base/clock.ts'
import type { SluiceError } from '../../errors.ts'
import { CheckedEngine } from './checked-engine.ts'
import type { StoredChunk } from './chunk.ts'
import { ChunkCache } from './chunk-cache.ts'
import type { Engine } from './engine.ts'
import { Group } from './group.ts'
import { describeKey } from './key-names.ts'
import type { EmbeddedLane } from './lane.ts'
import { Segment, Segments } from './segment.ts'

export type StoreEvent =
  /** A group was refused; nothing of it is on disk. */
  | { type: 'commit-failed'; error: SluiceError; bytes: number }
  /** The engine cannot go on in this process: every commit fails until a restart. Told once. */
  | { type: 'broken'; error: SluiceError }
  /** A record on disk is not what was written; it is left there and not used. */
  | { type: 'damaged'; record: string }
  /** The store had an older format; as it was it is kept in the file of that name. */
  | { type: 'migrated'; from: number; to: number; keptAs: string }
  /** The file was written anew without its free space, or could not be and stays as it is. */
  | { type: 'compacted'; beforeBytes: number; afterBytes: number }
  | { type: 'not-compacted'; error: Error }
  /** Every chunk of a dropped lane is gone. */
  | { type: 'lane-removed'; chunks: number }

export interface EmbeddedOptions {
  clock: Clock
  /** Receives what an operator may want to know; must not throw. */
  onEvent?: ((event: StoreEvent) => void) | undefined
  /** The file is written anew at start when it is at least so large and this share of it holds nothing. Default: never. */
  compact?: { readonly bytesMin: number; readonly freeShare: number } | undefined
  /** Memory for committed chunks, so that fresh ones are not read back. Default 32 MiB. */
  cacheBytes?: number | undefined
}

const CACHE_BYTES = 32 * 1024 * 1024

export class State {
  readonly engine: Engine
  readonly clock: Clock
  readonly onEvent: (event: StoreEvent) => void
  readonly segments: Segments
  readonly cache: ChunkCache<StoredChunk>
  readonly lanes = new Map<string, EmbeddedLane>()
  /** Names of lanes dropped in unfinished groups, with how many of those there are. */
  readonly droppedNames = new Map<string, number>()

  open = new Group()
  /** Closed and not yet settled, oldest first. */
  readonly underWay: Group[] = []
  /** What failed groups leave to be written, while others are still under way. */
  repair: Group | null = null

  nextLaneId = 1
  nextSegmentId = 1
  /** The counters differ from what the disk has. */
  idsChanged = false
  /** Dropped lanes are being removed. */
  sweeping = false
  /** Entries that wait in all lanes, and how many there are once the groups given to the engine are durable. */
  waiting = 0
  waitingGiven = 0

  /** Records carry seals: they go to a disk. */
  readonly seals: boolean

  constructor(engine: Engine, options: EmbeddedOptions) {
    this.seals = engine.durable
    const damaged = (key: Buffer): void => this.onEvent({ type: 'damaged', record: describeKey(key) })
    this.engine = engine.durable ? new CheckedEngine(engine, damaged) : engine
    this.clock = options.clock
    this.onEvent = options.onEvent ?? (() => {})
    this.segments = new Segments(this.engine)
    this.cache = new ChunkCache(options.cacheBytes ?? CACHE_BYTES)
  }

  /** Tells when a record that was read past the engine is not what was written. */
  readonly lookAt = (key: Buffer, value: Buffer): void => {
    if (this.engine instanceof CheckedEngine) this.engine.isWhole(key, value)
  }

  readonly makeSegment = (): Segment => {
    this.idsChanged = true
    const segment = new Segment(this.nextSegmentId++, 0, [])
    this.segments.add(segment)
    return segment
  }

  /** More, or fewer, entries wait. */
  countWaiting(change: number): void {
    this.waiting += change
    this.open.waiting += change
    this.open.touched = true
  }

  giveLaneId(lane: EmbeddedLane): void {
    this.idsChanged = true
    lane.id = this.nextLaneId++
    this.open.laneNames.add(lane.name)
  }

  /** The pending mark of an entry: bytes, null where it is being removed, undefined where no group has one. */
  pendingMark(lane: EmbeddedLane, seq: number): Buffer | null | undefined {
    let found: Buffer | null | undefined
    for (const group of this.groups()) {
      const value = group.marks.get(lane)?.get(seq)
      if (value !== undefined) found = value
    }
    return found
  }

  /** Nothing is written or waits to be written, and nothing is being removed. */
  get idle(): boolean {
    return this.underWay.length === 0 && this.repair === null && !this.open.touched && !this.sweeping
  }

  /** Unfinished groups, oldest first. */
  groups(): Group[] {
    return this.repair === null ? [...this.underWay, this.open] : [...this.underWay, this.repair, this.open]
  }

  /** Puts a chunk on the list of those with newly settled entries. */
  noteSettled(chunk: StoredChunk): void {
    chunk.dirty = true
    this.open.settled.push(chunk)
    this.open.touched = true
  }

  /** Lets go of a chunk. */
  discard(chunk: StoredChunk): void {
    if (!chunk.held) return
    chunk.held = false
    this.cache.remove(chunk)
    chunk.lane.forget(chunk)
    for (const segment of chunk.segments) {
      segment.holders--
      this.segments.letGo(segment)
    }
  }

  /** Takes back a chunk that was evicted while a reader held it. */
  revive(chunk: StoredChunk): void {
    chunk.held = true
    for (let i = 0; i < chunk.segments.length; i++) {
      // The segment may have been let go of meanwhile and its count have changed: there is one object for each.
      const segment = this.segments.counted(chunk.segments[i]!.id) ?? chunk.segments[i]!
      segment.holders++
      chunk.segments[i] = segment
    }
    chunk.lane.resident.add(chunk)
    this.cache.add(chunk)
  }

  /** What the cache does with a chunk it has no room for. */
  readonly evicted = (chunk: StoredChunk): void => {
    this.discard(chunk)
    if (chunk.handedOut) chunk.lane.evicted.add(chunk)
  }
}
