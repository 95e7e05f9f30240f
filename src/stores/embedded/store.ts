/** The store over an engine: lanes of chunks, bodies stored once, groups committed as one. See ../README.md for the layout. */
import { SluiceError } from '../../errors.ts'
import type {
  Chunk,
  Lane,
  LaneTarget,
  SessionRecord,
  Store,
  StoredSession,
  StoreRoomFacts,
  StoreStats,
  SubscriptionRecord,
  WillRecord,
} from '../../store.ts'
import { StoredChunk } from './chunk.ts'
import { ChunkReader } from './chunk-reader.ts'
import { Commits } from './commits.ts'
import type { Engine } from './engine.ts'
import { Examination } from './examination.ts'
import { inspect, type StoreInspection } from './inspect.ts'
import { nameRange, table } from './keys.ts'
import { EmbeddedLane } from './lane.ts'
import { laneRecordName } from './lane-record.ts'
import { prepare } from './opening.ts'
import { entriesIn } from './slices.ts'
import { type EmbeddedOptions, State } from './state.ts'
import { Sweeper } from './sweeper.ts'
import { Tables } from './tables.ts'

export class EmbeddedStore implements Store {
  readonly kind: 'lmdb' | 'memory'
  readonly durable: boolean
  readonly shared = null
  /** The engine as it is, and with what it reads checked. */
  readonly #disk: Engine
  readonly #engine: Engine
  readonly #state: State
  readonly #reader: ChunkReader
  readonly #sweeper: Sweeper
  readonly #commits: Commits
  readonly #tables: Tables
  readonly #examination: Examination
  readonly #compact: EmbeddedOptions['compact']
  #phase: 'new' | 'open' | 'closed' = 'new'

  constructor(engine: Engine, options: EmbeddedOptions) {
    this.kind = engine.kind
    this.durable = engine.durable
    this.#state = new State(engine, options)
    this.#disk = engine
    this.#compact = options.compact
    this.#engine = this.#state.engine
    this.#reader = new ChunkReader(this.#state)
    this.#sweeper = new Sweeper(this.#state)
    this.#commits = new Commits(this.#state, this.#sweeper)
    this.#tables = new Tables(this.#state)
    this.#examination = new Examination(engine, this.#state, this.#state.lookAt)
  }

