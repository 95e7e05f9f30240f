import { systemClock } from '../base/clock.ts'
import type { Envelope } from '../bridge/envelope.ts'
import type { EntryResult, NackBody, WorkerFacts, WorkSource } from './source.ts'

export interface FakeMessage {
  /** Text as it is, anything else as JSON. */
  payload: unknown
  topic?: string
  clientId?: string
  attempt?: number
}

/** What became of one message. */
export interface FakeResult {
  readonly id: string
  readonly outcome: 'acked' | 'failed' | 'rejected' | 'released'
  readonly reason?: string
  readonly delayMs?: number
}

/**
 * A queue in memory, for tests of handlers: no broker, no network, no time. Messages are handed out once; `results` says
 * what the worker made of each.
 *
 *     const queue = new FakeQueue('telemetry')
 *     const worker = createWorker({ source: queue, queue: 'telemetry', handler })
 *     queue.put({ payload: { celsius: 21 } })
 *     await queue.settled()
 *     expect(queue.results).toEqual([{ id: '1', outcome: 'acked' }])
 */
export class FakeQueue implements WorkSource {
  onLost: (() => void) | null = null
  readonly lingerMs = 0
  readonly results: FakeResult[] = []
  /** Receipts whose lease was extended. */
  readonly extended: string[] = []
  /** What the next heartbeat is answered. */
  command: 'run' | 'quiet' | 'stop' = 'run'
  readonly heartbeats: WorkerFacts[] = []
  readonly #queue: string
  readonly #ready: Envelope[] = []
  readonly #leased = new Map<string, Envelope>()
  #waiting: { poll: string; answer(): void } | null = null
  #watchers: (() => void)[] = []
  #last = 0

  constructor(queue = 'fake') {
    this.#queue = queue
  }

  /** Adds a message; returns its id. */
  put({ payload, topic = 'test/topic', clientId = 'device', attempt = 1 }: FakeMessage): string {
    const id = String(++this.#last)
    const now = new Date(systemClock.now()).toISOString()
    this.#ready.push({
      v: 1,
      id,
      queue: this.#queue,
      receipt: `receipt-${id}`,
      topic,
      levels: topic.split('/'),
      clientId,
      qos: 1,
      retain: false,
      time: now,
      encoding: 'utf8',
      payload: typeof payload === 'string' ? payload : JSON.stringify(payload),
      attempt,
      leasedUntil: now,
    })
    this.#waiting?.answer()
    return id
  }

  /** Resolves when every message that was put has a result. */
  async settled(): Promise<void> {
    while (this.#ready.length > 0 || this.#leased.size > 0)
      await new Promise<void>((resolve) => this.#watchers.push(resolve))
  }

  /** Loses every lease at once, as the end of a connection does; the messages wait again. */
  loseLeases(): void {
    this.#ready.unshift(...this.#leased.values())
    this.#leased.clear()
    this.onLost?.()
    this.#waiting?.answer()
  }

  pull(max: number, waitMs: number, _leaseMs: number, poll: string, signal: AbortSignal): Promise<Envelope[]> {
    return new Promise((resolve) => {
      const answer = (): void => {
        this.#waiting = null
        cancel()
        signal.removeEventListener('abort', answer)
        const taken = this.#ready.splice(0, max)
        for (const envelope of taken) this.#leased.set(envelope.receipt, envelope)
        resolve(taken)
      }
      const cancel = systemClock.after(waitMs, answer)
      signal.addEventListener('abort', answer)
      this.#waiting = { poll, answer }
      if (this.#ready.length > 0 || signal.aborted) answer()
    })
  }

  async cancel(poll: string): Promise<boolean> {
    if (this.#waiting?.poll !== poll) return false
    this.#waiting.answer()
    return true
  }

  async ack(receipts: readonly string[]): Promise<EntryResult[]> {
    return receipts.map((receipt) => this.#end(receipt, { outcome: 'acked' }))
  }

  async nack(entries: readonly NackBody[]): Promise<EntryResult[]> {
    return entries.map(({ receipt, reason, delayMs, reject, release }) =>
      this.#end(receipt, {
        outcome: release === true ? 'released' : reject === true ? 'rejected' : 'failed',
        ...(reason !== undefined && { reason }),
        ...(delayMs !== undefined && { delayMs }),
      }),
    )
  }

  async extend(receipts: readonly string[]): Promise<EntryResult[]> {
    this.extended.push(...receipts)
    return receipts.map((receipt) => ({ receipt, ok: this.#leased.has(receipt) }))
  }

  async heartbeat(_id: string, facts: WorkerFacts): Promise<'run' | 'quiet' | 'stop'> {
    this.heartbeats.push(facts)
    return this.command
  }

  async close(): Promise<void> {}

  #end(receipt: string, result: Omit<FakeResult, 'id'>): EntryResult {
    const envelope = this.#leased.get(receipt)
    if (envelope === undefined) return { receipt, ok: false, error: 'receipt_lost' }
    this.#leased.delete(receipt)
    this.results.push({ id: envelope.id, ...result })
    for (const watcher of this.#watchers.splice(0)) watcher()
    return { receipt, ok: true }
  }
}
