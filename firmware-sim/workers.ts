/**
 * Workers inside the simulator: they lease messages from the queue, write into the ledger what they got, and only
 * then acknowledge it. A broker that goes away is waited for.
 */
import { now, pause } from './clock.ts'
import type { Ledger } from './ledger.ts'
import type { PayloadTemplate } from './payload.ts'
import { QueueApi, type ReceivedEnvelope } from './queue-api.ts'
import { backoffDelayMs, derivedRandom } from './random.ts'

const batchMax = 500
const waitMs = 2_000
const backoff = { minMs: 100, maxMs: 1_000, factor: 2, jitter: 0.5 }
const foreignDelayMs = 5_000
const restPollMs = 20
/** Batches of one worker whose acks the broker has not confirmed yet: while it writes them, the next batch comes. */
const unconfirmedMax = 4

export interface WorkerOptions {
  readonly run: string
  readonly http: string
  readonly queue: string
  readonly workers: number
  readonly leaseMs: number
  readonly template: PayloadTemplate
  readonly ledger: Ledger
  readonly seed: number
}

export class Workers {
  readonly #options: WorkerOptions
  readonly #api: QueueApi
  readonly #stopping = new AbortController()
  #running: Promise<void>[] = []
  #batch = 0
  #resting = false
  /** Messages of other simulator runs: taken out of the queue and not counted. */
  leftovers = 0
  /** Messages that no simulator made: given back with a reason, never acknowledged. */
  foreign = 0
  /** Acks that came too late: the broker delivers those messages again. */
  leasesLost = 0
  /** Requests that failed and were tried again. */
  failures = 0
  lastError: Error | null = null

  constructor(options: WorkerOptions) {
    this.#options = options
    this.#api = new QueueApi(options.http, options.queue)
  }

  start(): void {
    this.#running = Array.from({ length: this.#options.workers }, (_, index) => this.#work(index))
  }

  /** Workers finish the request they are in and pull no more, until `resume`. */
  rest(): void {
    this.#resting = true
  }

  resume(): void {
    this.#resting = false
  }

  /** Resolves when every worker has acknowledged what it holds, or has failed to. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    await Promise.all(this.#running)
  }

  /** Messages that are in the queue in any state; null when the broker does not say. */
  async inQueue(): Promise<number | null> {
    try {
      const { ready, leased, delayed } = await this.#api.info()
      return ready + leased + delayed
    } catch {
      return null
    }
  }

  async #work(index: number): Promise<void> {
    const { leaseMs, seed } = this.#options
    const random = derivedRandom(seed, -100 - index)
    const { signal } = this.#stopping
    const unconfirmed = new Set<Promise<void>>()
    let failed = 0
    while (!signal.aborted) {
      if (this.#resting) {
        await pause(restPollMs, signal)
        continue
      }
      try {
        const messages = await this.#api.pull(batchMax, waitMs, leaseMs, signal)
        failed = 0
        if (messages.length === 0) continue
        const confirmed = this.#take(messages)
          .catch((error) => this.#failed(error))
          .finally(() => unconfirmed.delete(confirmed))
        unconfirmed.add(confirmed)
        if (unconfirmed.size >= unconfirmedMax) await Promise.race(unconfirmed)
      } catch (error) {
        if (signal.aborted) break
        this.#failed(error)
        await pause(backoffDelayMs(backoff, failed, random), signal)
        failed += 1
      }
    }
    await Promise.all(unconfirmed)
  }

  #failed(error: unknown): void {
    this.failures += 1
    this.lastError = error as Error
  }

  /** Writes the messages into the ledger, then answers for them; resolves when the broker has confirmed. */
  async #take(messages: readonly ReceivedEnvelope[]): Promise<void> {
    const { ledger, template, run } = this.#options
    this.#batch += 1
    const time = now()
    const done: string[] = []
    const foreign: { receipt: string; delayMs: number; reason: string }[] = []
    for (const { payload, encoding, receipt, leasedUntil, attempt } of messages) {
      const facts = template.read(encoding === 'base64' ? Buffer.from(payload, 'base64').toString() : payload)
      if (facts === null) {
        foreign.push({ receipt, delayMs: foreignDelayMs, reason: 'not made by firmware-sim' })
        continue
      }
      done.push(receipt)
      const stream = facts.run === run ? ledger.account.telemetryOf(facts.device) : undefined
      if (stream === undefined) {
        this.leftovers += 1
      } else {
        const handedOutAt = Date.parse(leasedUntil) - this.#options.leaseMs
        ledger.received(stream, facts.sequence, time, { handedOutAt, batch: this.#batch, attempt })
      }
    }
    ledger.flush()
    this.foreign += foreign.length
    if (foreign.length > 0) await this.#api.nack(foreign)
    if (done.length === 0) return
    for (const result of await this.#api.ack(done)) if (!result.ok) this.leasesLost += 1
  }
}
