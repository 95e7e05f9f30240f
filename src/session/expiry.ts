import type { Clock } from '../base/clock.ts'
import type { SessionRecord } from '../store.ts'
import type { Session } from './session.ts'

/** Session Expiry Interval that never ends ([v5 3.1.2.11.2]). */
export const NEVER = 0xffffffff

/** How often sessions without a connection are looked at for expiry, in ms. */
const SWEEP_MS = 1000

/** When persistent sessions without a connection end ([v5 3.1.2.11.2]): one timer for all. */
export class Expiry {
  readonly #clock: Clock
  readonly #over: (session: Session) => void
  /** By the wall clock ms at which they expire. */
  readonly #at = new Map<Session, number>()
  #cancel: (() => void) | null = null

  /** @param over called once for a session whose time is over */
  constructor(clock: Clock, over: (session: Session) => void) {
    this.#clock = clock
    this.#over = over
  }

  start(): void {
    this.#cancel = this.#clock.after(SWEEP_MS, () => {
      const now = this.#clock.now()
      for (const [session, at] of this.#at) if (at <= now) this.#over(session)
      this.start()
    })
  }

  stop(): void {
    this.#cancel?.()
  }

  /** The session waits for its client from `disconnectedAt` on. */
  watch(session: Session): void {
    if (session.expirySeconds !== NEVER) this.#at.set(session, session.disconnectedAt + session.expirySeconds * 1000)
    else this.#at.delete(session)
  }

  forget(session: Session): void {
    this.#at.delete(session)
  }

  isOver(session: Session): boolean {
    return (this.#at.get(session) ?? Number.POSITIVE_INFINITY) <= this.#clock.now()
  }
}

/** True when a stored session's time was over at `now`. */
export function isExpired(record: SessionRecord, now: number): boolean {
  return record.expirySeconds !== NEVER && record.disconnectedAt + record.expirySeconds * 1000 <= now
}
