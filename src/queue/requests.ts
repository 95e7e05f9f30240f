import type { ErrorCode } from '../errors.ts'

export type Refusal = { receipt: string; ok: false; error: ErrorCode }
export type Result = { receipt: string; ok: true } | Refusal
/** `leasedUntil`: wall clock ms. */
export type ExtendResult = { receipt: string; ok: true; leasedUntil: number } | Refusal

export interface NackEntry {
  receipt: string
  /** Time until the next attempt in ms; absent: the backoff of the queue. */
  delayMs?: number
  reason?: string
  /** Straight to the dead letters, however many attempts are left. */
  reject?: boolean
  /** Given back unworked: ready at once, and the attempt does not count. */
  release?: boolean
}

export interface ExtendEntry {
  receipt: string
  /** From now, in ms. */
  leaseMs: number
}

export interface QueueInfo {
  name: string
  ready: number
  leased: number
  /** Waiting for the next attempt, or on the way to the dead letters. */
  delayed: number
  /** Bytes of the messages that are not done. */
  bytes: number
  deadLetterQueue: string
  /** Nobody gets messages until it is resumed. */
  paused: boolean
  /** When the broker took the oldest message that is not done; wall clock ms. */
  oldestAt?: number
}
