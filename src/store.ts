/**
 * PORT: durable state. A commit resolves only when what it wrote would survive kill -9 and power loss.
 *
 * Writes are synchronous and collected in one open *group*; `commit()` closes the group and resolves when every
 * write in it is on disk, or rejects when none of it is. Groups commit in the order in which they were closed.
 *
 * The messages that a session or a work queue still owes are kept in **lanes**: durable first-in first-out lists
 * whose entries are settled one by one. A message body is stored once however many lanes it is appended to, and
 * goes away with the last entry that refers to it.
 *
 *     append ──▶ [open group] ──commit──▶ waiting ──settle, commit──▶ gone
 *                                            │ ▲
 *                                            └─┘ mark (a few durable bytes beside one entry)
 */
import type { PackedBodies } from './base/packed-bodies.ts'

/**
 * One committed stretch of a lane, in order. Arrays are parallel; index i, below `count`, holds the entry `firstSeq + i`;
 * arrays may be longer. What has been settled and marked since the chunk was handed out shows in it.
 */
export interface Chunk {
  readonly firstSeq: number
  readonly count: number
  /** Bytes of the bodies; those of settled entries may be counted. */
  readonly bytes: number
  /** The bodies of a chunk that was read back, where they lie in one buffer: for who needs some bytes only. */
  readonly packed: PackedBodies | null
  /** Message body i as given to `append`; that of a settled entry may be empty. Shared: never written to. */
  message(i: number): Buffer
  /** Bytes of that body, 0 where it is empty. */
  lengthOf(i: number): number
  /** The small integer given to `append` for this lane. */
  readonly tags: readonly number[]
  /** Per-entry bytes given to `append` for this lane; null where there were none. Null array: none in the chunk. */
  readonly extras: readonly (Buffer | null)[] | null
  /** True when entry i has been settled (already durable or in a group on its way). */
  isSettled(i: number): boolean
  /** The last bytes given to `mark` for entry i, or undefined. */
  markOf(i: number): Buffer | undefined
}

/** A lane handle. Obtained from `Store.lane`; the same name always gives the same handle. */
export interface Lane {
  readonly name: string
  /** Sequence number the next appended entry gets. Starts at 1, never goes back, not even across restarts. */
  readonly nextSeq: number
  /** Entries appended (committed or on their way) and not settled. */
  readonly waiting: number
  /** Bytes of message bodies of those entries (a body shared by lanes counts in each). */
  readonly waitingBytes: number
  /**
   * Called once for each chunk after its group is durable, in order, with the chunk still in memory, so that an
   * online consumer is served without reading back. Null: nobody listens.
   */
  onCommitted: ((chunk: Chunk) => void) | null
}

export interface LaneTarget {
  readonly lane: Lane
  /** An unsigned 32-bit integer kept with the entry (a session keeps QoS and flags here). */
  readonly tag: number
  readonly extra: Buffer | null
}

/** Facts about a persistent session. Subscriptions are stored beside it, one record each. */
export interface SessionRecord {
  clientId: string
  /** MQTT protocol level of the last connection: 3, 4 or 5. */
  version: number
  /** Session Expiry Interval in seconds; 0xffffffff: never. */
  expirySeconds: number
  /** Wall clock, ms since 1970, of the last disconnect; 0 while a connection serves it. */
  disconnectedAt: number
  /** Lane entries below this sequence number may have been sent before: redelivery carries DUP. */
  maybeSentBefore: number
  userName?: string
  /** Whose session it is: the user that was checked when it was opened. Absent: nobody was checked. */
  identity?: string
  /** Name of the lane that keeps its messages. */
  lane: string
  /** The node whose connection serves it, where nodes share the store. */
  node?: string
}

export interface SubscriptionRecord {
  topicFilter: string
  qos: 0 | 1 | 2
  noLocal: boolean
  retainAsPublished: boolean
  retainHandling: 0 | 1 | 2
  /** 0: none. */
  subscriptionIdentifier: number
}

export interface WillRecord {
  clientId: string
  /** Encoded as the messages of `append` are. */
  message: Buffer
  qos: 0 | 1 | 2
  retain: boolean
  delaySeconds: number
  /** Wall clock ms at which it is due; 0: the network connection still stands (or stood when the process died). */
  dueAt: number
  /** Node that held the connection. */
  node: string
}

