import type { Clock } from '../base/clock.ts'
import type { DoorAnswer, DoorOrder, DoorReport } from '../door.ts'
import type { WorkQueue } from '../queue/queue.ts'
import type { NackEntry } from '../queue/requests.ts'
import { Laid } from './laid.ts'
import type { Settlements } from './settlements.ts'

export interface ReadingParts {
  readonly queue: WorkQueue
  readonly clock: Clock
  readonly graceMs: number
  readonly outside: Map<string, Laid>
  readonly settlements: Settlements
  leaseMs(): number
  /** These are settled: the place may forget them. */
  forget(laid: readonly { readonly id: string }[]): void
  /** The answer of this id has been dealt with, and that is durable. */
  answered(id: string): void
}

/** What reports say about the messages outside, and what follows for the queue. */
export class Reading {
  /** How many lie outside for whoever comes, and are with workers; and the bytes of all of them. */
  readonly counts = { lying: 0, taken: 0, void: 0, bytes: 0 }
  mark = ''
  answersAfter = ''
  /** Messages that the last report brought in again. */
  cameBack = 0
  readonly #p: ReadingParts
  #names: ReadonlySet<string> = new Set()
  /** Answers that are on their way into the queue. */
  readonly #handling = new Set<string>()
  /** What orders without a report may have taken out. */
  readonly #maybeBack = new Set<string>()
  readonly #maybeOver = new Set<string>()
  #report = 0

  constructor(parts: ReadingParts) {
    this.#p = parts
  }

  /** It is open whether this has been done. */
  unsure({ takeBack, overdue }: DoorOrder): void {
    for (const id of takeBack) this.#maybeBack.add(id)
    for (const { id } of overdue) this.#maybeOver.add(id)
    this.answersAfter = ''
    this.mark = ''
  }

  /** Somebody removed the place, and with it who has what. Nobody else gets what a worker may still work on. */
  made(): void {
    const { outside, settlements } = this.#p
    const lying: Laid[] = []
    for (const laid of outside.values()) {
      if (laid.state === 'taken') laid.state = 'void'
      else if (laid.state !== 'void') outside.delete(laid.id)
      if (laid.state === 'lying') lying.push(laid)
    }
    settlements.release(receiptsOf(lying), () => {})
    this.answersAfter = ''
    this.#names = new Set()
  }

  /**
   * Compares everything that lies there with what is known.
   * @param fresh may have been laid by an order whose report was lost
   * @returns what of it was not
   */
  survey({ lying, held, lastTaken, answers }: DoorReport, fresh: readonly Laid[]): Laid[] {
    const { outside, settlements, forget } = this.#p
    const heldIds = new Set((held ?? []).map(({ id }) => id))
    const there = new Set<string>()
    const unlaid = new Map(fresh.map((laid) => [laid.receipt, laid]))
    const known = new Set(receiptsOf([...outside.values()]))
    const late: Lying[] = []
    for (const { id, receipt } of lying ?? []) {
      there.add(id)
      if (outside.has(id)) continue
      const laid = unlaid.get(receipt) ?? (known.has(receipt) ? null : this.#adopt(receipt))
      unlaid.delete(receipt)
      if (laid !== null) {
        laid.laid(id)
        outside.set(id, laid)
        known.add(receipt)
      } else late.push({ id, receipt })
    }
    this.#absent(there, heldIds, lastTaken)
    // Their leases are over; what workers have done all the same counts, if nobody else has got it since.
    const spoken = new Set([...heldIds, ...answers.map(({ of }) => of)])
    const isDone = ({ id, receipt }: Lying): boolean => receipt !== '' && !spoken.has(id) && !isAfter(id, lastTaken)
    const done = late.filter(isDone)
    settlements.ack(receiptsOf(done), () => forget(done))
    forget(late.filter((each) => !isDone(each)))
    return [...unlaid.values()]
  }

  /** @returns whether anything happened */
  read(report: DoorReport): boolean {
    const { outside, settlements } = this.#p
    this.#report++
    const before = this.mark
    this.#answers(report.answers)
    const back = this.#out(report.takenBack)
    settlements.release(receiptsOf(back), () => {})
    this.cameBack = back.length
    this.#overdue(this.#out(report.overdue))
    const done = report.held === null ? [] : this.#held(report)
    this.#extensions(report.answers)
    if (report.workerNames !== null) this.#names = new Set(report.workerNames)
    this.mark = report.mark
    this.counts.lying = 0
    this.counts.taken = 0
    this.counts.void = 0
    this.counts.bytes = 0
    for (const { state, bytes } of outside.values()) {
      this.counts.bytes += bytes
      if (state === 'lying' || state === 'taken' || state === 'void') this.counts[state]++
    }
    return (
      report.answers.length > 0 || done.length > 0 || (before !== '' && report.held !== null && report.mark !== before)
    )
  }

  /** Nobody spoke for these in time. */
  over(laid: readonly Laid[]): void {
    for (const { id } of laid) this.#p.outside.delete(id)
    this.#p.settlements.over(receiptsOf(laid), () => {})
  }

  #overdue(laid: readonly Laid[]): void {
    this.over(laid.filter(({ worn }) => !worn))
    const worn = laid.filter((each) => each.worn)
    const reason = 'handed from worker to worker without an end'
    const entries = worn.map(({ receipt }) => ({ receipt, reject: true, reason }))
    this.#p.settlements.nack(entries, () => {})
  }

