/** A worker of the simulation: it asks the queue within the process, and dies with its pulls and receipts now and then. */
import type { Delivery } from '../../../src/queue/delivery.ts'
import { decodeMessage } from '../../../src/router/message.ts'
import type { SeededRandom } from '../../support/seeded-random.ts'
import type { LabWorld } from '../lab/world.ts'
import type { Job, QueueBook } from './queue-book.ts'

export class SimWorker {
  readonly #world: LabWorld
  readonly #random: SeededRandom
  readonly #book: QueueBook
  readonly #queue: string
  /** Jobs held, with whether nothing was said about them yet. */
  #jobs: { job: Job; sure: boolean }[] = []
  #pulls = 0
  #life = 0
  #abort: AbortController | null = null
  emptyPulls = 0

  constructor(world: LabWorld, random: SeededRandom, book: QueueBook, queue: string) {
    this.#world = world
    this.#random = random
    this.#book = book
    this.#queue = queue
  }

  get holding(): number {
    return this.#jobs.length
  }
  get pulling(): boolean {
    return this.#pulls > 0
  }

  /** The broker crashed: what was asked of it has no answer. */
  crashed(): void {
    this.#life++
    this.#pulls = 0
    this.#abort = null
  }
  leasesUnsure(): void {
    for (const held of this.#jobs) held.sure = false
  }

  pull(max: number, leaseMs: number, waitMs: number): void {
    if (!this.#world.running || this.pulling) return
    const { queues } = this.#world.life
    const queue = queues.find(this.#queue)
    if (queue === undefined) return
    const life = this.#life
    const abort = new AbortController()
    this.#abort = abort
    this.#pulls++
    queue.pull(max, leaseMs, waitMs, abort.signal).then(
      (deliveries) => {
        if (life !== this.#life) return
        this.#pulls--
        if (abort.signal.aborted && deliveries.length > 0) {
          queue.release(deliveries)
          return
        }
        this.emptyPulls = deliveries.length === 0 ? this.emptyPulls + 1 : 0
        for (const delivery of deliveries) this.#take(queue.idOf(delivery.seq), delivery)
      },
      () => {
        if (life === this.#life) this.#pulls--
      },
    )
  }

  #take(id: string, delivery: Delivery): void {
    const { receipt, attempt, leasedUntil, message } = delivery
    const payload = decodeMessage(message).payload.toString()
    const job: Job = { id: `${this.#queue}/${id}`, payload, receipt, attempt, leasedUntil, deadId: deadIdOf(delivery) }
    this.#book.delivered(job, this.#world.time.now())
    this.#jobs.push({ job, sure: true })
  }

  /** The caller goes away while its pull waits or is being answered. */
  breakPull(): void {
    this.#abort?.abort()
  }

  /** Forgets what it holds: the leases run out. */
  die(): void {
    for (const { job } of this.#jobs) this.#book.note(job, 'its worker died')
    this.#jobs = []
  }

  /** Says something about some of the jobs it holds. */
  work(): void {
    if (!this.#world.running || this.#jobs.length === 0) return
    const count = this.#random.int(1, Math.min(8, this.#jobs.length))
    const from = this.#random.chance(0.7) ? 0 : this.#random.int(0, this.#jobs.length - count)
    const some = this.#jobs.splice(from, count)
    const choice = this.#random.next()
    if (choice < 0.65) this.ack(some)
    else if (choice < 0.8) this.#nack(some, { delayMs: this.#random.pick([0, 50, 400]) })
    else if (choice < 0.86) this.#nack(some, { reject: true })
    else if (choice < 0.93) this.#nack(some, { release: true })
    else this.#extend(some)
  }

  /** Says one thing about the oldest jobs it holds. */
  tell(what: 'ack' | 'nack' | 'reject' | 'release' | 'extend', count: number): void {
    if (!this.#world.running) return
    const some = this.#jobs.splice(0, count)
    if (what === 'ack') this.ack(some)
    else if (what === 'extend') this.#extend(some)
    else this.#nack(some, what === 'nack' ? { delayMs: 50 } : { [what]: true })
  }

  ackAll(): void {
    if (this.#world.running && this.#jobs.length > 0) this.ack(this.#jobs.splice(0))
  }

  ack(some: { job: Job; sure: boolean }[]): void {
    this.#say(
      'ack',
      some,
      (queue) => queue.ack(some.map(({ job }) => job.receipt)),
      (job) => this.#book.acked(job),
    )
  }

  #nack(some: { job: Job; sure: boolean }[], how: { delayMs?: number; reject?: boolean; release?: boolean }): void {
    const what = how.reject ? 'reject' : how.release ? 'release' : `nack ${how.delayMs}`
    const entries = some.map(({ job }) => ({ receipt: job.receipt, reason: 'sim', ...how }))
    this.#say(
      what,
      some,
      (queue) => queue.nack(entries),
      () => {},
    )
  }

  #extend(some: { job: Job; sure: boolean }[]): void {
    const leaseMs = this.#random.int(100, 2000)
    const entries = some.map(({ job }) => ({ receipt: job.receipt, leaseMs }))
    const say = (queue: Queue) => queue.extend(entries)
    this.#say(`extend ${leaseMs}`, some, say, (job, result) => {
      const { leasedUntil = job.leasedUntil } = result as { leasedUntil?: number }
      this.#book.extended(job, leasedUntil)
      this.#jobs.push({ job: { ...job, leasedUntil }, sure: true })
    })
  }

  #say(
    what: string,
    some: { job: Job; sure: boolean }[],
    ask: (queue: Queue) => Promise<{ ok: boolean }[]>,
    ok: (job: Job, result: object) => void,
  ): void {
    const queue = this.#world.life.queues.get(this.#queue)
    const life = this.#life
    for (const { job } of some) this.#book.asked(job, what)
    ask(queue).then(
      (results) => {
        if (life !== this.#life) return
        for (const [i, result] of results.entries()) {
          const { job, sure } = some[i]!
          if (result.ok) ok(job, result)
          else this.#book.lost(job, this.#world.time.now(), sure)
        }
      },
      () => {
        // Whether it counts is not known: the receipt may be good or lost.
        if (life === this.#life) for (const { job } of some) this.#jobs.push({ job, sure: false })
      },
    )
  }
}

type Queue = ReturnType<LabWorld['life']['queues']['get']>

function deadIdOf({ deadLetter }: Delivery): string | null {
  return deadLetter === null ? null : `${deadLetter.queue}/${deadLetter.id}`
}
