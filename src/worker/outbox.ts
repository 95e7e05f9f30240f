import { BrokerError, LeaseLostError } from './errors.ts'
import { Retry } from './retry.ts'
import type { EntryResult, NackBody, WorkSource } from './source.ts'

/** Entries of one request. */
const BATCH_MAX = 1000

/**
 * Results on their way to the broker: gathered while a request is under way, kept and sent again while the broker is
 * away. A result that was sent twice may be answered `receipt_lost` because the first one counted; that is no error.
 *
 * Acknowledgements travel with a pull where one is due: see `offer`, `take`, `taken`, `putBack`.
 */
export class Outbox {
  readonly #api: WorkSource
  readonly #onError: (error: Error) => void
  readonly #giveUp: AbortSignal
  readonly #offer: () => void
  #acks: string[] = []
  /** Sent before, with a pull that was not answered. */
  #doubtful: string[] = []
  #nacks: NackBody[] = []
  #running: Promise<void> | null = null

  /**
   * @param offer called before acknowledgements are sent by themselves: whoever has another request to send may `take` them;
   *   and when everything has been sent
   * @param giveUp aborted: what cannot be sent at the next try is dropped, its lease runs out
   */
  constructor(api: WorkSource, onError: (error: Error) => void, offer: () => void, giveUp: AbortSignal) {
    this.#api = api
    this.#onError = onError
    this.#offer = offer
    this.#giveUp = giveUp
  }

  /** Results not yet taken by the broker, those under way not counted. */
  get size(): number {
    return this.#acks.length + this.#doubtful.length + this.#nacks.length
  }

  ack(receipt: string): void {
    this.#acks.push(receipt)
    this.#running ??= this.#run()
  }

  nack(entry: NackBody): void {
    this.#nacks.push(entry)
    this.#running ??= this.#run()
  }

  /** Acknowledgements to be sent with another request; then `taken` or `putBack`. */
  take(): string[] {
    return this.#acks.splice(0, BATCH_MAX)
  }

  /** The broker has answered for what was taken. */
  taken(results: readonly EntryResult[]): void {
    this.#look(results)
  }

  /** Nobody knows whether what was taken arrived. */
  putBack(receipts: readonly string[]): void {
    if (receipts.length === 0) return
    this.#doubtful.push(...receipts)
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
      const doubtful = this.#doubtful.splice(0, BATCH_MAX)
      if (doubtful.length > 0) await this.#send(() => this.#api.ack(doubtful), 1)
      this.#offer()
      const acks = this.take()
      if (acks.length > 0) await this.#send(() => this.#api.ack(acks))
      const nacks = this.#nacks.splice(0, BATCH_MAX)
      if (nacks.length > 0) await this.#send(() => this.#api.nack(nacks))
    }
    this.#running = null
    // Whoever had no room for more results now has.
    this.#offer()
  }

  #look(results: readonly EntryResult[]): void {
    for (const { ok, receipt } of results) if (!ok) this.#onError(new LeaseLostError(receipt))
  }

  /** @param before how often this was sent already */
  async #send(request: () => Promise<EntryResult[]>, before = 0): Promise<void> {
    const retry = new Retry()
    for (let tries = before + 1; ; tries++) {
      try {
        const results = await request()
        if (tries === 1) this.#look(results)
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
