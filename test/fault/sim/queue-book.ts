/**
 * The reference model for a work queue and its dead letters: what was acknowledged to a publisher comes until its work is
 * acknowledged, or ends as one dead letter; a lease holds while it runs; attempts count up.
 */
import type { Book } from './book.ts'
import type { Trace } from './trace.ts'

export interface Job {
  /** The entry's id: the same for every delivery. */
  readonly id: string
  readonly payload: string
  readonly receipt: string
  readonly attempt: number
  /** Lab time, wall clock ms. */
  readonly leasedUntil: number
  /** In the dead-letter queue: the id the entry had in its queue. */
  readonly deadId: string | null
}

interface Entry {
  readonly id: string
  readonly payload: string
  attempt: number
  leasedUntil: number
  /** Its work was acknowledged, and the broker said yes. */
  done: boolean
  /** An ack, nack or release was sent and no answer came: both are right. */
  unsure: boolean
  /** Its ack was sent and no answer came: it may be done. */
  maybeDone: boolean
}

export class QueueBook {
  readonly #trace: Trace
  readonly #book: Book
  readonly #maxAttempts: number
  readonly #entries = new Map<string, Entry>()
  /** Entries of the dead-letter queue by the id they had before. */
  readonly #dead = new Map<string, Set<string>>()
  readonly #seen = new Set<string>()
  readonly #highest = new Map<string, number>()
  deliveries = 0
  confirmed = 0

  constructor(trace: Trace, book: Book, maxAttempts: number) {
    this.#trace = trace
    this.#book = book
    this.#maxAttempts = maxAttempts
  }

  delivered(job: Job, nowMs: number): void {
    const { id, payload, attempt } = job
    this.deliveries++
    this.#trace.note(
      `job ${id} (${payload}) is handed out, attempt ${attempt}${job.deadId ? `, dead ${job.deadId}` : ''}`,
      payload,
      id,
    )
    const message = this.#book.messages.get(payload)
    if (message === undefined) return this.#trace.violation(`job ${id} is "${payload}", which nobody sent`, id)
    this.#seen.add(payload)
    if (job.deadId !== null) {
      const twins = this.#dead.get(job.deadId) ?? new Set()
      this.#dead.set(job.deadId, twins.add(id))
      if (twins.size > 1) this.#trace.violation(`${job.deadId} became ${twins.size} dead letters`, payload, job.deadId)
      if (this.#entries.get(job.deadId)?.done)
        this.#trace.violation(`${job.deadId} is dead although its work was acknowledged`, payload, job.deadId)
    }
    let entry = this.#entries.get(id)
    if (entry === undefined) {
      entry = { id, payload, attempt: 0, leasedUntil: 0, done: false, unsure: false, maybeDone: false }
      this.#entries.set(id, entry)
      if (job.deadId === null && attempt === 1) this.#checkOrder(job)
    }
    if (entry.payload !== payload)
      this.#trace.violation(`job ${id} was ${entry.payload} and is ${payload}`, id, payload)
    if (entry.done) this.#trace.violation(`job ${id} came again after its ack was confirmed`, id, payload)
    if (attempt < entry.attempt && !entry.unsure)
      this.#trace.violation(`job ${id} went back to attempt ${attempt}`, id, payload)
    if (job.deadId === null && attempt > this.#maxAttempts)
      this.#trace.violation(`job ${id} had ${attempt} attempts of ${this.#maxAttempts}`, id, payload)
    if (nowMs < entry.leasedUntil && !entry.unsure)
      this.#trace.violation(
        `job ${id} was handed out while its lease ran for ${entry.leasedUntil - nowMs} ms more`,
        id,
        payload,
      )
    entry.attempt = attempt
    entry.leasedUntil = job.leasedUntil
    entry.unsure = false
    entry.maybeDone = false
  }

  /** First attempts of a topic's messages come in order, but for those that were sent more than once. */
  #checkOrder(job: Job): void {
    const message = this.#book.messages.get(job.payload)!
    const last = this.#highest.get(message.topic) ?? 0
    if (message.order > last) this.#highest.set(message.topic, message.order)
    else if (message.transmissions === 1)
      this.#trace.violation(
        `job ${job.id} (${message.order} of ${message.topic}) came after ${last}`,
        job.id,
        job.payload,
      )
  }

  /**
   * The broker died while a lease whose record was taken back had not been written anew: that lease may be over. The
   * messages are not.
   */
  leasesUnsure(): void {
    for (const entry of this.#entries.values()) entry.unsure = true
  }

  note(job: Job, what: string): void {
    this.#trace.note(`job ${job.id}: ${what}`, job.id, job.payload)
  }

  /** Somebody asked something about the job; until the answer comes nothing is sure. */
  asked(job: Job, what: string): void {
    this.#trace.note(`job ${job.id}: ${what}`, job.id, job.payload)
    const entry = this.#entries.get(job.id)
    if (entry === undefined) return
    entry.unsure = true
    entry.maybeDone ||= what === 'ack'
  }
  acked(job: Job): void {
    this.#trace.note(`job ${job.id}: ack confirmed`, job.id, job.payload)
    const entry = this.#entries.get(job.id)
    if (entry !== undefined && entry.done === false) {
      entry.done = true
      this.confirmed++
    }
  }
  extended(job: Job, leasedUntil: number): void {
    this.#trace.note(`job ${job.id}: extended`, job.id, job.payload)
    const entry = this.#entries.get(job.id)
    if (entry === undefined) return
    entry.leasedUntil = leasedUntil
    entry.unsure = false
  }
  /** The receipt is no longer good. */
  lost(job: Job, nowMs: number, sure: boolean): void {
    this.#trace.note(`job ${job.id}: receipt lost`, job.id, job.payload)
    if (sure && nowMs < job.leasedUntil)
      this.#trace.violation(
        `the receipt of job ${job.id} was lost ${job.leasedUntil - nowMs} ms early`,
        job.id,
        job.payload,
      )
  }

  outstanding(wants: (topic: string) => boolean): string[] {
    return [...this.#book.messages.values()]
      .filter(({ id, topic, state, qos }) => state === 'acknowledged' && qos > 0 && wants(topic) && !this.#seen.has(id))
      .map(({ id }) => id)
  }

  account(wants: (topic: string) => boolean): void {
    for (const id of this.outstanding(wants))
      this.#trace.violation(`MISSING ${id}: acknowledged, and never handed out`, id)
    const stored = new Map<string, number>()
    for (const { id, payload } of this.#entries.values())
      if (![...this.#dead.values()].some((twins) => twins.has(id))) stored.set(payload, (stored.get(payload) ?? 0) + 1)
    for (const [payload, times] of stored) {
      const message = this.#book.messages.get(payload)!
      const most = message.qos === 2 ? 1 : message.transmissions
      if (times > most) this.#trace.violation(`${payload} is ${times} entries of the queue`, payload)
      if (message.state === 'refused' && message.transmissions === 1)
        this.#trace.violation(`${payload} is in the queue and was refused`, payload)
    }
    for (const { id, payload, done, maybeDone } of this.#entries.values())
      if (!done && !maybeDone && !this.#dead.has(id))
        this.#trace.violation(`job ${id} was neither acknowledged nor buried`, id, payload)
  }
}
