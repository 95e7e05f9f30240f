import type { ExtendEntry, ExtendResult, NackEntry, Result } from './requests.ts'

/** A message handed to a worker that speaks MQTT. */
export interface HandedOut {
  readonly receipt: string
  /** The stored form (src/router/message.ts). */
  readonly message: Buffer
  readonly attempt: number
  readonly id: string
  readonly deadLetter: { readonly id: string } | null
}

/** A work queue as its members see it, on this node or another. Errors as those of `WorkQueue`. */
export interface MemberQueue {
  readonly name: string
  pull(max: number, leaseMs: number, waitMs: number, signal: AbortSignal): Promise<HandedOut[]>
  ack(receipts: readonly string[]): Promise<Result[]>
  nack(entries: readonly NackEntry[]): Promise<Result[]>
  extend(entries: readonly ExtendEntry[]): Promise<ExtendResult[]>
  /** Gives back what never reached a worker: the attempt does not count. */
  release(deliveries: readonly HandedOut[]): void
}
