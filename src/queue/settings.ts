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
  whenFull: WhenFull
  /** `block`: how long a publisher waits before it is refused, in ms. */
  blockMs: number
  /** `overflow`: the queue that takes what does not fit. */
  overflowQueue?: string
}

export const defaultIntakeLimits: IntakeLimits = {
  messagesMax: 100_000_000,
  bytesMax: 1024 ** 4,
  whenFull: 'refuse',
  blockMs: 10_000,
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
  limits: IntakeLimits
}

export const defaultQueueSettings: QueueSettings = {
  leaseMs: 30_000,
  maxAttempts: 10,
  backoff: { minMs: 500, maxMs: 300_000, factor: 2, jitter: 'full' },
  limits: defaultIntakeLimits,
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
  maxAttempts: number
  backoff: Backoff
  deadLetterQueue: string
  limits: QueueLimits
  events: QueueEvents
  /** Distinguishes this lane from every other one, for ever; the first part of message ids. */
  epoch: string
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
  /** Messages dropped because their Message Expiry Interval ran out. */
  expired = 0
  /** Receipts that came too late. */
  receiptsLost = 0
}
