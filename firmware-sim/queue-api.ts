/** The part of the broker's HTTP API that a worker needs, over plain fetch. */
import { pause } from './clock.ts'

/** A message as a worker receives it; only what the simulator reads. */
export interface ReceivedEnvelope {
  readonly id: string
  readonly receipt: string
  readonly topic: string
  readonly encoding: 'utf8' | 'base64'
  readonly payload: string
  /** 1: first delivery. */
  readonly attempt: number
  /** ISO 8601. */
  readonly leasedUntil: string
}

export interface QueueInfo {
  readonly name: string
  readonly ready: number
  readonly leased: number
  readonly delayed: number
}

export interface EntryResult {
  readonly receipt: string
  readonly ok: boolean
  readonly error?: string
}

/** The broker answered, and said no. */
export class QueueApiError extends Error {
  override readonly name = 'QueueApiError'
  readonly status: number
  readonly code: string
  /** What the broker says to do about it. */
  readonly action: string

  constructor(status: number, code: string, message: string, action: string) {
    super(message)
    this.status = status
    this.code = code
    this.action = action
  }
}

/** Added to what the broker was asked to wait: an answer later than that is not coming. */
const answerWithinMs = 10_000
const askAgainMs = 100

export class QueueApi {
  readonly #base: string

  /** `http`: the address of the broker's HTTP port, `http://127.0.0.1:8080`. */
  constructor(http: string, queue: string) {
    this.#base = `${http.replace(/\/+$/, '')}/api/v1/queues/${encodeURIComponent(queue)}`
  }

  info(): Promise<QueueInfo> {
    return this.#request('GET', '', undefined, answerWithinMs) as Promise<QueueInfo>
  }

  /**
   * What `info` tells, from a broker that may just be starting: of several nodes, one has to become the keeper of the queues, and
   * until then they answer 503. Throws what `info` throws; a 503 only after `patienceMs`.
   */
  async infoInTime(patienceMs: number): Promise<QueueInfo> {
    for (const startedAt = performance.now(); ; await pause(askAgainMs)) {
      try {
        return await this.info()
      } catch (error) {
        const later = error instanceof QueueApiError && error.status === 503
        if (!later || performance.now() - startedAt >= patienceMs) throw error
      }
    }
  }

  async pull(max: number, waitMs: number, leaseMs: number, signal: AbortSignal): Promise<ReceivedEnvelope[]> {
    const answer = await this.#request('POST', '/pull', { max, waitMs, leaseMs }, waitMs + answerWithinMs, signal)
    return (answer as { messages: ReceivedEnvelope[] }).messages
  }

  async ack(receipts: readonly string[]): Promise<EntryResult[]> {
    const answer = await this.#request('POST', '/ack', { receipts }, answerWithinMs)
    return (answer as { results: EntryResult[] }).results
  }

  async nack(entries: readonly { receipt: string; delayMs?: number; reason?: string }[]): Promise<EntryResult[]> {
    const answer = await this.#request('POST', '/nack', { entries }, answerWithinMs)
    return (answer as { results: EntryResult[] }).results
  }

  async #request(
    method: string,
    path: string,
    body: unknown,
    timeoutMs: number,
    signal?: AbortSignal,
  ): Promise<unknown> {
    const limit = AbortSignal.timeout(timeoutMs)
    const response = await fetch(this.#base + path, {
      method,
      signal: signal === undefined ? limit : AbortSignal.any([signal, limit]),
      ...(body === undefined ? {} : { headers: { 'content-type': 'application/json' }, body: JSON.stringify(body) }),
    })
    const text = await response.text()
    if (response.ok) return JSON.parse(text)
    throw refusal(response.status, text)
  }
}

function refusal(status: number, text: string): QueueApiError {
  try {
    const { error } = JSON.parse(text) as { error: { code: string; message: string; action: string } }
    return new QueueApiError(status, error.code, error.message, error.action)
  } catch {
    return new QueueApiError(status, 'unknown', `HTTP status ${status}`, '')
  }
}
