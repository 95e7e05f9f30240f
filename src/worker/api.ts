import type { Envelope } from '../bridge/envelope.ts'
import { BrokerError } from './errors.ts'
import type { Request } from './request.ts'
import type { EntryResult, NackBody, WorkerFacts, WorkSource } from './source.ts'

/** A request without an answer for this long, waiting time apart, counts as failed. */
const ANSWER_MS_MAX = 15_000
const CANCEL_MS_MAX = 1000

/** The broker's HTTP face for one queue. Every method rejects with a BrokerError. */
export class QueueApi implements WorkSource {
  onLost = null
  readonly lingerMs = 4
  readonly pullsMax = 4
  readonly #root: string
  readonly #base: string
  readonly #request: Request
  readonly #headers: Record<string, string>

  /** @param url address of the broker's HTTP port, e.g. http://127.0.0.1:8080 */
  constructor(url: string, queue: string, headers: Record<string, string>, request: Request) {
    this.#root = `${url.replace(/\/+$/, '')}/api/v1`
    this.#base = `${this.#root}/queues/${encodeURIComponent(queue)}`
    this.#headers = { ...headers, 'content-type': 'application/json' }
    this.#request = request
  }

  /** @param poll names this pull for `cancel` */
  async pull(max: number, waitMs: number, leaseMs: number, poll: string, signal: AbortSignal): Promise<Envelope[]> {
    const answer = await this.#post('pull', { max, waitMs, leaseMs, poll }, waitMs + ANSWER_MS_MAX, signal)
    return (answer as { messages: Envelope[] }).messages
  }

  async pullAcking(
    receipts: readonly string[],
    max: number,
    waitMs: number,
    leaseMs: number,
    poll: string,
    signal: AbortSignal,
  ): Promise<{ results: EntryResult[]; envelopes: Envelope[] }> {
    const body = { max, waitMs, leaseMs, poll, ack: receipts }
    const answer = (await this.#post('pull', body, waitMs + ANSWER_MS_MAX, signal)) as { messages: Envelope[] }
    return { results: results(answer), envelopes: answer.messages }
  }

  /** Has a waiting pull answered at once. False when the broker does not know it. */
  async cancel(poll: string): Promise<boolean> {
    const answer = await this.#post('cancel', { poll }, CANCEL_MS_MAX)
    return (answer as { cancelled: boolean }).cancelled
  }

  async ack(receipts: readonly string[]): Promise<EntryResult[]> {
    return results(await this.#post('ack', { receipts }))
  }

  async nack(entries: readonly NackBody[]): Promise<EntryResult[]> {
    return results(await this.#post('nack', { entries }))
  }

  async extend(receipts: readonly string[], leaseMs: number): Promise<EntryResult[]> {
    return results(await this.#post('extend', { entries: receipts.map((receipt) => ({ receipt, leaseMs })) }))
  }

  async heartbeat(id: string, facts: WorkerFacts): Promise<'run' | 'quiet' | 'stop'> {
    const answer = await this.#send(`${this.#root}/workers/${encodeURIComponent(id)}/heartbeat`, facts, ANSWER_MS_MAX)
    return (answer as { command: 'run' | 'quiet' | 'stop' }).command
  }

  async close(): Promise<void> {}

  #post(action: string, body: object, timeoutMs = ANSWER_MS_MAX, signal?: AbortSignal): Promise<unknown> {
    return this.#send(`${this.#base}/${action}`, body, timeoutMs, signal)
  }

  async #send(url: string, body: object, timeoutMs: number, signal?: AbortSignal): Promise<unknown> {
    const abort = new AbortController()
    const onAbort = (): void => abort.abort()
    const timer = setTimeout(onAbort, timeoutMs)
    signal?.addEventListener('abort', onAbort)
    if (signal?.aborted) abort.abort()
    try {
      const { status, text } = await this.#request(url, this.#headers, JSON.stringify(body), abort.signal)
      if (status < 200 || status > 299) throw refusal(status, text)
      return JSON.parse(text) as unknown
    } catch (error) {
      if (error instanceof BrokerError) throw error
      const cause = error instanceof Error && error.cause instanceof Error ? error.cause : error
      const reason = abort.signal.aborted ? `no answer within ${timeoutMs} ms` : String((cause as Error).message)
      throw new BrokerError(0, 'unreachable', `${url}: ${reason}`, { cause: error })
    } finally {
      clearTimeout(timer)
      signal?.removeEventListener('abort', onAbort)
    }
  }
}

function results(answer: unknown): EntryResult[] {
  return (answer as { results: EntryResult[] }).results
}

function refusal(status: number, text: string): BrokerError {
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string } }
    return new BrokerError(status, error.code, error.message)
  } catch {
    return new BrokerError(status, 'unknown', `HTTP status ${status}`)
  }
}