export interface StoredSession {
  session: SessionRecord
  subscriptions: SubscriptionRecord[]
  /** Packet Identifiers of QoS 2 PUBLISH packets received and not yet released by PUBREL. */
  inboundPacketIds: number[]
}

export interface StoreStats {
  commits: number
  /** Milliseconds the last commit took from close of the group to durable. */
  lastCommitMs: number
  bytesOnDisk: number
  /** Entries that wait in all lanes; absent where counting them would cost. */
  waiting?: number
}

/** How much a store on a disk of its own takes and may still take. */
export interface StoreRoomFacts {
  /** Bytes of the file that hold something; what was freed is used again and does not count. */
  readonly usedBytes: number
  /** Bytes the file system has left for us; null: unknown. */
  readonly diskFreeBytes: number | null
}

/** Something durable changed, by this node or another that shares the store. */
export type Change = { readonly own: boolean } & (
  | { readonly is: 'session'; readonly record: SessionRecord }
  | { readonly is: 'sessionDeleted'; readonly clientId: string }
  | { readonly is: 'subscription'; readonly clientId: string; readonly record: SubscriptionRecord }
  | { readonly is: 'subscriptionDeleted'; readonly clientId: string; readonly topicFilter: string }
  /** `message` null: there is none any more. */
  | { readonly is: 'retained'; readonly topic: string; readonly message: Buffer | null }
  | { readonly is: 'will'; readonly record: WillRecord }
  | { readonly is: 'willDeleted'; readonly clientId: string }
  /** `value` undefined: there is none any more. */
  | { readonly is: 'meta'; readonly key: string; readonly value: unknown }
)

/** Who hears what happens in a store that nodes share. */
export interface SharedWatcher {
  /** Called for every change, in an order that is the same on all nodes. */
  changed(change: Change): void
  /** Changes were missed: everything has to be read again. */
  missed(): void
  /** Another node keeps this lane now; what this node settles and marks in it no longer counts. */
  lost(lane: Lane): void
  /** Others declared this node dead: its groups are refused (`node_fenced`) until it joins again. */
  fenced(): void
  /**
   * A commit that was given up is found done: it stored QoS 2 PUBLISH packets of this client. True: the client was told nothing and sends
   * them again, so they stay, and are known from now on. False: they are taken out again.
   */
  foundDone(clientId: string, packetIds: readonly number[]): boolean
  /** Others took sessions that this node did not let go of: its groups are refused until it has forgotten them. */
  passedOver(): void
}

/**
 * What a store can do that several nodes share. Any node appends to any lane; exactly one, its *keeper*, reads, marks and
 * settles it and hears `onCommitted`, for what any node appended, in order and without gaps.
 */
export interface Shared {
  /** From now on this node writes as this incarnation of itself, and hears changes made after this resolves. */
  join(nodeId: string, incarnation: number, watcher: SharedWatcher): Promise<void>
  /** Makes this node the lane's keeper; who was it before no longer is. */
  keep(lane: Lane): Promise<void>
  /** Learns how far the lane goes and how much waits in it: a handle knows only what it was told when this node last wrote to it. */
  measure(lane: Lane): Promise<void>
  /** Nobody keeps the lane once what this node settled in it is durable. */
  release(lane: Lane): Promise<void>
  /**
   * Names of all lanes with this prefix that any node has given anything durable by now, or keeps; `laneNames` knows the former from
   * then on.
   */
  lanes(prefix: string): Promise<string[]>
  /**
   * Resolves when it is known of every commit that was given up whether it is in Redis, and what was refused is out of it. Rejects
   * when that cannot be found out now.
   */
  certain(): Promise<void>
  /** The session as it is stored now, whatever this node has heard of it; null: there is none. */
  session(clientId: string): Promise<StoredSession | null>
  /** Names the newest change that this node's committed groups made, for `seen`. */
  readonly newestChange: string
  /** Resolves when the watcher has been told of the change of that name, made by any node, and of all before. */
  seen(change: string): Promise<void>
  /** Resolves when the watcher has been told of everything that any node had changed when this was called. */
  current(): Promise<void>
}

export interface Store {
  readonly kind: 'lmdb' | 'memory' | 'redis'
  /** False for the memory adapter: an acknowledgement then lives as long as the process. */
  readonly durable: boolean
  /** Null: the store is this process's alone. */
  readonly shared: Shared | null

