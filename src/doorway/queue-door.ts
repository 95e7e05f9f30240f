import type { Clock } from '../base/clock.ts'
import type { DoorOrder, DoorReport } from '../door.ts'
import type { Delivery } from '../queue/delivery.ts'
import type { WorkQueue } from '../queue/queue.ts'
import { fieldsOf } from './fields.ts'
import { Laid } from './laid.ts'
import { Leases } from './leases.ts'
import { Prefetch } from './prefetch.ts'
import { Reading } from './reading.ts'
import { Settlements } from './settlements.ts'

/** Messages, and their bytes, laid out in one step: others wait for Redis meanwhile. */
const LAY_MAX = 500
const LAY_BYTES_MAX = 1024 * 1024
/** Bytes outside beyond which nothing more is leased. */
const OUTSIDE_BYTES_MAX = 32 * 1024 * 1024
/** How often is looked who is there, in ms. */
const LOOK_MS = 1000
/** How often is looked for what was taken out by hand, in ms. */
const STRAY_MS = 100
/** A worker that was heard of within this time may be waiting for messages, in ms. */
const PRESENT_MS = 60_000
/** How long messages lie there while other workers have nothing to do, in ms: with workers to be seen outside, and without. */
const YIELD_AFTER_MS = 500
const UNSEEN_YIELD_AFTER_MS = 5

export interface QueueDoorParts {
  readonly queue: WorkQueue
  readonly clock: Clock
  /** How much longer than the worker's lease that of the queue is, in ms. */
  readonly graceMs: number
  /** There is something to be done at once. */
  hurry(): void
  failed(error: unknown): void
}

/** What lies at the door of one queue. Orders and reports take turns: see `Doors`. */
export class QueueDoor {
  readonly queue: WorkQueue
  readonly #p: QueueDoorParts
  readonly #settlements: Settlements
  readonly #prefetch: Prefetch
  readonly #reading: Reading
  readonly #leases: Leases
  /** Leased and to be laid out. */
  #fresh: Laid[] = []
  /** Laid out, by id, in that order. */
  readonly #outside = new Map<string, Laid>()
  /** Ids to be removed: settled, or strangers. */
  readonly #remove = new Set<string>()
  readonly #answered = new Set<string>()
  /** Order that was given and not reported on. */
  #given: { order: DoorOrder; laid: Laid[] } | null = null
  #survey = true
  #surveyedAt = Number.NEGATIVE_INFINITY
  #lookedAt = Number.NEGATIVE_INFINITY
  #heardAt = Number.NEGATIVE_INFINITY
  #leaving = false
  /** The last step was not done wholly, which has been told. */
  #troubled = false
  /** Workers as the place knows them. */
  workers = 0
  /** The place is gone; nothing is left to do. */
  closed = false
  /** Something happened in the last step: the next one may find more. */
  busy = false

