import { systemClock } from '../base/clock.ts'
import type { Envelope } from '../bridge/envelope.ts'
import { asError, BrokerError, LeaseLostError, nackOf } from './errors.ts'
import { Heart } from './heartbeat.ts'
import { WorkerMessage } from './message.ts'
import type { Middleware, WorkerOptions, WorkerStats } from './options.ts'
import { Outbox } from './outbox.ts'
import { Puller } from './puller.ts'
import { sleep } from './retry.ts'
import { parsed } from './schema.ts'
import type { EntryResult, WorkSource } from './source.ts'
import { sourceOf } from './source-of.ts'

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
  readonly #api: WorkSource
  readonly #heart: Heart | null
  readonly #outbox: Outbox
  readonly #concurrency: number
  /** Nothing stands between message and handler. */
  readonly #bare: boolean
  readonly #capacity: number
  readonly #leaseMs: number
  /** Received and not started. */
  #buffer: WorkerMessage<T>[] = []
  /** Received and not finished, with the monotonic time at which the lease was last known to start. */
  readonly #held = new Map<WorkerMessage<T>, number>()
  readonly #stop = new AbortController()
  readonly #giveUp = new AbortController()
  readonly #puller: Puller
  #wake: (() => void) | null = null
  #reportedAway = false
  #quiet = false

  constructor(options: WorkerOptions<T>) {
    const { concurrency = 1, batch = concurrency, leaseMs = 30_000 } = options
    this.#options = options
    this.#bare = options.schema === undefined && (options.use ?? []).length === 0
    this.#concurrency = whole('concurrency', concurrency, 1, 1000)
    this.#capacity = Math.max(concurrency, whole('batch', batch, 1, 1000))
    this.#leaseMs = whole('leaseMs', leaseMs, 100, 43_200_000)
    this.#api = sourceOf(options, this.#capacity)
    this.#api.onLost = () => this.#loseAll()
    const report = (error: Error): void => this.#report(error)
    this.#outbox = new Outbox(this.#api, report, () => this.#puller.ask(), this.#giveUp.signal)
    const { waitMs = 20_000 } = options
    this.#puller = new Puller(
      this.#api,
      { capacity: this.#capacity, concurrency, waitMs, leaseMs: this.#leaseMs },
      {
        room: () => this.#room(),
        took: (envelopes, since) => this.#took(envelopes, since),
        failed: report,
        outbox: this.#outbox,
      },
      this.#stop.signal,
    )
    options.signal?.addEventListener('abort', () => void this.stop(), { once: true })
    if (options.signal?.aborted) this.#stop.abort()
    for (const signal of options.drainOn ?? []) process.once(signal, this.#drain)
    this.#heart = this.#makeHeart()
    this.stopped = this.#work()
  }

  /** Told by the broker to take nothing new. */
  get quiet(): boolean {
    return this.#quiet
  }

  /**
   * Takes no more messages, gives back what was not started, waits for running handlers and until the broker has taken
   * all results. After `timeoutMs` handlers are told by their message's `signal`, and what is left is left to its lease.
   */
  async stop(timeoutMs = 30_000): Promise<void> {
    this.#stop.abort()
    const timer = setTimeout(() => {
      this.#giveUp.abort()
      this.#puller.hangUp()
      for (const message of this.#held.keys()) message.lose()
      this.#wake?.()
    }, timeoutMs)
    await this.stopped
    clearTimeout(timer)
  }

  async #work(): Promise<void> {
    const extending = new AbortController()
    const extended = this.#extendForever(extending.signal)
    await this.#puller.run()
    for (const message of this.#buffer.splice(0)) {
      this.#held.delete(message)
      this.#outbox.nack({ receipt: message.receipt, release: true })
    }
    while (this.stats.running > 0 && !this.#giveUp.signal.aborted) await this.#changed()
    extending.abort()
    await Promise.all([extended, this.#outbox.flushed()])
    this.#heart?.stop()
    for (const signal of this.#options.drainOn ?? []) process.off(signal, this.#drain)
    await this.#api.close()
  }

  /** Room for messages: none while the broker does not take results. */
  #room(): number {
    return this.#quiet || this.#outbox.size >= OUTBOX_MAX ? 0 : this.#capacity - this.#held.size
  }

  #took(envelopes: readonly Envelope[], since: number): void {
    this.#reportedAway = false
    this.stats.pulled += envelopes.length
    const received = systemClock.monotonic()
    for (const envelope of envelopes) {
      const message = new WorkerMessage<T>(envelope)
      this.#held.set(message, Math.max(since, received - Math.min(ANSWER_LAG_MS, this.#leaseMs / 4)))
      this.#buffer.push(message)
    }
    if (!this.#stop.signal.aborted) this.#startHandlers()
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
      const { handler } = this.#options
      if (this.#bare) await handler(message)
      else await this.#run(message)
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
    this.#puller.changed()
    this.#wake?.()
  }

  /** Checks the payload, then runs the middleware around the handler. */
  async #run(message: WorkerMessage<T>): Promise<void> {
    const { schema, use = [], handler } = this.#options
    if (schema !== undefined) message.accept(await parsed(schema, message.text()))
    const step = async (i: number): Promise<void> => {
      const middleware: Middleware<T> | undefined = use[i]
      await (middleware === undefined ? handler(message) : middleware(message, () => step(i + 1)))
    }
    await step(0)
  }

  readonly #drain = (): void => void this.stop()

  #makeHeart(): Heart | null {
    const { heartbeat = false, queue } = this.#options
    if (heartbeat === false || this.#api.heartbeat === null) return null
    return new Heart(this.#api, heartbeat === true ? {} : heartbeat, {
      facts: () => ({ queue, running: this.stats.running, done: this.stats.done, failed: this.stats.failed }),
      told: (command) => {
        const quiet = command === 'quiet'
        if (command === 'stop') void this.stop()
        if (quiet && !this.#quiet) void this.#puller.endWait()
        if (quiet !== this.#quiet) this.#api.quiet?.(quiet)
        this.#quiet = quiet
        this.#puller.changed()
      },
    })
  }

  /** The source lost every lease at once. */
  #loseAll(): void {
    for (const message of this.#held.keys()) {
      if (message.lost) continue
      message.lose()
      this.#report(new LeaseLostError(message.receipt), message)
    }
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

  /** Resolves when a handler has finished or the worker gives up. */
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

/** A pull's answer is not older than this when it is received, long polls being answered as soon as messages come. */
const ANSWER_LAG_MS = 1000

function whole(name: string, value: number, min: number, max: number): number {
  if (!Number.isInteger(value) || value < min || value > max)
    throw new RangeError(`${name} must be a whole number from ${min} to ${max}, not ${value}`)
  return value
}
