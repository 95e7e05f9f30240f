import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Lane, LaneTarget } from '../store.ts'
import type { IntakeLimits } from './settings.ts'
import { encodeTerms, type Terms } from './terms.ts'

/** Why a message did not enter although nothing is wrong with it. */
export type DropReason = 'queue_full' | 'duplicate'

/**
 * What a queue says to a message that wants to enter:
 *
 * - `enter`: append it to `targets`, then call `entered`, both in this turn of the event loop.
 * - `drop`: it is taken and not kept: the publisher hears a success.
 * - `hold`: the queue is full and wants the publisher to wait: ask again when `whenRoom` calls.
 * - `refuse`: the publisher hears `error`.
 */
export type Admission =
  | { readonly verdict: 'enter'; readonly targets: readonly LaneTarget[]; readonly id: string | null; entered(): void }
  | { readonly verdict: 'drop'; readonly reason: DropReason }
  | { readonly verdict: 'hold'; readonly intake: Intake }
  | { readonly verdict: 'refuse'; readonly error: SluiceError }

/** Where an intake puts messages. */
export interface IntakeParts {
  readonly name: string
  readonly clock: Clock
  limits: IntakeLimits
  /** The lanes of messages without terms: one for each consumer group. */
  lanes(): readonly Lane[]
  /** The queue that takes what does not fit, when limits say so. */
  overflow(name: string): Intake
}

interface Waiting {
  resume(room: boolean): void
  cancel(): void
}

let generation = 0

/** Changes whenever the lanes behind any intake do: who remembers `plain` targets compares. */
export function intakeGeneration(): number {
  return generation
}

/** Queues that a message passes on its way to one with room. */
const OVERFLOW_HOPS_MAX = 4

const nothing = (): void => {}
const DROPPED_FULL: Admission = { verdict: 'drop', reason: 'queue_full' }

/**
 * The way into a queue: bridge rules, the HTTP API and whatever else brings messages ask here, before anything is
 * written, whether and how a message may enter. Nothing happens to the queue by asking.
 *
 * A plain message, one without terms, enters an `open` intake by appending it to the `plain` targets and needs no more.
 */
export class Intake {
  readonly name: string
  readonly #parts: IntakeParts
  #plain: readonly LaneTarget[] = []
  #waiting: Waiting[] = []

  constructor(parts: IntakeParts) {
    this.name = parts.name
    this.#parts = parts
    this.relink()
  }

  /** Where a plain message goes while the intake is open. The same array until `intakeGeneration` changes. */
  get plain(): readonly LaneTarget[] {
    return this.#plain
  }

  /** True while plain messages may enter without asking. */
  get open(): boolean {
    const { messagesMax, bytesMax } = this.#parts.limits
    const plain = this.#plain
    for (let i = 0; i < plain.length; i++) {
      const lane = plain[i]!.lane
      if (lane.waiting >= messagesMax || lane.waitingBytes >= bytesMax) return false
    }
    return true
  }

  /** The lanes behind it have changed. */
  relink(): void {
    this.#plain = this.#parts.lanes().map((lane) => ({ lane, tag: 0, extra: null }))
    generation++
  }

  /** Decides about one message; `terms` null: a plain one. */
  admit(terms: Terms | null, hops = 0): Admission {
    if (!this.open) return this.#full(terms, hops)
    if (terms === null) return { verdict: 'enter', targets: this.#plain, id: null, entered: nothing }
    const extra = encodeTerms(terms)
    const targets = this.#plain.map(({ lane }) => ({ lane, tag: 0, extra }))
    return { verdict: 'enter', targets, id: null, entered: nothing }
  }

  /**
   * Calls back once: with true when there is room again (ask again: others may have been faster), with false when there
   * was none for `limits.blockMs`. Returns a function that gives up the wait.
   */
  whenRoom(resume: (room: boolean) => void): () => void {
    const leave = (): void => {
      cancel()
      this.#waiting = this.#waiting.filter((other) => other !== waiting)
    }
    const cancel = this.#parts.clock.after(this.#parts.limits.blockMs, () => {
      leave()
      resume(false)
    })
    const waiting: Waiting = { resume, cancel }
    this.#waiting.push(waiting)
    return leave
  }

  /** Something left the queue: those who wait go on, in their order, as long as there is room. */
  left(): void {
    while (this.#waiting.length > 0 && this.open) {
      const first = this.#waiting.shift()!
      first.cancel()
      first.resume(true)
    }
  }

  #full(terms: Terms | null, hops: number): Admission {
    const { whenFull, overflowQueue } = this.#parts.limits
    if (whenFull === 'drop-new') return DROPPED_FULL
    if (whenFull === 'block') return { verdict: 'hold', intake: this }
    if (whenFull === 'overflow' && overflowQueue !== undefined && hops < OVERFLOW_HOPS_MAX)
      return this.#parts.overflow(overflowQueue).admit(terms, hops + 1)
    return { verdict: 'refuse', error: this.fullError() }
  }

  /** What a publisher hears that waited in vain. */
  fullError(): SluiceError {
    return new SluiceError('queue_full', `the queue ${this.name} is full`)
  }
}
