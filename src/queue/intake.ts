import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { LaneTarget, Store } from '../store.ts'
import { DeduplicationWindow } from './deduplication.ts'
import type { MessageIds } from './message-ids.ts'
import type { WorkQueue } from './queue.ts'
import { Retained } from './retained.ts'
import { RoomWaiters } from './room-waiters.ts'
import { Schedule } from './schedule.ts'
import type { IntakeLimits, QueueSettings } from './settings.ts'
import { type EntryTerms, encodeTerms, PRIORITY_DEFAULT, type Terms } from './terms.ts'

/** Why a message did not enter although nothing is wrong with it. */
export type DropReason = 'queue_full' | 'duplicate'

/**
 * What a queue says to a message that wants to enter:
 *
 * - `enter`: append it to `targets`, then call `entered`, both in this turn of the event loop. `id` null: the message is
 *   known by its place in the queue.
 * - `drop`: it is taken and not kept: the publisher hears a success, after the next commit.
 * - `hold`: the queue is full and wants the publisher to wait: ask again when `whenRoom` calls.
 * - `refuse`: the publisher hears `error`.
 */
export type Admission =
  | { readonly verdict: 'enter'; readonly targets: readonly LaneTarget[]; readonly id: string | null; entered(): void }
  | { readonly verdict: 'drop'; readonly reason: DropReason }
  | { readonly verdict: 'hold'; readonly intake: Intake }
  | { readonly verdict: 'refuse'; readonly error: SluiceError }

export interface IntakeParts {
  readonly name: string
  readonly store: Store
  readonly clock: Clock
  readonly ids: MessageIds
  settings(): QueueSettings
  /** The queue itself and its consumer groups. */
  members(): readonly WorkQueue[]
  /** The queue that takes what does not fit, when the limits say so. */
  overflow(name: string): Intake
  commit(): Promise<void>
  onError(error: unknown): void
}

/** Queues that a message passes on its way to one with room. */
const OVERFLOW_HOPS_MAX = 4

let generation = 0

/** Changes whenever the lanes behind any intake do: who remembers `plain` targets compares. */
export function intakeGeneration(): number {
  return generation
}

const nothing = (): void => {}
const FULL: Admission = { verdict: 'drop', reason: 'queue_full' }
const DUPLICATE: Admission = { verdict: 'drop', reason: 'duplicate' }

/**
 * The way into a queue: bridge rules, the HTTP API and whatever else brings messages ask here, before anything is
 * written, whether and how a message may enter. Nothing happens to the queue by asking.
 *
 * A plain message, one without terms, enters an `open` intake by appending it to the `plain` targets and needs no more.
 */
export class Intake {
  readonly name: string
  readonly schedule: Schedule
  readonly retained: Retained
  readonly window: DeduplicationWindow
  readonly #parts: IntakeParts
  readonly #waiters: RoomWaiters
  #members: readonly WorkQueue[] = []
  #plain: readonly LaneTarget[] = []
  /** Every message is kept for replay. */
  #keeps = false
  /** Looked at for each message: see `relink`. */
  #limits: IntakeLimits

  constructor(parts: IntakeParts) {
    const { name, store, clock, commit, onError } = parts
    this.name = name
    this.#parts = parts
    this.#limits = parts.settings().limits
    this.#waiters = new RoomWaiters(clock)
    this.window = new DeduplicationWindow(name, store, clock, () => parts.settings().deduplication, commit)
    this.retained = new Retained(name, store, clock, () => parts.settings().retention, commit)
    const targets = (terms: EntryTerms): readonly LaneTarget[] => this.targetsOf(terms)
    this.schedule = new Schedule({ queue: name, store, clock, commit, targets, onError })
    this.relink()
  }

  /** Reads what a process before this one left: scheduled messages, remembered keys. */
  async restore(): Promise<void> {
    await this.retained.kept
    await this.window.open()
    await this.schedule.open()
  }

  close(): void {
    this.schedule.close()
    this.#waiters.close()
  }

  /** Where a plain message goes while the intake is open. The same array until `intakeGeneration` changes. */
  get plain(): readonly LaneTarget[] {
    return this.#plain
  }

  /** True while plain messages may enter without asking. */
  get open(): boolean {
    return !this.#keeps && this.hasRoom
  }

  /** No limit is reached. */
  get hasRoom(): boolean {
    const members = this.#members
    for (let i = 0; i < members.length; i++) if (!this.hasRoomIn(members[i]!)) return false
    return true
  }