  #out(ids: readonly string[]): Laid[] {
    const out: Laid[] = []
    for (const id of ids) {
      const laid = this.#p.outside.get(id)
      if (laid === undefined) continue
      this.#p.outside.delete(id)
      out.push(laid)
    }
    return out
  }

  #adopt(receipt: string): Laid | null {
    const { queue, clock, graceMs } = this.#p
    const held = queue.held(receipt)
    if (held === null) return null
    const now = clock.monotonic()
    const laid = new Laid(receipt, held.attempt, null, now + held.until - clock.now(), now)
    laid.grantedUntil = laid.heldUntil - graceMs
    return laid
  }

  /** What was outside and is neither there nor with a worker. */
  #absent(there: ReadonlySet<string>, held: ReadonlySet<string>, lastTaken: string): void {
    const { outside, settlements } = this.#p
    const back: Laid[] = []
    const over: Laid[] = []
    const done: Laid[] = []
    for (const laid of outside.values()) {
      const { id, state } = laid
      if (there.has(id) || held.has(id) || state === 'void') continue
      outside.delete(id)
      if (state === 'ending') continue
      if (this.#maybeOver.has(id)) over.push(laid)
      else if (this.#maybeBack.has(id) || laid.isAfter(lastTaken)) back.push(laid)
      // A worker removed it itself.
      else done.push(laid)
    }
    this.#maybeBack.clear()
    this.#maybeOver.clear()
    settlements.release(receiptsOf(back), () => {})
    settlements.ack(receiptsOf(done), () => {})
    this.over(over)
  }

  /** Who has what. Whatever was taken and nobody has any more is done. */
  #held({ held, lastTaken, workerNames, forgotten }: DoorReport): Laid[] {
    const { outside, clock, settlements, forget, queue } = this.#p
    const now = clock.monotonic()
    const leaseMs = this.#p.leaseMs()
    const { maxAttempts } = queue.settings
    for (const { id, worker, idleMs, times } of held!) {
      const laid = outside.get(id)
      if (laid === undefined) forget([{ id }])
      else if (laid.state === 'lying' || laid.state === 'taken') {
        laid.taken(worker, now - idleMs, leaseMs)
        laid.worn = laid.attempt + times - 1 > maxAttempts
        laid.seenIn = this.#report
      }
    }
    const removed =
      workerNames === null
        ? []
        : [...this.#names].filter((name) => !workerNames.includes(name) && !forgotten.includes(name))
    const done: Laid[] = []
    for (const laid of outside.values()) {
      if ((laid.state !== 'lying' && laid.state !== 'taken') || laid.seenIn === this.#report) continue
      if (laid.isAfter(lastTaken)) continue
      if (removed.length > 0 && (laid.worker === '' || removed.includes(laid.worker))) {
        // Its worker was removed, which may be why nobody has it.
        if (laid.worker === '') laid.taken('?', now, leaseMs)
        laid.state = 'void'
        forget([laid])
      } else {
        laid.state = 'ending'
        done.push(laid)
      }
    }
    settlements.ack(receiptsOf(done), () => forget(done))
    return done
  }

  #extensions(answers: readonly DoorAnswer[]): void {
    const { outside, clock } = this.#p
    for (const { of, says, ms } of answers) {
      const laid = says === 'extend' ? outside.get(of) : undefined
      if (laid === undefined) continue
      laid.takenAt = clock.monotonic()
      laid.termMs = ms ?? this.#p.leaseMs()
    }
  }

  #answers(answers: readonly DoorAnswer[]): void {
    const { outside, settlements, forget, answered } = this.#p
    const entries: NackEntry[] = []
    const ids: string[] = []
    const ended: Laid[] = []
    for (const { id, of, says, ms, reason } of answers) {
      this.answersAfter = id
      if (says === 'extend') continue
      const laid = outside.get(of)
      if (laid !== undefined && laid.state !== 'ending') {
        laid.state = 'ending'
        ended.push(laid)
        ids.push(id)
        this.#handling.add(id)
        const { receipt } = laid
        const how = says === 'reject' ? { reject: true } : says === 'release' ? { release: true } : {}
        entries.push({
          receipt,
          ...how,
          ...(ms !== undefined && { delayMs: ms }),
          ...(reason !== undefined && { reason }),
        })
      } else if (!this.#handling.has(id)) answered(id)
    }
    settlements.nack(entries, () => {
      forget(ended)
      for (const id of ids) {
        this.#handling.delete(id)
        answered(id)
      }
    })
  }
}

type Lying = NonNullable<DoorReport['lying']>[number]

function receiptsOf(all: readonly { readonly receipt: string }[]): string[] {
  return all.map(({ receipt }) => receipt)
}

function isAfter(id: string, other: string): boolean {
  const [ms, n] = id.split('-').map(Number) as [number, number]
  const [otherMs, otherN] = other.split('-').map(Number) as [number, number]
  return ms > otherMs || (ms === otherMs && n > otherN)
}
