import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'

/** One pull that has not been answered. */
export interface Pull<T> {
  readonly max: number
  readonly leaseMs: number
  /** False: it is answered at once, with nothing if nothing is ready. */
  readonly patient: boolean
  /** True once the caller no longer wants messages. */
  readonly aborted: boolean
  /** Its wait was over while it was served. */
  late: boolean
  answer(result: T[]): void
  fail(error: unknown): void
}

/** Pulls in the order in which they came. Each leaves when it is served, its wait is over or its caller goes away. */
export class WaitingPulls<T> {
  readonly #clock: Clock
  readonly #max: number
  #pulls = new Set<Pull<T>>()
  #impatient = 0

  constructor(clock: Clock, max: number) {
    this.#clock = clock
    this.#max = max
  }

  get size(): number {
    return this.#pulls.size
  }

  first(): Pull<T> | undefined {
    for (const pull of this.#pulls) return pull
    return undefined
  }

  /** The caller serves this pull now. */
  remove(pull: Pull<T>): void {
    if (this.#pulls.delete(pull) && !pull.patient) this.#impatient--
  }

  /** What the pull was served with came to nothing: it is the first in line again. */
  putBack(pull: Pull<T>): void {
    if (pull.late || pull.aborted) return pull.answer([])
    this.#pulls = new Set([pull, ...this.#pulls])
    if (!pull.patient) this.#impatient++
  }

  /**
   * @param add called with the new pull, which is already in line
   * @throws SluiceError quota_exceeded when too many pulls wait
   */
  wait(
    max: number,
    leaseMs: number,
    waitMs: number,
    signal: AbortSignal | undefined,
    add: (pull: Pull<T>) => void,
  ): Promise<T[]> {
    if (this.#pulls.size >= this.#max)
      return Promise.reject(
        new SluiceError('quota_exceeded', `${this.#max} pulls wait on this queue (limit pullsWaitingMax)`),
      )
    return new Promise((resolve, reject) => {
      let cancel: (() => void) | null = null
      let left = false
      const leave = (): void => {
        this.remove(pull)
        left = true
        cancel?.()
        signal?.removeEventListener('abort', giveUp)
      }
      const pull: Pull<T> = {
        max,
        leaseMs,
        patient: waitMs > 0,
        late: false,
        get aborted() {
          return signal?.aborted === true
        },
        answer: (result) => {
          leave()
          resolve(result)
        },
        fail: (error) => {
          leave()
          reject(error)
        },
      }
      // A pull that is being served has left the line; its leases are given back by whoever serves it.
      const giveUp = (): void => {
        if (this.#pulls.has(pull)) pull.answer([])
        else pull.late = true
      }
      if (signal?.aborted) return resolve([])
      signal?.addEventListener('abort', giveUp)
      this.#pulls.add(pull)
      if (!pull.patient) this.#impatient++
      add(pull)
      if (waitMs > 0 && !left) cancel = this.#clock.after(waitMs, giveUp)
    })
  }

  /** Answers everybody with nothing. */
  answerAll(): void {
    for (const pull of [...this.#pulls]) pull.answer([])
  }

  /** Answers those with nothing that do not want to wait. */
  answerImpatient(): void {
    if (this.#impatient === 0) return
    for (const pull of [...this.#pulls]) if (!pull.patient) pull.answer([])
  }
}
