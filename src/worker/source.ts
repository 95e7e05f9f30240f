import type { Envelope } from '../bridge/envelope.ts'

export interface NackBody {
  receipt: string
  delayMs?: number
  reason?: string
  reject?: boolean
  release?: boolean
}

export interface EntryResult {
  receipt: string
  ok: boolean
  error?: string
}

/** What a worker is told: go on; take nothing new and finish; end. */
export type WorkerCommand = 'run' | 'quiet' | 'stop'

/** What a worker says of itself. */
export interface WorkerFacts {
  queue: string
  host?: string
  pid?: number
  running: number
  done: number
  failed: number
}

/**
 * Where a worker takes messages from and says what became of them: over HTTP, over MQTT, or a fake for tests. Every
 * method rejects with a BrokerError when the broker is away or refuses; the worker tries again.
 */
export interface WorkSource {
  /** Called when the leases of everything handed out so far are lost at once (MQTT: the connection ended). */
  onLost: (() => void) | null
  /** Pause after a pull that got less than half of what there was room for, in ms: one request of many messages. 0: none. */
  readonly lingerMs: number
  /** Pulls it takes at a time; default 1. */
  readonly pullsMax?: number
  /**
   * Up to `max` messages, leased for `leaseMs`; none when none came within `waitMs` or the signal was aborted.
   * @param poll names this pull for `cancel`
   */
  pull(max: number, waitMs: number, leaseMs: number, poll: string, signal: AbortSignal): Promise<Envelope[]>
  /**
   * As `pull`, after acknowledging what is done, in one request: both are durable with one flush. The results come with the
   * messages. Absent: the source gains nothing by it.
   */
  pullAcking?(
    receipts: readonly string[],
    max: number,
    waitMs: number,
    leaseMs: number,
    poll: string,
    signal: AbortSignal,
  ): Promise<{ results: EntryResult[]; envelopes: Envelope[] }>
  /** Has a waiting pull answered at once. False when nobody knows it. */
  cancel(poll: string): Promise<boolean>
  ack(receipts: readonly string[]): Promise<EntryResult[]>
  nack(entries: readonly NackBody[]): Promise<EntryResult[]>
  extend(receipts: readonly string[], leaseMs: number): Promise<EntryResult[]>
  /** Says that the worker is alive; resolves with what it is to do. Null: this source knows no heartbeats. */
  heartbeat: ((id: string, facts: WorkerFacts) => Promise<WorkerCommand>) | null
  /** Called when the broker tells the worker something between heartbeats. */
  onTold?: ((command: WorkerCommand) => void) | null
  /** Take nothing new, or go on: for sources to which messages come by themselves. */
  quiet?(quiet: boolean): void
  /** Nothing is asked any more. What was given back by `release` is with the broker when it resolves. */
  close(): Promise<void>
}
