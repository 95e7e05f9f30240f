import type { WorkerMessage } from './message.ts'
import type { PayloadSchema } from './schema.ts'
import type { WorkSource } from './source.ts'

/** Calls `next` to go on; what it throws counts as the handler's. */
export type Middleware<T> = (message: WorkerMessage<T>, next: () => Promise<void>) => unknown

export interface WorkerOptions<T = unknown> {
  /**
   * Address of the broker: its HTTP port (`http://127.0.0.1:8080`) or its MQTT port (`mqtt://user:password@127.0.0.1:1883`,
   * `mqtts://…`). The worker is the same over both.
   */
  url?: string
  /** Where messages come from instead of a broker: a `FakeQueue` in tests. */
  source?: WorkSource
  queue: string
  /** Returning means done. Throwing means failed: the error's message becomes the reason, its `delayMs` the delay. */
  handler: (message: WorkerMessage<T>) => unknown
  /**
   * What payloads must be: a Standard Schema (Zod and others), anything with `parse`, or a function. The result is
   * `message.value`; a payload that does not fit goes to the dead letters.
   */
  schema?: PayloadSchema<T>
  /** Run around the handler, the first one outermost: logging, tracing, transactions. */
  use?: readonly Middleware<T>[]
  /** Tells the broker every `everyMs` (10,000) that the worker lives, and does what it answers: run, quiet or stop. */
  heartbeat?: boolean | { id?: string; everyMs?: number }
  /** Signals of the process at which the worker stops in good order, e.g. `['SIGTERM', 'SIGINT']`. */
  drainOn?: readonly NodeJS.Signals[]
  /** Handlers running at a time. Default 1. */
  concurrency?: number
  /**
   * Messages held at a time, 1 to 1000; at least `concurrency`, which is the default. More than that are fetched ahead
   * of the handlers, which saves round trips when handlers are fast: with more than one handler at a time over HTTP by up to
   * four requests at a time, each for a quarter of this or 100.
   */
  batch?: number
  /** Length of a lease in ms, 100 to 43,200,000. Default 30,000. Extended by half-time while the handler runs. */
  leaseMs?: number
  /** Length of a long poll in ms, at most 60,000. Default 20,000. */
  waitMs?: number
  /** Aborting it stops the worker, as `stop` does. */
  signal?: AbortSignal
  /**
   * What went wrong: BrokerError while the broker is away (once until it is back), LeaseLostError, and what handlers
   * throw, with their message. Default: written to the console.
   */
  onError?: (error: Error, message?: WorkerMessage<T>) => void
  /** Sent with every request. */
  headers?: Record<string, string>
  /** Instead of Node's own HTTP client. */
  fetch?: typeof fetch
}

export interface WorkerStats {
  /** Messages received. */
  pulled: number
  done: number
  failed: number
  /** Leases that ran out. */
  lost: number
  /** Handlers running now. */
  running: number
}