  open(): Promise<void>
  /** Commits what is open, then closes. */
  close(): Promise<void>

  /**
   * Closes the open group. Resolves when it is durable, rejects with a `SluiceError` (kind dependency) when nothing of it is.
   * With an empty group it resolves once every earlier group has. At most a few groups are under way; the caller
   * may go on writing into the next one at once.
   *
   * There is one group for all writers, and any of them may close it. So that nobody takes a part for the whole, a failure also
   * fails the open group and every `commit()` until the end of the next turn: call it no later than at the end
   * (`setImmediate`) of the turn whose writes it is to confirm.
   *
   * What a failed group settled or dropped stays settled and dropped and is written with the next one; everything else
   * of it is undone.
   */
  commit(): Promise<void>
  /**
   * Tells the fate of the group that is open now: `closed` when nothing more goes into it, `decided` with null when it is
   * durable or with the reason when it is undone. Both are called before `commit()` of it settles, `closed` first (or not at
   * all), and must not throw. For what is changed in memory together with a write and has to be taken back with it.
   */
  watchGroup(closed: () => void, decided: (failure: unknown) => void): void
  /** Bytes of message bodies in groups that are open or under way: what back-pressure watches. */
  readonly pendingBytes: number

  /** The lane of this name, made if absent (durable with the next commit). Names are any non-empty string. */
  lane(name: string): Lane
  /** Names of all lanes that hold anything durable, with this prefix. */
  laneNames(prefix: string): string[]
  /** Removes the lane, its entries and its marks with the next commit. The handle must not be used again. */
  dropLane(lane: Lane): void
  /**
   * Appends one message to every target's lane. The body is stored once. The buffer belongs to the store from here
   * on and must not be changed. Passing the same array object for the same set of targets lets the store group
   * bodies; the array must then never be changed.
   */
  append(message: Buffer, targets: readonly LaneTarget[]): void
  /** The entry is done: it no longer waits and its mark is dropped. Unknown or settled entries are ignored. */
  settle(lane: Lane, seq: number): void
  /** Keeps a few bytes beside a waiting entry, replacing earlier ones; null drops them. */
  mark(lane: Lane, seq: number, bytes: Buffer | null): void
  /** The chunk that holds the first unsettled committed entry at or after `fromSeq`; null when there is none. */
  read(lane: Lane, fromSeq: number): Promise<Chunk | null>
  /** All marks of the lane in order of seq: what a queue needs at start (delayed, leased, failed entries). */
  marks(lane: Lane): Promise<{ seq: number; bytes: Buffer }[]>

  putSession(record: SessionRecord): void
  /** Removes the record, its subscriptions and inbound packet identifiers; the lane is dropped by the caller. */
  deleteSession(clientId: string): void
  putSubscription(clientId: string, record: SubscriptionRecord): void
  deleteSubscription(clientId: string, topicFilter: string): void
  putInboundPacketId(clientId: string, packetId: number): void
  deleteInboundPacketId(clientId: string, packetId: number): void
  sessions(): AsyncIterable<StoredSession>

  /** Replaces the retained message of the topic. */
  putRetained(topic: string, message: Buffer): void
  deleteRetained(topic: string): void
  retained(): AsyncIterable<{ topic: string; message: Buffer }>

  putWill(record: WillRecord): void
  deleteWill(clientId: string): void
  wills(): AsyncIterable<WillRecord>

  /** Small named facts (schema version, queue settings, secrets): JSON values. */
  putMeta(key: string, value: unknown): void
  deleteMeta(key: string): void
  meta(prefix: string): Map<string, unknown>

  stats(): StoreStats
  /** Absent where there is no disk to look at. */
  room?(): Promise<StoreRoomFacts>
}

/** What can be done to the files of a store while no broker uses them. Rejects with a SluiceError (`store_…`). */
export interface StoreTools {
  /** Format, bytes of the file, bytes of it that hold nothing. */
  info(dir: string): Promise<{ format: number; bytes: number; freeBytes: number }>
  /**
   * Reads every record.
   * @param repair takes those out that are damaged
   */
  check(
    dir: string,
    repair: boolean,
  ): Promise<{ counts: Readonly<Record<string, number>>; waiting: number; problems: string[] }>
  /** Writes the file anew; bytes of it before and after. */
  compact(dir: string): Promise<{ before: number; after: number }>
}
