/**
 * A worker that drains a queue over HTTP and loses connections on purpose: while asking, after receiving, before and
 * after acknowledging. Only an answer that arrived counts.
 */
import http from 'node:http'
import type { SeededRandom } from '../support/seeded-random.ts'
import type { Ledger, Receiver } from './ledger.ts'

interface Envelope {
  id: string
  receipt: string
  topic: string
  payload: string
  attempt: number
}

/** How long a broker on a busy machine may take to notice that a connection is gone, in ms. */
const LATE_MS = 3_000

/** How long a broker may take over any answer, in ms. */
const ANSWER_MS = 20_000

export interface QueueWorkerOptions {
  queue: string
  /** Base URL of the HTTP face; changes never, but the server behind it comes and goes. */
  url: () => string
  receiver: Receiver
  ledger: Ledger
  random: SeededRandom
  leaseMs: number
  /** Takes dead letters. */
  dead?: boolean
  /** Share of messages that fail; of those some are rejected outright. */
  nackChance?: number
}

export class QueueWorker {
  /** Breaks connections and drops deliveries while true. */
  chaos = true
  /** Answers to pulls that held nothing, in a row. */
  emptyPulls = 0
  acknowledged = 0
  lostReceipts = 0
  private cutAt = Number.NEGATIVE_INFINITY
  private readonly options: QueueWorkerOptions
  private readonly agent = new http.Agent({ keepAlive: true, maxSockets: 4 })
  private running = true
  private done: Promise<void> = Promise.resolve()

  constructor(options: QueueWorkerOptions) {
    this.options = options
  }

  start(): void {
    this.done = this.live()
  }
  async close(): Promise<void> {
    this.running = false
    await this.done
    this.agent.destroy()
  }

  private async live(): Promise<void> {
    while (this.running) {
      try {
        await this.turn()
      } catch {
        this.emptyPulls = 0
        this.cutAt = performance.now()
        await this.takenBack()
      }
    }
  }

  /**
   * Waits until the broker has taken back what it leased to a connection that is gone: those messages keep their place
   * and their attempt, but a pull that came too early would be given later ones. A broker that is down has no leases
   * to give back (they are durable), so it is not waited for.
   */
  private async takenBack(): Promise<void> {
    for (let quiet = 0; quiet < 2 && this.running; ) {
      await sleep(50)
      const { url, queue, ledger } = this.options
      const info = await fetch(`${url()}/api/v1/queues/${queue}`, { signal: AbortSignal.timeout(ANSWER_MS) })
        .then((answer) => answer.json() as Promise<{ leased: number }>)
        .catch((error: Error) => {
          if (error.name === 'TimeoutError') ledger.violation(`the queue was not shown within ${ANSWER_MS} ms`)
          return { leased: 0 }
        })
      quiet = info.leased === 0 ? quiet + 1 : 0
    }
  }

  private async turn(): Promise<void> {
    const { random, ledger, receiver, leaseMs } = this.options
    const pull = { max: random.int(1, 60), waitMs: 150, leaseMs }
    const answer = (await this.call('pull', pull, this.chaos && random.chance(0.05))) as { messages: Envelope[] }
    this.emptyPulls = answer.messages.length === 0 ? this.emptyPulls + 1 : 0
    const deliveries = answer.messages.map((envelope) => ({ ...envelope, seq: Number.parseInt(envelope.payload, 10) }))
    const { dead = false, nackChance = 0 } = this.options
    const mayBeLate = performance.now() - this.cutAt < LATE_MS
    for (const { topic, seq, id, attempt } of deliveries) {
      if (dead) ledger.buried(id, topic, seq, attempt)
      else ledger.arrived(receiver, topic, seq, { id, attempt, mayBeLate })
    }
    if (deliveries.length === 0) return
    // A worker that dies here leaves its leases to run out.
    if (this.chaos && random.chance(0.03)) return
    const back = this.chaos && random.chance(0.1) ? deliveries.splice(random.int(0, deliveries.length - 1), 1) : []
    if (nackChance > 0) {
      for (let i = deliveries.length - 1; i >= 0; i--)
        if (random.chance(nackChance)) back.push(...deliveries.splice(i, 1))
    }
    const entries = back.map(({ receipt }) => {
      const reject = nackChance > 0 && random.chance(0.2)
      return { receipt, reason: 'chaos', ...(reject ? { reject } : { delayMs: 20 }) }
    })
    if (entries.length > 0) await this.call('nack', { entries })
    const receipts = deliveries.map((delivery) => delivery.receipt)
    if (receipts.length === 0) return
    for (const { id } of deliveries) ledger.maybeSettled(id)
    const { results } = (await this.call('ack', { receipts }, this.chaos && random.chance(0.05))) as {
      results: { receipt: string; ok: boolean; error?: string }[]
    }
    for (const [i, { topic, seq, id }] of deliveries.entries()) {
      const result = results[i]
      if (result?.ok) {
        this.acknowledged++
        if (dead) ledger.buriedSettled(id)
        else ledger.settled(id, topic, seq)
      } else if (result?.error === 'receipt_lost') this.lostReceipts++
      else ledger.violation(`ack of ${id} was answered with ${JSON.stringify(result)}`)
    }
  }

  /** POSTs and parses the answer; with `breakOff` the connection is cut at a random moment of the exchange. */
  private call(operation: string, body: object, breakOff = false): Promise<unknown> {
    const { url, queue, random, ledger } = this.options
    return new Promise((resolve, reject) => {
      const request = http.request(`${url()}/api/v1/queues/${encodeURIComponent(queue)}/${operation}`, {
        method: 'POST',
        agent: this.agent,
        headers: { 'content-type': 'application/json' },
        timeout: 10_000,
      })
      request.on('error', reject)
      request.on('timeout', () => {
        ledger.violation(`${operation} was not answered within 10 s`)
        request.destroy(new Error('timeout'))
      })
      request.on('response', (response) => {
        let text = ''
        response.setEncoding('utf8')
        response.on('data', (more: string) => {
          text += more
        })
        response.on('error', reject)
        response.on('aborted', () => reject(new Error('aborted')))
        response.on('end', () => {
          if (response.statusCode === 200) resolve(JSON.parse(text))
          else reject(new Error(`${operation}: ${response.statusCode} ${text}`))
        })
      })
      request.end(JSON.stringify(body))
      if (breakOff) setTimeout(() => request.destroy(new Error('broken off')), random.int(0, 20))
    })
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