  async open(): Promise<void> {
    await this.#engine.open()
    try {
      const { empty, doomed, lookedAt } = await prepare(this.#disk, this.#state, this.#compact)
      if (empty) await this.#commits.commit()
      this.#sweeper.add(doomed)
      this.#examination.start(lookedAt)
    } catch (error) {
      await this.#engine.close()
      throw error
    }
    this.#phase = 'open'
    if (this.#sweeper.busy) this.#commits.keepSweeping()
  }

  async close(): Promise<void> {
    if (this.#phase !== 'open') return
    this.#phase = 'closed'
    this.#examination.stop()
    try {
      await this.#commits.finish()
    } finally {
      await this.#engine.close()
    }
  }

  commit(): Promise<void> {
    return this.#commits.commit()
  }

  watchGroup(closed: () => void, decided: (failure: unknown) => void): void {
    this.#state.open.watchers.push({ closed, decided })
  }

  get pendingBytes(): number {
    return this.#commits.pendingBytes
  }

  lane(name: string): Lane {
    let lane = this.#state.lanes.get(name)
    if (lane === undefined) {
      lane = new EmbeddedLane(name, this.#reader)
      this.#state.lanes.set(name, lane)
    }
    return lane
  }

  laneNames(prefix: string): string[] {
    const names: string[] = []
    for (const { value } of entriesIn(this.#engine, nameRange(table.lane, prefix))) {
      const name = laneRecordName(value)
      if (name.startsWith(prefix) && !this.#state.droppedNames.has(name)) names.push(name)
    }
    return names
  }

  dropLane(handle: Lane): void {
    const lane = handle as EmbeddedLane
    if (lane.dropped) return
    const state = this.#state
    lane.load()
    const id = lane.id
    state.countWaiting(-lane.waitingEntries)
    lane.dropped = true
    lane.onCommitted = null
    state.lanes.delete(lane.name)
    lane.open = null
    lane.recent = null
    // Those of unfinished groups are let go of when their group is done.
    for (const chunk of lane.resident.all()) if (chunk.state === 'durable') state.discard(chunk)
    if (id === 0) return
    state.open.laneNames.add(lane.name)
    state.open.droppedNames.push(lane.name)
    state.droppedNames.set(lane.name, (state.droppedNames.get(lane.name) ?? 0) + 1)
    state.open.doomed.push(id)
    state.open.touched = true
  }

  append(message: Buffer, targets: readonly LaneTarget[]): void {
    const state = this.#state
    const group = state.open
    if (targets.length === 1) {
      const target = targets[0]!
      this.#chunkFor(target.lane as EmbeddedLane).push(message, target.tag, target.extra, null, 0)
    } else if (targets.length > 1) {
      const segment = group.segmentFor(targets, state.makeSegment)
      const index = segment.bodies!.push(message) - 1
      segment.bytes += message.length
      for (let i = 0; i < targets.length; i++) {
        const target = targets[i]!
        this.#chunkFor(target.lane as EmbeddedLane).push(message, target.tag, target.extra, segment, index)
      }
    } else return
    for (let i = 0; i < targets.length; i++) {
      const lane = targets[i]!.lane as EmbeddedLane
      lane.seq++
      lane.waitingEntries++
      lane.waitingTotal += message.length
    }
    state.countWaiting(targets.length)
    group.bytes += message.length
    group.touched = true
    this.#commits.pendingBytes += message.length
  }

  #chunkFor(lane: EmbeddedLane): StoredChunk {
    const open = lane.open
    return open !== null && !open.full ? open : this.#nextChunk(lane)
  }

  #nextChunk(lane: EmbeddedLane): StoredChunk {
    if (lane.dropped) throw new SluiceError('invariant', `Lane ${lane.name} was dropped.`)
    lane.load()
    if (lane.id === 0) this.#state.giveLaneId(lane)
    const chunk = new StoredChunk(lane, lane.seq, lane.seq)
    lane.resident.add(chunk)
    lane.open = chunk
    this.#state.open.chunks.push(chunk)
    return chunk
  }

  settle(handle: Lane, seq: number): void {
    const lane = handle as EmbeddedLane
    let chunk = lane.recent
    if (chunk === null || seq < chunk.firstSeq || seq >= chunk.endSeq) {
      if (lane.dropped) return
      const found = this.#reader.holding(lane, seq)
      if (found === undefined) return
      chunk = found
      lane.recent = chunk
      this.#state.cache.touch(chunk)
    }
    const i = seq - chunk.firstSeq
    const bytes = chunk.settle(i)
    if (bytes < 0) return
    lane.waitingEntries--
    this.#state.countWaiting(-1)
    lane.waitingTotal -= bytes
    if (chunk.marks?.delete(i)) this.#state.open.setMark(lane, seq, null)
    if (!chunk.dirty) this.#state.noteSettled(chunk)
  }

  mark(handle: Lane, seq: number, bytes: Buffer | null): void {
    const lane = handle as EmbeddedLane
    if (lane.dropped) return
    const chunk = this.#reader.holding(lane, seq)
    if (chunk === undefined || chunk.isSettled(seq - chunk.firstSeq)) return
    lane.marksEnd = Math.max(lane.marksEnd, seq + 1)
    this.#state.open.setMark(lane, seq, bytes)
    if (bytes === null) chunk.marks?.delete(seq - chunk.firstSeq)
    else {
      chunk.marks ??= new Map()
      chunk.marks.set(seq - chunk.firstSeq, bytes)
    }
  }

  async read(handle: Lane, fromSeq: number): Promise<Chunk | null> {
    const lane = handle as EmbeddedLane
    if (lane.dropped) return null
    const chunk = this.#reader.waitingFrom(lane, fromSeq)
    this.#state.cache.evict(this.#state.evicted)
    return chunk
  }

  async marks(handle: Lane): Promise<{ seq: number; bytes: Buffer }[]> {
    const lane = handle as EmbeddedLane
    if (lane.dropped) return []
    return this.#reader.marks(lane)
  }

  putSession(record: SessionRecord): void {
    this.#tables.putSession(record)
  }
  deleteSession(clientId: string): void {
    this.#tables.deleteSession(clientId)
  }
  putSubscription(clientId: string, record: SubscriptionRecord): void {
    this.#tables.putSubscription(clientId, record)
  }
  deleteSubscription(clientId: string, topicFilter: string): void {
    this.#tables.deleteSubscription(clientId, topicFilter)
  }
  putInboundPacketId(clientId: string, packetId: number): void {
    this.#tables.putInboundPacketId(clientId, packetId)
  }
  deleteInboundPacketId(clientId: string, packetId: number): void {
    this.#tables.deleteInboundPacketId(clientId, packetId)
  }
  sessions(): AsyncIterable<StoredSession> {
    return this.#tables.sessions()
  }

  putRetained(topic: string, message: Buffer): void {
    this.#tables.putRetained(topic, message)
  }
  deleteRetained(topic: string): void {
    this.#tables.deleteRetained(topic)
  }
  retained(): AsyncIterable<{ topic: string; message: Buffer }> {
    return this.#tables.retained()
  }

  putWill(record: WillRecord): void {
    this.#tables.putWill(record)
  }
  deleteWill(clientId: string): void {
    this.#tables.deleteWill(clientId)
  }
  wills(): AsyncIterable<WillRecord> {
    return this.#tables.wills()
  }

  putMeta(key: string, value: unknown): void {
    this.#tables.putMeta(key, value)
  }
  deleteMeta(key: string): void {
    this.#tables.deleteMeta(key)
  }
  meta(prefix: string): Map<string, unknown> {
    return this.#tables.meta(prefix)
  }

  stats(): StoreStats {
    return {
      commits: this.#commits.commits,
      lastCommitMs: this.#commits.lastCommitMs,
      bytesOnDisk: this.#engine.bytesOnDisk(),
      waiting: this.#state.waiting,
    }
  }

  async room(): Promise<StoreRoomFacts> {
    const { bytes, freeBytes } = this.#disk.space?.() ?? { bytes: 0, freeBytes: 0 }
    return { usedBytes: bytes - freeBytes, diskFreeBytes: (await this.#disk.diskFreeBytes?.()) ?? null }
  }

  /** Records per table, and what is resident: for tests and diagnosis. Walks every key. */
  inspect(): StoreInspection {
    return inspect(this.#state)
  }
}
