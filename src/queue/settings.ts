import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import type { Lane, Store } from '../store.ts'
import type { Backoff } from './backoff.ts'
import type { LeaseIds } from './receipt.ts'

/** What happens to a message that finds its queue full. */
export type WhenFull = 'block' | 'refuse' | 'drop-oldest' | 'drop-new' | 'overflow'

/** How much a queue takes. */
export interface IntakeLimits {
  /** Messages not done, of each consumer group. */
  messagesMax: number
  /** Bytes of those messages. */
  bytesMax: number
  /** Time after which a message nobody took is given up, in ms; 0: never. */
  ageMs: number
  whenFull: WhenFull
  /** `block`: how long a publisher waits before it is refused, in ms. */
  blockMs: number
  /** `overflow`: the queue that takes what does not fit. */
  overflowQueue?: string
}

/** At most `perSecond`, of which `burst` may come at once. `perSecond` 0: no limit. */
export interface Rate {
  perSecond: number
  burst: number
}

/** How messages with an ordering key are handed out. */
export interface KeySettings extends Rate {
  /** Messages of one key with workers, or waiting for their next attempt, at one time. 1: strictly in order. */
  leasedMax: number
  /** Messages looked past because their key is busy. At the limit nothing further is looked at. */
  parkedMax: number
}

export interface Deduplication {
  /** How long a key is remembered, in ms. */
  windowMs: number
  /** Keys remembered; the oldest go. */
  keysMax: number
}

/** What is kept for replay, done or not. */
export interface Retention {
  /** In ms from the time the message came; 0: nothing is kept. */
  ms: number
  bytesMax: number
}

/** Workers that take messages from a Redis Stream. */
export interface RedisWorkers {
  enabled: boolean
  /** Messages in the stream or with those workers at a time. */
  prefetch: number
}

/** Settings of one queue, as in the config file. */
export interface QueueSettings {
  /** Lease of a pull that names none, in ms. */
  leaseMs: number
  /** Attempts before a message becomes a dead letter. */
  maxAttempts: number
  backoff: Backoff
  /** Default: the name of the queue and `.dead`. */
  deadLetterQueue?: string
  /** Consumer groups beside the queue itself: each sees every message, as the queue `<name>@<group>`. */
  groups: string[]
  limits: IntakeLimits
  /** Messages with workers at one time, of each group; 0: no limit. */
  leasedMax: number
  /** Deliveries of each group. */
  rate: Rate
  keys: KeySettings
  /** Each such time of waiting lifts a message by one priority, in ms; 0: never. */
  ageingMs: number
  deduplication: Deduplication
  retention: Retention
  redisWorkers: RedisWorkers
}

export const defaultQueueSettings: QueueSettings = {
  leaseMs: 30_000,
  maxAttempts: 10,
  backoff: { minMs: 500, maxMs: 300_000, factor: 2, jitter: 'full' },
  groups: [],
  limits: { messagesMax: 100_000_000, bytesMax: 1024 ** 4, ageMs: 0, whenFull: 'refuse', blockMs: 10_000 },
  leasedMax: 0,
  rate: { perSecond: 0, burst: 1 },
  keys: { leasedMax: 1, perSecond: 0, burst: 1, parkedMax: 10_000 },
  ageingMs: 60_000,
  deduplication: { windowMs: 600_000, keysMax: 100_000 },
  retention: { ms: 0, bytesMax: 1024 ** 3 },
  redisWorkers: { enabled: false, prefetch: 1000 },
}

export interface QueueLimits {
  /**
   * Messages handed out and not done (leased, delayed, moving to the dead letters). At the limit pulls get only what
   * comes back, nothing that was never handed out.
   */
  unsettledMax: number
  /** Bytes of failure reasons kept in memory; the same effect. */
  failureBytesMax: number
  /** Long polls at one time; more are refused. */
  pullsWaitingMax: number
}

export const defaultQueueLimits: QueueLimits = {
  unsettledMax: 100_000,
  failureBytesMax: 64 * 1024 * 1024,
  pullsWaitingMax: 1000,
}

export interface QueueEvents {
  leaseExpired?(event: { queue: string; count: number }): void
  deadLettered?(event: { queue: string; deadLetterQueue: string; count: number; reason: string }): void
  internalError?(event: { where: string; error: unknown }): void
}

/** What a queue is made of. */
export interface QueueParts {
  name: string
  store: Store
  clock: Clock
  random: Random
  leaseIds: LeaseIds
  /** Replaced when they change while the queue runs. */
  settings: QueueSettings
  deadLetterQueue: string
  limits: QueueLimits
  events: QueueEvents
  /** Distinguishes this queue from every other one, for ever; the first part of message ids. */
  epoch: string
  /** Priorities other than the usual one of which the store holds lanes. */
  priorities: Iterable<number>
  /** Nobody gets messages until `resume`. */
  paused: boolean
  /** Resolves when everything written in this turn is durable. */
  commit(): Promise<void>
  /** Messages left the queue: who waits for room may go on. */
  left(): void
  /** The lane of the dead-letter queue; asked for when the first message goes there. */
  deadLane(): Lane
}

/** Since the process started. */
export class QueueCounters {
  delivered = 0
  acked = 0
  /** Failed attempts, leases that ran out included. */
  failed = 0
  leasesExpired = 0
  deadLettered = 0
  /** Messages given up because their time was over. */
  expired = 0
  /** Messages given up because the queue was full (`drop-oldest`). */
  dropped = 0
  /** Receipts that came too late. */
  receiptsLost = 0
  /** Time from lease to acknowledgement, in ms, of all acknowledged messages together. */
  servedMs = 0
}
