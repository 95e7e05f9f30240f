import { systemClock } from '../base/clock.ts'
import { systemRandom } from '../base/random.ts'
import type { EntryResult } from './api.ts'
import { QueueApi } from './api.ts'
import { BrokerError, LeaseLostError, RejectError } from './errors.ts'
import { WorkerMessage } from './message.ts'
import { Outbox } from './outbox.ts'
import { Retry, sleep } from './retry.ts'

export interface WorkerOptions<T = unknown> {
  /** Address of the broker's HTTP port, e.g. `http://127.0.0.1:8080`. */
  url: string
  queue: string
  /** Returning means done. Throwing means failed: the error's message becomes the reason, its `delayMs` the delay. */
  handler: (message: WorkerMessage<T>) => unknown
  /** Handlers running at a time. Default 1. */
  concurrency?: number
  /**
   * Messages held at a time, 1 to 1000; at least `concurrency`, which is the default. More than that are fetched ahead
   * of the handlers, which saves round trips when handlers are fast.
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

/** Messages whose results the broker has not taken: the worker pulls no more beyond. */
const OUTBOX_MAX = 2000

/**
 * Takes messages from one queue and runs the handler for each; made by `createWorker`.
 *
 *     working ──stop──▶ stopping (handlers finish, the rest is given back) ──▶ stopped
 */
export class Worker<T = unknown> {
  readonly stats: WorkerStats = { pulled: 0, done: 0, failed: 0, lost: 0, running: 0 }
  /** Resolves when the worker has stopped. */
  readonly stopped: Promise<void>

  readonly #options: WorkerOptions<T>
  readonly #api: QueueApi
  readonly #outbox: Outbox
  readonly #concurrency: number
  readonly #capacity: number
  readonly #leaseMs: number
  /** Received and not started. */
  #buffer: WorkerMessage<T>[] = []
  /** Received and not finished, with the monotonic time at which the lease was last known to start. */
  readonly #held = new Map<WorkerMessage<T>, number>()
  readonly #stop = new AbortController()
  readonly #giveUp = new AbortController()
  /** Hangs up on the pull under way. */
  readonly #hangUp = new AbortController()
  /** Names the pull under way; null: there is none. */
  #poll: string | null = null
  #wake: (() => void) | null = null
  #reportedAway = false