  /** No limit is reached in this consumer group. */
  hasRoomIn({ waiting, waitingBytes }: WorkQueue): boolean {
    const { messagesMax, bytesMax } = this.#limits
    return waiting + this.schedule.waiting < messagesMax && waitingBytes < bytesMax
  }

  /** The lanes behind it or the settings have changed. */
  relink(): void {
    this.#members = this.#parts.members()
    this.#plain = this.#members.map(({ lane }) => ({ lane, tag: 0, extra: null }))
    const { limits, retention } = this.#parts.settings()
    this.#limits = limits
    this.#keeps = retention.ms > 0
    generation++
    this.left()
  }

  /** Decides about one message; `terms` null: a plain one. */
  admit(terms: Terms | null, hops = 0): Admission {
    const key = terms?.deduplicationKey
    const deduplicates = key !== undefined && this.#parts.settings().deduplication.windowMs > 0
    if (deduplicates && terms?.first !== true && this.window.has(key)) return DUPLICATE
    const crowded = !this.hasRoom
    const full = crowded ? this.#full(terms, hops) : null
    if (full !== null) return full
    if (terms === null && !this.#keeps) return this.#enter(this.#plain, null, null, crowded)
    const id = this.#parts.ids.next()
    const own: EntryTerms = { ...terms, id }
    const due = own.deliverAt !== undefined && own.deliverAt > this.#parts.clock.now()
    const targets = due
      ? [{ lane: this.schedule.laneFor(own.deliverAt!), tag: 0, extra: encodeTerms(own) }]
      : this.targetsOf(own)
    if (this.#keeps) targets.push({ lane: this.retained.lane, tag: 0, extra: encodeTerms(own) })
    return this.#enter(targets, id, deduplicates ? key : null, crowded)
  }

  /**
   * Where a message goes that is in the queue already, or was: no limits, no deduplication.
   * @param only this consumer group; absent: the queue and all its groups
   */
  targetsOf(terms: EntryTerms, only?: WorkQueue): LaneTarget[] {
    const extra = encodeTerms(terms)
    // What has to stay in order stays in one lane.
    const priority = terms.key === undefined ? (terms.priority ?? PRIORITY_DEFAULT) : PRIORITY_DEFAULT
    const members = only === undefined ? this.#members : [only]
    return members.map((member) => ({ lane: member.laneOf(priority), tag: 0, extra }))
  }

  /**
   * Calls back once: with true when there is room again (ask again: others may have been faster), with false when there
   * was none for `limits.blockMs`. Returns a function that gives up the wait.
   */
  whenRoom(resume: (room: boolean) => void): () => void {
    return this.#waiters.wait(this.#parts.settings().limits.blockMs, resume)
  }

  /** Something left the queue: those who wait go on, in their order, as long as there is room. */
  left(): void {
    if (this.#waiters.size > 0) this.#waiters.serve(() => this.hasRoom)
  }

  /** What a publisher hears that waited in vain. */
  fullError(): SluiceError {
    return new SluiceError('queue_full', `the queue ${this.name} is full`)
  }

  #enter(targets: readonly LaneTarget[], id: string | null, key: Buffer | null, crowded: boolean): Admission {
    if (id === null && !crowded) return { verdict: 'enter', targets, id, entered: nothing }
    const entered = (): void => {
      if (key !== null) this.window.add(key)
      if (crowded) for (const member of this.#members) member.makeRoom()
      if (this.#keeps && this.retained.over) this.retained.trim().catch(this.#parts.onError)
    }
    return { verdict: 'enter', targets, id, entered }
  }

  /** Null: it may enter all the same. */
  #full(terms: Terms | null, hops: number): Admission | null {
    const { limits } = this.#parts.settings()
    switch (limits.whenFull) {
      case 'drop-new':
        return FULL
      case 'block':
        return { verdict: 'hold', intake: this }
      case 'drop-oldest': {
        // What is dropped is read first, so the queue is over its limit for a moment, but not without end.
        const { messagesMax, bytesMax } = limits
        const far = this.#members.some(
          ({ waiting, waitingBytes }) => waiting >= 2 * messagesMax + OVER_MAX || waitingBytes >= 2 * bytesMax,
        )
        return far ? FULL : null
      }
      case 'overflow':
        if (limits.overflowQueue !== undefined && hops < OVERFLOW_HOPS_MAX)
          return this.#parts.overflow(limits.overflowQueue).admit(terms, hops + 1)
        return { verdict: 'refuse', error: this.fullError() }
      default:
        return { verdict: 'refuse', error: this.fullError() }
    }
  }
}

/** Messages by which a queue may be over its limit while it drops the oldest, beside twice the limit. */
const OVER_MAX = 10_000
