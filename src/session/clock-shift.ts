import type { SteadyClock } from '../base/steady-clock.ts'
import type { Store } from '../store.ts'

const META = 'clockShift'

/** A difference below this is not worth keeping, in ms. */
const SHIFT_MIN_MS = 60_000
const LOOK_MS = 10_000

export interface ClockShiftContext {
  readonly clock: SteadyClock
  readonly store: Store
  readonly commits: { scheduleLazily(): void }
}

/**
 * Remembers how far broker time was from the wall clock, where somebody set that while the broker ran. The next process
 * starts from the wall clock, and the times in its store are the last one's: a gateway without a battery may have written
 * that its clients left in 1970.
 */
export class ClockShift {
  readonly #c: ClockShiftContext
  #kept = 0
  #cancel: (() => void) | null = null

  constructor(context: ClockShiftContext) {
    this.#c = context
  }

  /** What has to be added to times in the store, in ms. Once: what is written from now on is right. */
  take(): number {
    const { store } = this.#c
    // Where nodes share a store each has a clock of its own.
    if (store.shared !== null) return 0
    const kept = Number(store.meta(META).get(META) ?? 0)
    if (kept !== 0) store.deleteMeta(META)
    return Number.isFinite(kept) ? kept : 0
  }

  start(): void {
    if (this.#c.store.shared !== null) return
    this.#cancel = this.#c.clock.after(LOOK_MS, () => {
      this.#look()
      this.start()
    })
  }

  /** Writes what the next process has to know; a commit follows. */
  stop(): void {
    this.#cancel?.()
  }

  #look(): void {
    const { clock, store, commits } = this.#c
    const shift = Math.abs(clock.shiftMs) < SHIFT_MIN_MS ? 0 : clock.shiftMs
    if (Math.abs(shift - this.#kept) < SHIFT_MIN_MS) return
    this.#kept = shift
    if (shift === 0) store.deleteMeta(META)
    else store.putMeta(META, shift)
    commits.scheduleLazily()
  }
}
