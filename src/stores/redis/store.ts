/** The store over Redis. See docs/decisions/0006-nodes-over-redis.md for the layout and why it is so. */
import type { Clock } from '../../base/clock.ts'
import type { Random } from '../../base/random.ts'
import { connectRedis, keyPrefix, type RedisSettings } from '../../base/redis-connection.ts'
import { SluiceError } from '../../errors.ts'
import type {
  Chunk,
  Lane,
  LaneTarget,
  SessionRecord,
  Shared,
  Store,
  StoredSession,
  StoreStats,
  SubscriptionRecord,
  WillRecord,
} from '../../store.ts'
import { AedesImport } from './aedes-import.ts'
import { Changes } from './changes.ts'
import { Commits } from './commits.ts'
import { Keys } from './keys.ts'
import type { RedisLane } from './lane.ts'
import { Lanes } from './lanes.ts'
import { Link } from './link.ts'
import type { MessageCodec } from './message-codec.ts'
import { Reader } from './reader.ts'
import { Sharing } from './sharing.ts'
import { type RedisStoreEvent, State } from './state.ts'
import { Sweeper } from './sweeper.ts'
import { Tables } from './tables.ts'

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
  /** Bytes from which on a body for several lanes is written once; smaller ones are copied. Default 256. */
  readonly sharedFrom?: number | undefined
  /** Makes connections, for tests that disturb them. */
  readonly connect?: typeof connectRedis | undefined
}

const SHARED_FROM = 256
/** How often Redis is asked how much memory it uses, at most. */
const MEASURE_MS = 10_000

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
  readonly #lanes: Lanes
  readonly #sharing: Sharing
  readonly #sweeper: Sweeper
  #open = false
  #bytes = 0
  #measuredAt = 0

  constructor(options: RedisStoreOptions) {
    this.#options = options
    const { connect = connectRedis } = options
    const keys = new Keys(keyPrefix(options.redis))
    const {
      commitTimeoutMs = 5000,
      answerTimeoutMs = 2000,
      changesKept = 100_000,
      cacheBytes = 32 * 1024 * 1024,
    } = options
    const replicas = options.replicas ?? { count: 0, aof: false }
    const state = new State(keys, options.clock, options.random.id(8), cacheBytes, options.onEvent ?? (() => {}))
    const link = new Link(
      connect(options.redis, 'sluicemq-store'),
      options.clock,
      { commitTimeoutMs, answerTimeoutMs },
      () => void this.#commits.synchronise(),
      () => this.#commits.away(),
    )
    this.#state = state
    this.#link = link
    this.#reader = new Reader(state, link)
    this.#sweeper = new Sweeper(state, link)
    this.#commits = new Commits(
      state,
      link,
      { commitTimeoutMs, answerTimeoutMs, replicas, changesKept },
      options.codec,
      {
        catchUp: (lane) => this.#reader.catchUp(lane),
        doomed: () => this.#sweeper.start(),
      },
    )
    this.#tables = new Tables(state, this.#commits, link, options.codec)
    this.#lanes = new Lanes(state, this.#commits, link, this.#reader, options.sharedFrom ?? SHARED_FROM)
    const changes = new Changes(state, link, this.#tables)
    this.shared = this.#sharing = new Sharing({
      state,
      link,
      commits: this.#commits,
      reader: this.#reader,
      tables: this.#tables,
      changes,
      connect: () => connect(options.redis, 'sluicemq-wakes'),
      answerTimeoutMs,
    })
  }

  async open(): Promise<void> {
    const { commitTimeoutMs = 5000 } = this.#options
    try {
      await this.#link.open(commitTimeoutMs)
      await this.#commits.checkCopies()
      await this.#tables.loadMeta()
      await this.#lanes.load()
      await this.#commits.synchronise()
      await this.#measure()
      const { codec } = this.#options
      if (codec !== null) await new AedesImport(this.#state, this.#link, this.#commits, this, codec).run()
    } catch (error) {
      this.#link.close()
      throw error instanceof SluiceError
        ? error
        : new SluiceError('store_unavailable', `Redis: ${(error as Error).message}`, { cause: error })
    }
    this.#open = true
    this.#sweeper.start()
  }

  async close(): Promise<void> {
    if (!this.#open) return
    this.#open = false
    try {
      await this.#commits.finish()
      // Where Redis is away the key goes by itself, after a day.
      await this.#link.client.del(this.#state.keys.writer(this.#state.writer)).catch(() => {})
    } finally {
      this.#sweeper.close()
      this.#sharing.close()
      this.#link.close()
    }
  }

  commit(): Promise<void> {
    return this.#commits.commit()
  }

  watchGroup(closed: () => void, decided: (failure: unknown) => void): void {
    this.#commits.open.watchers.push({ closed, decided })
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

  dropLane(lane: Lane): void {
    this.#lanes.drop(lane)
  }
  append(message: Buffer, targets: readonly LaneTarget[]): void {
    this.#lanes.append(message, targets)
  }
  settle(lane: Lane, seq: number): void {
    this.#lanes.settle(lane, seq)
  }
  mark(lane: Lane, seq: number, bytes: Buffer | null): void {
    this.#lanes.mark(lane, seq, bytes)
  }
  marks(lane: Lane): Promise<{ seq: number; bytes: Buffer }[]> {
    return this.#lanes.marks(lane)
  }
  async read(lane: Lane, fromSeq: number): Promise<Chunk | null> {
    return (lane as RedisLane).dropped ? null : this.#reader.read(lane as RedisLane, fromSeq)
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

  /** What is in memory of the lanes: for tests and diagnosis. */
  cached(): { cachedChunks: number; cachedBytes: number } {
    return { cachedChunks: this.#state.cache.count, cachedBytes: this.#state.cache.bytes }
  }

  /** Bytes of memory that Redis uses, as far as it is known: asked now and then. */
  async #measure(): Promise<void> {
    this.#measuredAt = this.#options.clock.monotonic()
    const found = /used_memory:(\d+)/.exec(await this.#link.client.info('memory'))
    this.#bytes = Number(found?.[1] ?? 0)
  }

  stats(): StoreStats {
    if (this.#options.clock.monotonic() - this.#measuredAt > MEASURE_MS) this.#measure().catch(() => {})
    return { commits: this.#commits.commits, lastCommitMs: this.#commits.lastCommitMs, bytesOnDisk: this.#bytes }
  }
}
