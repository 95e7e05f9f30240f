/** The store over Redis. See docs/decisions/0006-nodes-over-redis.md for the layout and why it is so. */
import type { Clock } from '../../base/clock.ts'
import type { Random } from '../../base/random.ts'
import { keyPrefix, type RedisSettings } from '../../base/redis-connection.ts'
import { SluiceError } from '../../errors.ts'
import type {
  Chunk,
  Lane,
  LaneTarget,
  SessionRecord,
  Shared,
  SharedWatcher,
  Store,
  StoredSession,
  StoreStats,
  SubscriptionRecord,
  WillRecord,
} from '../../store.ts'
import { Changes } from './changes.ts'
import type { SharedBody } from './chunk.ts'
import { Commits } from './commits.ts'
import { UNKNOWN } from './group.ts'
import { Keys } from './keys.ts'
import type { RedisLane } from './lane.ts'
import { Link } from './link.ts'
import type { MessageCodec } from './message-codec.ts'
import { Reader } from './reader.ts'
import { type RedisStoreEvent, State } from './state.ts'
import { Sweeper } from './sweeper.ts'
import { Tables } from './tables.ts'
import { Wakes } from './wakes.ts'

export interface RedisStoreOptions {
  readonly redis: RedisSettings
  readonly clock: Clock
  readonly random: Random
  /** Null: messages are bytes; queues are then not readable for others. */
  readonly codec: MessageCodec | null
  /** Receives what an operator may want to know; must not throw. */
  readonly onEvent?: ((event: RedisStoreEvent) => void) | undefined
  /** Memory for committed chunks. Default 32 MiB. */
  readonly cacheBytes?: number | undefined
  /** How long a commit may take before it is refused. Default 5000. */
  readonly commitTimeoutMs?: number | undefined
  /** How long a connection may be silent before it is given up. Default 2000. */
  readonly answerTimeoutMs?: number | undefined
  /** Replicas that must have a group before it counts as durable; `aof`: on their disk (Redis 7.2). Default none. */
  readonly replicas?: { readonly count: number; readonly aof: boolean } | undefined
  /** Changes kept for nodes that fall behind. Default 100,000. */
  readonly changesKept?: number | undefined
}

/** A body for several lanes is written once from this size on; smaller ones are copied. */
const SHARED_MIN = 256
/** Names of lanes asked about in one step. */
const SLICE = 1000

export class RedisStore implements Store {
  readonly kind = 'redis'
  readonly durable = true
  readonly shared: Shared
  readonly #options: RedisStoreOptions
  readonly #state: State
  readonly #link: Link
  readonly #commits: Commits
  readonly #reader: Reader
  readonly #tables: Tables
  readonly #changes: Changes
  readonly #sweeper: Sweeper
  #wakes: Wakes | null = null
  #open = false

