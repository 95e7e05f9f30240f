/**
 * Looks at what opening a large store left out, while it is used: a little at a time, once, from its first key to its last. Damage is
 * told before somebody stumbles over it.
 */
import type { Engine, LookedAt } from './engine.ts'
import type { State } from './state.ts'

/** Time spent at once, and the pause after it, in ms: a twentieth of a processor at most, a GiB in some minutes. */
const SLICE_MS = 1
const PAUSE_MS = 20

export class Examination {
  readonly #engine: Engine
  readonly #state: Pick<State, 'clock' | 'onEvent'>
  readonly #look: (key: Buffer, value: Buffer) => void
  #cancel: (() => void) | null = null
  #from: Buffer = Buffer.alloc(0)
  /** What was wrong there at the last look: told when it still is at the next, a pause later. */
  #doubt: string | null = null
  /** Parts looked at. */
  parts = 0

  /**
   * Parts that are not what they should be are told as `damaged`.
   * @param look looks at a record, and tells what is wrong with it
   */
  constructor(engine: Engine, state: Pick<State, 'clock' | 'onEvent'>, look: (key: Buffer, value: Buffer) => void) {
    this.#engine = engine
    this.#state = state
    this.#look = look
  }

  get running(): boolean {
    return this.#cancel !== null
  }

  /** @param lookedAt each record was looked at when the store opened */
  start(lookedAt: boolean): void {
    if (this.#engine.lookAt === undefined || (lookedAt && this.#engine.wholeAtOpen === true)) return
    this.#later()
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
  }

  #later(): void {
    this.#cancel = this.#state.clock.after(PAUSE_MS, () => {
      this.#cancel = null
      if (this.#slice()) this.#later()
    })
  }

  /** False at the end. */
  #slice(): boolean {
    const { clock, onEvent } = this.#state
    const until = clock.monotonic() + SLICE_MS
    do {
      let seen: LookedAt | null
      try {
        seen = this.#engine.lookAt!(this.#from)
      } catch (error) {
        onEvent({ type: 'damaged', record: `the file: ${error instanceof Error ? error.message : String(error)}` })
        return false
      }
      if (seen === null) return true
      if (seen.fault !== null && seen.fault !== this.#doubt) {
        this.#doubt = seen.fault
        return true
      }
      this.#doubt = null
      this.parts++
      if (seen.fault !== null) onEvent({ type: 'damaged', record: `the file: ${seen.fault}` })
      for (const { key, value } of seen.records) this.#look(key, value)
      // Branches out of order would lead back.
      if (seen.next === null || this.#from.compare(seen.next) >= 0) return false
      this.#from = seen.next
    } while (clock.monotonic() < until)
    return true
  }
}