  constructor(parts: QueueDoorParts) {
    const { queue, clock, graceMs, failed } = parts
    this.#p = parts
    this.queue = queue
    this.#settlements = new Settlements(queue, clock, failed)
    this.#leases = new Leases(queue, clock, graceMs, () => this.#leaseMs, failed)
    const take = (deliveries: Delivery[]): void => this.#take(deliveries)
    this.#prefetch = new Prefetch(queue, clock, () => this.#leaseMs + graceMs, take, failed)
    this.#reading = new Reading({
      queue,
      clock,
      graceMs,
      outside: this.#outside,
      leaseMs: () => this.#leaseMs,
      settlements: this.#settlements,
      forget: (ids) => this.#forget(ids),
      answered: (id) => {
        this.#answered.add(id)
        parts.hurry()
      },
    })
  }

  get #leaseMs(): number {
    return this.queue.settings.leaseMs
  }

  /** Messages outside at most; 0: the queue has no door any more. */
  get #wanted(): number {
    return this.#leaving ? 0 : prefetchOf(this.queue)
  }

  /** What nobody has taken comes in. */
  get #shut(): boolean {
    return this.#wanted === 0 || this.queue.paused
  }

  get #present(): boolean {
    return this.#reading.counts.taken > 0 || this.#heardAt > this.#p.clock.monotonic() - PRESENT_MS
  }

  get lying(): number {
    return this.#fresh.length + this.#reading.counts.lying
  }

  get taken(): number {
    return this.#reading.counts.taken
  }

  /** Whether there is anything to ask the place for. */
  get due(): boolean {
    const still = this.#outside.size + this.#fresh.length + this.#remove.size + this.#answered.size
    return still > 0 || this.#survey || this.#p.clock.monotonic() - this.#lookedAt >= LOOK_MS
  }

  /** Nothing new goes out, and what nobody has taken comes in. */
  leave(): void {
    this.#leaving = true
    this.#prefetch.stop()
  }

  /** What nobody has taken has come in, and everything that was said is durable. */
  async left(): Promise<boolean> {
    await this.#settlements.idle()
    return this.lying === 0
  }

  /** What lies outside is unknown: another process may have kept the door, or an order was lost on its way. */
  lost(): void {
    if (this.#given !== null) this.#reading.unsure(this.#given.order)
    this.#given = null
    this.#survey = true
  }

  order(): DoorOrder {
    const now = this.#p.clock.monotonic()
    const look = now - this.#lookedAt >= LOOK_MS
    if (look) this.#lookedAt = now
    if (this.#survey) this.#surveyedAt = now
    for (const laid of this.#leases.extend(this.#outside.values())) {
      laid.state = 'ending'
      this.#remove.add(laid.id)
    }
    const laid = this.#survey ? [] : this.#toLay()
    const order: DoorOrder = {
      queue: this.queue.name,
      remove: [...this.#remove],
      answered: [...this.#answered],
      answersAfter: this.#reading.answersAfter,
      takeBack: this.#survey ? [] : this.#toTakeBack(now),
      overdue: this.#survey ? [] : this.#overdue(now),
      lay: laid.map(({ fields }) => fields!),
      // Who has taken what over from whom shows in nothing else.
      since: this.#survey || look ? '' : this.#reading.mark,
      workers: this.workers,
      look,
      survey: this.#survey,
      close: !this.#leaving && this.#wanted === 0 && this.#outside.size + this.#fresh.length === 0,
    }
    this.#given = { order, laid }
    return order
  }

  report(report: DoorReport): void {
    const { order, laid } = this.#given!
    this.#given = null
    const before = this.#outside.size
    if (report.closed) {
      this.closed = true
      return
    }
    if (report.failure !== '' && !this.#troubled) this.#p.failed(report.failure)
    this.#troubled = report.failure !== ''
    if (report.mark === '') {
      this.#reading.unsure(order)
      this.#survey = true
      return
    }
    for (const id of order.remove) {
      this.#remove.delete(id)
      if (this.#outside.get(id)?.state === 'ending') this.#outside.delete(id)
    }
    for (const id of order.answered) this.#answered.delete(id)
    if (report.made) this.#reading.made()
    report.laid.forEach((id, i) => {
      laid[i]!.laid(id)
      this.#outside.set(id, laid[i]!)
    })
    this.#fresh = this.#fresh.filter(({ state }) => state === 'new')
    if (report.heardMs !== null) this.#heardAt = this.#p.clock.monotonic() - report.heardMs
    if (report.lying !== null) {
      this.#survey = false
      this.#fresh = this.#reading.survey(report, this.#fresh)
    }
    const changed = this.#reading.read(report)
    this.workers = report.workers
    if (changed) this.#heardAt = this.#p.clock.monotonic()
    // What nobody has yet must lie there; somebody may have taken it out by hand.
    const { lying, taken } = this.#reading.counts
    const stray = report.entries < lying + taken || report.entries > this.#outside.size
    if (stray && this.#p.clock.monotonic() - this.#surveyedAt >= STRAY_MS) this.#survey = true
    this.busy = changed || before !== this.#outside.size || report.laid.length > 0
    if (this.#reading.cameBack > 0) this.#prefetch.yield()
    const bytes = this.#fresh.reduce((sum, laid) => sum + laid.bytes, this.#reading.counts.bytes)
    const wanted = this.#wanted
    this.#prefetch.fill(this.#present, wanted, { lying: this.lying, taken, full: bytes >= OUTSIDE_BYTES_MAX })
    if (this.#fresh.length > 0 && report.failure === '') this.#p.hurry()
  }

  #take(deliveries: readonly Delivery[]): void {
    const now = this.#p.clock.monotonic()
    const wall = this.#p.clock.now()
    for (const delivery of deliveries) {
      const { receipt, attempt, leasedUntil } = delivery
      try {
        const fields = fieldsOf(delivery, this.#leaseMs)
        this.#fresh.push(new Laid(receipt, attempt, fields, now + leasedUntil - wall, now))
      } catch (error) {
        // One message that cannot be read must not hold up the others for ever.
        const reason = `cannot be read: ${(error as Error).message}`
        this.#settlements.nack([{ receipt, reject: true, reason }], () => {})
      }
    }
    this.#p.hurry()
  }

  #toLay(): Laid[] {
    // Where the place did not answer for long, a worker would not have the time it is told.
    const away = this.#shut || (this.#troubled && this.#prefetch.othersWait)
    const before = away ? Number.POSITIVE_INFINITY : this.#p.clock.monotonic() + this.#leaseMs
    const back = this.#fresh.filter(({ heldUntil }) => heldUntil < before)
    if (back.length > 0) {
      this.#fresh = this.#fresh.filter(({ heldUntil }) => heldUntil >= before)
      this.#prefetch.yield()
      this.#settlements.release(
        back.map(({ receipt }) => receipt),
        () => {},
      )
    }
    let bytes = 0
    let count = 0
    for (const laid of this.#fresh) {
      if (count === LAY_MAX || bytes >= LAY_BYTES_MAX) break
      bytes += laid.bytes
      count++
    }
    return this.#fresh.slice(0, count)
  }

  /** Messages nobody has, when others have nothing to do, or nobody is to get any. */
  #toTakeBack(now: number): string[] {
    const patience = this.#present ? YIELD_AFTER_MS : UNSEEN_YIELD_AFTER_MS
    const before = this.#shut ? Number.POSITIVE_INFINITY : this.#prefetch.othersWait ? now - patience : 0
    const ids: string[] = []
    if (before === 0 || this.#reading.counts.lying === 0) return ids
    for (const laid of this.#outside.values()) if (laid.state === 'lying' && laid.since <= before) ids.push(laid.id)
    return ids
  }

  #overdue(now: number): { id: string; idleMs: number }[] {
    const overdue: { id: string; idleMs: number }[] = []
    if (this.#reading.counts.taken + this.#reading.counts.void === 0) return overdue
    for (const laid of this.#outside.values()) {
      if (laid.state === 'taken' && (laid.worn || laid.deadline <= now))
        overdue.push({ id: laid.id, idleMs: laid.worn ? 0 : laid.termMs })
      else if (laid.state === 'void' && laid.deadline <= now) this.#reading.over([laid])
    }
    return overdue
  }

  #forget(laid: readonly { readonly id: string }[]): void {
    for (const { id } of laid) this.#remove.add(id)
    this.#p.hurry()
  }
}

/** Messages that may be outside at a time; 0: the queue has no door. */
export function prefetchOf({ settings }: WorkQueue): number {
  const { redisWorkers } = settings
  return redisWorkers.enabled ? redisWorkers.prefetch : 0
}