  constructor(options: WorkerOptions<T>) {
    const { url, queue, headers = {}, concurrency = 1, batch = concurrency, leaseMs = 30_000 } = options
    this.#options = options
    this.#concurrency = whole('concurrency', concurrency, 1, 1000)
    this.#capacity = Math.max(concurrency, whole('batch', batch, 1, 1000))
    this.#leaseMs = whole('leaseMs', leaseMs, 100, 43_200_000)
    this.#api = new QueueApi(url, queue, headers, options.fetch ?? fetch)
    this.#outbox = new Outbox(this.#api, (error) => this.#report(error), this.#giveUp.signal)
    this.#stop.signal.addEventListener('abort', () => {
      this.#wake?.()
      void this.#endPull()
    })
    options.signal?.addEventListener('abort', () => void this.stop(), { once: true })
    if (options.signal?.aborted) this.#stop.abort()
    this.stopped = this.#work()
  }

  /**
   * Takes no more messages, gives back what was not started, waits for running handlers and until the broker has taken
   * all results. After `timeoutMs` handlers are told by their message's `signal`, and what is left is left to its lease.
   */
  async stop(timeoutMs = 30_000): Promise<void> {
    this.#stop.abort()
    const timer = setTimeout(() => {
      this.#giveUp.abort()
      this.#hangUp.abort()
      for (const message of this.#held.keys()) message.lose()
      this.#wake?.()
    }, timeoutMs)
    await this.stopped
    clearTimeout(timer)
  }

  async #work(): Promise<void> {
    const extending = new AbortController()
    const extended = this.#extendForever(extending.signal)
    await this.#pullUntilStopped()
    for (const message of this.#buffer.splice(0)) {
      this.#held.delete(message)
      this.#outbox.nack({ receipt: message.receipt, release: true })
    }
    while (this.stats.running > 0 && !this.#giveUp.signal.aborted) await this.#changed()
    extending.abort()
    await Promise.all([extended, this.#outbox.flushed()])
  }

  async #pullUntilStopped(): Promise<void> {
    const { signal } = this.#stop
    const retry = new Retry()
    const ahead = this.#capacity - this.#concurrency
    while (!signal.aborted) {
      const room = this.#capacity - this.#held.size
      if (room < Math.max(1, ahead >> 1) || this.#outbox.size >= OUTBOX_MAX) {
        await this.#changed()
        // Handlers that need no time end in the same turn: one pull for all of them.
        await new Promise((resolve) => setImmediate(resolve))
        continue
      }
      try {
        // Read before the request: the lease may have started at any time since.
        const since = systemClock.monotonic()
        this.#poll = systemRandom.id(8)
        const waitMs = this.#options.waitMs ?? 20_000
        const envelopes = await this.#api.pull(room, waitMs, this.#leaseMs, this.#poll, this.#hangUp.signal)
        retry.succeeded()
        this.#reportedAway = false
        this.stats.pulled += envelopes.length
        const received = systemClock.monotonic()
        for (const envelope of envelopes) {
          const message = new WorkerMessage<T>(envelope)
          this.#held.set(message, Math.max(since, received - Math.min(ANSWER_LAG_MS, this.#leaseMs / 4)))
          this.#buffer.push(message)
        }
        if (!signal.aborted) this.#startHandlers()
      } catch (error) {
        if (signal.aborted) return
        this.#report(error as Error)
        await retry.pause(signal)
      } finally {
        this.#poll = null
      }
    }
  }

  /** Has the broker answer the pull under way: hanging up could lose messages that are on their way to a lease's end. */
  async #endPull(): Promise<void> {
    while (this.#poll !== null && !this.#hangUp.signal.aborted) {
      try {
        await this.#api.cancel(this.#poll)
        // The answer is on its way, or the pull itself has not arrived yet.
        await sleep(CANCEL_PAUSE_MS, this.#hangUp.signal)
      } catch {
        this.#hangUp.abort()
      }
    }
  }

  #startHandlers(): void {
    while (this.stats.running < this.#concurrency) {
      const message = this.#buffer.shift()
      if (message === undefined) return
      if (message.lost) {
        this.#held.delete(message)
        continue
      }
      this.stats.running++
      void this.#handle(message)
    }
  }

  async #handle(message: WorkerMessage<T>): Promise<void> {
    try {
      await this.#options.handler(message)
      this.stats.done++
      if (!message.lost) this.#outbox.ack(message.receipt)
    } catch (error) {
      this.stats.failed++
      if (!message.lost) this.#outbox.nack(nackOf(message.receipt, error))
      this.#report(asError(error), message)
    }
    this.#held.delete(message)
    this.stats.running--
    if (!this.#stop.signal.aborted) this.#startHandlers()
    this.#wake?.()
  }

  /** Extends what is held at half of its lease, in one request; tries again soon when the broker does not answer. */
  async #extendForever(signal: AbortSignal): Promise<void> {
    while (!signal.aborted) {
      await sleep(this.#leaseMs / 8, signal)
      const now = systemClock.monotonic()
      const due = [...this.#held].filter(([, since]) => now - since >= this.#leaseMs / 2).map(([message]) => message)
      for (let i = 0; i < due.length && !signal.aborted; i += 1000) await this.#extend(due.slice(i, i + 1000))
    }
  }

  async #extend(due: readonly WorkerMessage<T>[]): Promise<void> {
    const since = systemClock.monotonic()
    let results: EntryResult[]
    try {
      results = await this.#api.extend(
        due.map((message) => message.receipt),
        this.#leaseMs,
      )
    } catch (error) {
      return this.#report(error as Error)
    }
    for (const [i, { ok }] of results.entries()) {
      const message = due[i]!
      // It may have been finished meanwhile.
      if (!this.#held.has(message)) continue
      if (ok) {
        this.#held.set(message, since)
      } else {
        message.lose()
        this.#report(new LeaseLostError(message.receipt), message)
      }
    }
  }

  /** Resolves when a handler has finished or the worker is to stop. */
  #changed(): Promise<void> {
    return new Promise((resolve) => {
      this.#wake = () => {
        this.#wake = null
        resolve()
      }
    })
  }

  #report(error: Error, message?: WorkerMessage<T>): void {
    if (error instanceof LeaseLostError) this.stats.lost++
    if (error instanceof BrokerError) {
      if (this.#reportedAway) return
      this.#reportedAway = true
    }
    const { onError, queue } = this.#options
    try {
      if (onError === undefined) console.error(`worker ${queue}:`, error)
      else onError(error, message)
    } catch (problem) {
      console.error(`worker ${queue}: onError threw`, problem)
    }
  }
}

const CANCEL_PAUSE_MS = 10

/** A pull's answer is not older than this when it is received, long polls being answered as soon as messages come. */
const ANSWER_LAG_MS = 1000

function nackOf(receipt: string, error: unknown): { receipt: string; reason: string; delayMs?: number; reject?: true } {
  const reason = asError(error).message
  if (error instanceof RejectError) return { receipt, reason, reject: true }
  const delayMs = (error as { delayMs?: unknown } | null)?.delayMs
  return typeof delayMs === 'number' && delayMs >= 0
    ? { receipt, reason, delayMs: Math.ceil(delayMs) }
    : { receipt, reason }
}

function asError(error: unknown): Error {
  return error instanceof Error ? error : new Error(String(error))
}

function whole(name: string, value: number, min: number, max: number): number {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new RangeError(`${name} must be a whole number from ${min} to ${max}, not ${value}`)
  return value
}
