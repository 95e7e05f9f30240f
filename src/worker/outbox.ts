import { BrokerError, LeaseLostError } from './errors.ts'
import { Retry } from './retry.ts'
import type { EntryResult, NackBody, WorkSource } from './source.ts'

/** Entries of one request. */
const BATCH_MAX = 1000

/**
 * Results on their way to the broker: gathered while a request is under way, kept and sent again while the broker is
 * away. A result that was sent twice may be answered `receipt_lost` because the first one counted; that is no error.
 */
export class Outbox {
  readonly #api: WorkSource
  readonly #onError: (error: Error) => void
  readonly #giveUp: AbortSignal
  #acks: string[] = []
  #nacks: NackBody[] = []
  #running: Promise<void> | null = null

  /** @param giveUp aborted: what cannot be sent at the next try is dropped, its lease runs out */
  constructor(api: WorkSource, onError: (error: Error) => void, giveUp: AbortSignal) {
    this.#api = api
    this.#onError = onError
    this.#giveUp = giveUp
  }

  /** Results not yet taken by the broker, those under way not counted. */
  get size(): number {
    return this.#acks.length + this.#nacks.length
  }

  ack(receipt: string): void {
    this.#acks.push(receipt)
    this.#running ??= this.#run()
  }

  nack(entry: NackBody): void {
    this.#nacks.push(entry)
    this.#running ??= this.#run()
  }

  /** Resolves when everything was answered or given up. */
  async flushed(): Promise<void> {
    while (this.#running !== null) await this.#running
  }

  async #run(): Promise<void> {
    // What finishes in the same turn travels together.
    await new Promise((resolve) => setImmediate(resolve))
    while (this.size > 0) {
      const acks = this.#acks.splice(0, BATCH_MAX)
      if (acks.length > 0) await this.#send(() => this.#api.ack(acks))
      const nacks = this.#nacks.splice(0, BATCH_MAX)
      if (nacks.length > 0) await this.#send(() => this.#api.nack(nacks))
    }
    this.#running = null
  }

  async #send(request: () => Promise<EntryResult[]>): Promise<void> {
    const retry = new Retry()
    for (let tries = 1; ; tries++) {
      try {
        const results = await request()
        if (tries === 1) for (const { ok, receipt } of results) if (!ok) this.#onError(new LeaseLostError(receipt))
        return
      } catch (error) {
        if (tries === 1) this.#onError(error as Error)
        const again = error instanceof BrokerError && error.retryable && !this.#giveUp.aborted
        if (!again) return
        await retry.pause(this.#giveUp)
      }
    }
  }
}
