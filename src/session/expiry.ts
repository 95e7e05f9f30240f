import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { SessionRecord } from '../store.ts'
import type { Session } from './session.ts'

/** Session Expiry Interval that never ends ([v5 3.1.2.11.2]). */
export const NEVER = 0xffffffff

/** How often sessions without a connection are looked at for expiry, in ms. */
const SWEEP_MS = 1000
/** Up to this many sessions all are looked at each time; of more, so many that a round takes a minute. */
const ALL_MAX = 10_000
const ROUND_SWEEPS = 60

/**
 * When persistent sessions without a connection end ([v5 3.1.2.11.2]). There may be millions: nothing is kept for each. They
 * are gone through in turn, so that of a million one ends about a minute late at most; who comes back meanwhile finds `isOver`.
 */
export class Expiry {
  readonly #clock: Clock
  readonly #sessions: ReadonlyMap<string, Session>
  readonly #over: (session: Session) => void
  readonly #leftOut = new Set<Session>()
  #turn: Iterator<Session>
  #cancel: (() => void) | null = null

  /** @param over called once for a session whose time is over; it is to be gone from `sessions` afterwards */
  constructor(clock: Clock, sessions: ReadonlyMap<string, Session>, over: (session: Session) => void) {
    this.#clock = clock
    this.#sessions = sessions
    this.#over = over
    this.#turn = sessions.values()
  }

  start(): void {
    this.#cancel = this.#clock.after(SWEEP_MS, () => {
      this.#sweep()
      this.start()
    })
  }

  stop(): void {
    this.#cancel?.()
  }

  isOver(session: Session): boolean {
    return isOver(session, this.#clock.now())
  }

  /** Its end is being settled: it is not told again until `takeIn`. */
  leaveOut(session: Session): void {
    this.#leftOut.add(session)
  }

  takeIn(session: Session): void {
    this.#leftOut.delete(session)
  }

  #sweep(): void {
    const { size } = this.#sessions
    const now = this.#clock.now()
    for (let left = Math.min(size, Math.max(ALL_MAX, Math.ceil(size / ROUND_SWEEPS))); left > 0; left--) {
      let next = this.#turn.next()
      if (next.done) {
        this.#turn = this.#sessions.values()
        next = this.#turn.next()
        if (next.done) return
      }
      const session = next.value
      if (isOver(session, now) && !this.#leftOut.has(session)) attempt(() => this.#over(session))
    }
  }
}

function isOver(session: Session, now: number): boolean {
  return session.kept && session.owner === null && session.disconnectedAt !== 0 && isExpired(session, now)
}

/** False when the store cannot be asked now, which it reports itself: the next sweep tries again. */
export function attempt(act: () => void): boolean {
  try {
    act()
    return true
  } catch (error) {
    if (error instanceof SluiceError && error.kind === 'dependency') return false
    throw error
  }
}

/** True when a stored session's time was over at `now`. */
export function isExpired(record: Pick<SessionRecord, 'expirySeconds' | 'disconnectedAt'>, now: number): boolean {
  return record.expirySeconds !== NEVER && record.disconnectedAt + record.expirySeconds * 1000 <= now
}