  constructor(options: RedisStoreOptions) {
    this.#options = options
    const keys = new Keys(keyPrefix(options.redis))
    const { commitTimeoutMs = 5000, answerTimeoutMs = 2000, changesKept = 100_000, cacheBytes = 32 * 1024 * 1024 } = options
    const replicas = options.replicas ?? { count: 0, aof: false }
    const state = new State(keys, options.clock, options.random.id(8), cacheBytes, options.onEvent ?? (() => {}))
    const link = new Link(
      options.redis,
      () => void this.#commits.synchronise(),
      () => this.#commits.away(),
    )
    this.#state = state
    this.#link = link
    this.#reader = new Reader(state, link)
    this.#sweeper = new Sweeper(state, link)
    this.#commits = new Commits(state, link, { commitTimeoutMs, answerTimeoutMs, replicas, changesKept }, options.codec, {
      catchUp: (lane) => this.#reader.catchUp(lane),
      doomed: () => this.#sweeper.start(),
    })
    this.#tables = new Tables(state, this.#commits, link, options.codec)
    this.#changes = new Changes(state, link, this.#tables)
    this.shared = {
      join: (nodeId, incarnation, watcher) => this.#join(nodeId, incarnation, watcher),
      keep: (lane) => this.#keep(lane as RedisLane),
      release: (lane) => this.#release(lane as RedisLane),
      session: (clientId) => this.#tables.session(clientId),
      seen: (change) => this.#changes.seen(change),
      get newestChange() {
        return String(state.newestChange)
      },
    }
  }

  async open(): Promise<void> {
    const { commitTimeoutMs = 5000 } = this.#options
    try {
      await this.#link.open(commitTimeoutMs)
      await this.#tables.loadMeta()
      await this.#loadLanes()
      await this.#commits.synchronise()
    } catch (error) {
      this.#link.close()
      throw error instanceof SluiceError
        ? error
        : new SluiceError('store_unavailable', `Redis: ${(error as Error).message}`, { cause: error })
    }
    this.#open = true
    this.#sweeper.start()
  }

  /** What waits in each lane is known from the start, as with the embedded store. */
  async #loadLanes(): Promise<void> {
    let cursor = '0'
    do {
      const [next, flat] = await this.#link.client.hscan(this.#state.keys.lanes, cursor, 'COUNT', SLICE)
      cursor = next
      const names = flat.filter((_, i) => i % 2 === 0)
      const figures = await this.#reader.figures(names)
      for (const [i, name] of names.entries()) {
        const lane = this.#state.lane(name)
        lane.last = figures[i]!.last
        lane.told = lane.last
        lane.entries = figures[i]!.entries
        lane.bytes = Number(flat[2 * i + 1])
        this.#state.laneNames.add(name)
      }
    } while (cursor !== '0')
  }

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    try {
      await this.#commits.finish()
      await this.#link.client.del(this.#state.keys.writer(this.#state.writer))
    } finally {
      this.#sweeper.close()
      this.#wakes?.close()
      this.#link.close()
    }
  }

  commit(): Promise<void> {
    return this.#commits.commit()
  }

  get pendingBytes(): number {
    return this.#commits.pendingBytes
  }

  lane(name: string): Lane {
    return this.#state.lane(name)
  }

  laneNames(prefix: string): string[] {
    return [...this.#state.laneNames].filter((name) => name.startsWith(prefix))
  }

  dropLane(handle: Lane): void {
    const lane = handle as RedisLane
    if (lane.dropped) return
    const group = this.#commits.open
    const writes = group.writesOf(lane)
    lane.dropped = true
    lane.onCommitted = null
    lane.open = null
    this.#state.lanes.delete(lane.name)
    this.#state.laneNames.delete(lane.name)
    this.#state.letGoOfLane(lane)
    group.bytes -= writes.bytes
    this.#commits.pendingBytes -= writes.bytes
    writes.drop()
    group.touched = true
  }

  append(message: Buffer, targets: readonly LaneTarget[]): void {
    if (targets.length === 0) return
    const group = this.#commits.open
    const all = group.writesOfAll(targets)
    const shared = targets.length > 1 && message.length >= SHARED_MIN ? this.#share(message) : null
    for (let i = 0; i < all.length; i++) {
      const writes = all[i]!
      const lane = writes.lane
      if (lane.dropped) throw new SluiceError('invariant', `Lane ${lane.name} was dropped.`)
      const { tag, extra } = targets[i]!
      const queue = lane.name.startsWith('q/')
      if (shared !== null && !queue) shared.refs++
      writes.push(message, tag, extra, queue ? null : shared)
      lane.pendingEntries++
      lane.pendingBytes += message.length
    }
    group.bytes += message.length
    group.grows = true
    this.#commits.pendingBytes += message.length
  }

  #share(message: Buffer): SharedBody {
    const body = { id: this.#state.newBodyId(), message, refs: 0 }
    this.#commits.open.bodies.push(body)
    return body
  }

  settle(handle: Lane, seq: number): void {
    const lane = handle as RedisLane
    if (lane.dropped || seq < 1 || seq >= lane.nextSeq) return
    const group = this.#commits.open
    const chunk = lane.holding(seq)
    if (chunk === undefined) {
      // Given by a group under way, or not in memory: the script finds out whether it waits.
      const early = seq > lane.last
      if (early) {
        if (lane.early?.has(seq) === true) return
        lane.early ??= new Set()
        lane.early.add(seq)
        lane.settledEntries++
      }
      group.writesOf(lane).settle(seq, UNKNOWN, '', early)
      return
    }
    const i = seq - chunk.firstSeq
    const bytes = chunk.settle(i)
    if (bytes < 0) return
    group.writesOf(lane).settle(seq, bytes, chunk.shared?.[i] ?? '', true)
    lane.settledEntries++
    lane.settledBytes += bytes
    if (chunk.unsettled === 0) this.#state.letGo(chunk)
  }

  mark(handle: Lane, seq: number, bytes: Buffer | null): void {
    const lane = handle as RedisLane
    if (lane.dropped || seq < 1 || seq >= lane.nextSeq || lane.early?.has(seq) === true) return
    const chunk = lane.holding(seq)
    const i = chunk === undefined ? 0 : seq - chunk.firstSeq
    if (chunk?.isSettled(i) === true) return
    const group = this.#commits.open
    const writes = group.writesOf(lane)
    writes.marks ??= new Map()
    const first = writes.marks.get(seq)
    writes.marks.set(seq, { bytes, before: first === undefined ? chunk?.markOf(i) : first.before, chunk })
    if (bytes !== null) group.grows = true
    if (chunk === undefined) return
    if (bytes === null) chunk.marks?.delete(i)
    else {
      chunk.marks ??= new Map()
      chunk.marks.set(i, bytes)
    }
  }

  async read(lane: Lane, fromSeq: number): Promise<Chunk | null> {
    return (lane as RedisLane).dropped ? null : this.#reader.read(lane as RedisLane, fromSeq)
  }

  async marks(handle: Lane): Promise<{ seq: number; bytes: Buffer }[]> {
    const lane = handle as RedisLane
    if (lane.dropped) return []
    const stored = await this.#link.client.hgetallBuffer(this.#state.keys.marks(lane.name))
    const found = new Map<number, Buffer | null>()
    for (const [seq, bytes] of Object.entries(stored)) found.set(Number(seq), bytes)
    for (const { marks, settled } of lane.unanswered) {
      for (const [seq, { bytes }] of marks ?? []) found.set(seq, bytes)
      for (const seq of settled) found.delete(seq)
    }
    const marks: { seq: number; bytes: Buffer }[] = []
    for (const [seq, bytes] of found) if (bytes !== null) marks.push({ seq, bytes })
    return marks.sort((a, b) => a.seq - b.seq)
  }

  async #join(nodeId: string, incarnation: number, watcher: SharedWatcher): Promise<void> {
    const state = this.#state
    const first = state.watcher === null
    state.node = nodeId
    state.incarnation = String(incarnation)
    state.watcher = watcher
    this.#commits.joined()
    if (first) for (const lane of state.lanes.values()) lane.kept = false
    if (this.#wakes === null) {
      this.#wakes = new Wakes(this.#options.redis, state, {
        appended: (name) => this.#appended(name),
        taken: (name) => this.#taken(name),
        changed: () => this.#changes.read(),
        missed: () => this.#missed(),
      })
      await this.#wakes.open()
    }
    await this.#changes.begin(watcher)
    await this.#tables.loadMeta()
  }

  #appended(name: string): void {
    const lane = this.#state.lanes.get(name)
    if (lane?.kept === true) this.#reader.catchUp(lane)
  }

  #taken(name: string): void {
    const lane = this.#state.lanes.get(name)
    if (lane !== undefined) this.#commits.lost(lane)
  }

  #missed(): void {
    this.#changes.read()
    this.#reader.compare().catch(() => {})
  }

  async #keep(lane: RedisLane): Promise<void> {
    const { keys, writer } = this.#state
    const reply = (await this.#link.run('keep', keys.keepers, keys.prefix, lane.name, writer)) as [Buffer, number, Buffer]
    const [last, entries, bytes] = reply
    if (lane.dropped) return
    lane.kept = true
    lane.last = Math.max(lane.last, Number(String(last)))
    lane.told = Math.max(lane.told, Number(String(last)))
    lane.entries = Number(entries)
    lane.bytes = Number(String(bytes))
  }

  async #release(lane: RedisLane): Promise<void> {
    await this.#commits.commit()
    const { keys, writer } = this.#state
    lane.kept = false
    this.#state.letGoOfLane(lane)
    await this.#link.run('release', keys.keepers, lane.name, writer)
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
    return { commits: this.#commits.commits, lastCommitMs: this.#commits.lastCommitMs, bytesOnDisk: 0 }
  }
}
