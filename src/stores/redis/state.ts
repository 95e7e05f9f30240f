/** What the parts of the store share. */
import type { Clock } from '../../base/clock.ts'
import type { SluiceError } from '../../errors.ts'
import type { Change, SharedWatcher } from '../../store.ts'
import { ChunkCache } from '../embedded/chunk-cache.ts'
import type { RedisChunk } from './chunk.ts'
import type { Keys } from './keys.ts'
import { RedisLane } from './lane.ts'

export type RedisStoreEvent =
  /** A group was refused. */
  | { type: 'commit-failed'; error: SluiceError; bytes: number }
  | { type: 'away' }
  | { type: 'back'; awayMs: number }
  /** Redis has forgotten groups that it had answered: a failover to a replica that lagged, or a server without persistence. */
  | { type: 'rolled-back'; groups: number }
  /** Every entry of a dropped lane is gone. */
  | { type: 'lane-removed'; chunks: number }
  /** A commit that had been given up was found applied; what it appended was taken back. */
  | { type: 'taken-back'; entries: number }
  /** Data of aedes-persistence-redis was taken over. */
  | { type: 'imported'; sessions: number; messages: number; wills: number }

export class State {
  readonly keys: Keys
  readonly clock: Clock
  readonly onEvent: (event: RedisStoreEvent) => void
  readonly cache: ChunkCache<RedisChunk>
  readonly lanes = new Map<string, RedisLane>()
  /** Lanes that hold something durable, as last heard. */
  readonly laneNames = new Set<string>()
  /** Names of lanes whose drop is not durable, with how many: what Redis has under such a name is not the new lane's. */
  readonly dropping = new Map<string, number>()
  /** Names and values of `meta`, committed. */
  readonly meta = new Map<string, unknown>()
  /** Names this process, from open to close. */
  readonly writer: string
  /** Set by `join`. */
  node = ''
  incarnation = ''
  watcher: SharedWatcher | null = null
  /** Own changes that the tail has not come to, by id. */
  readonly ownChanges = new Map<number, Change>()
  /**
   * It is known what became of every group that was sent. Until it is, lanes may hold entries that are about to be taken back: nobody
   * reads them.
   */
  synced = false
  /** Id of the newest change of own groups. */
  newestChange = 0
  #bodies = 0

  constructor(keys: Keys, clock: Clock, writer: string, cacheBytes: number, onEvent: (event: RedisStoreEvent) => void) {
    this.keys = keys
    this.clock = clock
    this.writer = writer
    this.cache = new ChunkCache(cacheBytes)
    this.onEvent = onEvent
  }

  lane(name: string): RedisLane {
    let lane = this.lanes.get(name)
    if (lane === undefined) {
      lane = new RedisLane(name, this.watcher === null)
      this.lanes.set(name, lane)
    }
    return lane
  }

  dropped(name: string, change: 1 | -1): void {
    const left = (this.dropping.get(name) ?? 0) + change
    if (left === 0) this.dropping.delete(name)
    else this.dropping.set(name, left)
  }

  newBodyId(): string {
    return `${this.writer}.${(++this.#bodies).toString(36)}`
  }

  keepChunk(chunk: RedisChunk): void {
    chunk.lane.resident.add(chunk)
    this.cache.add(chunk)
  }

  letGo(chunk: RedisChunk): void {
    this.cache.remove(chunk)
    chunk.lane.forget(chunk)
  }

  letGoOfLane(lane: RedisLane): void {
    for (const chunk of lane.chunks) this.letGo(chunk)
  }

  trimCache(): void {
    this.cache.evict(this.#evicted)
  }

  readonly #evicted = (chunk: RedisChunk): void => chunk.lane.evict(chunk)
}
