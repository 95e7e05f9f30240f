import type { Clock } from '../base/clock.ts'

interface Waiting {
  resume(room: boolean): void
  cancel(): void
}

/** Publishers that wait until a full queue has room, in the order in which they came; each for a bounded time. */
export class RoomWaiters {
  readonly #clock: Clock
  readonly #waiting = new Set<Waiting>()

  constructor(clock: Clock) {
    this.#clock = clock
  }

  get size(): number {
    return this.#waiting.size
  }

  /** Calls `resume` once. Returns a function that gives up the wait. */
  wait(ms: number, resume: (room: boolean) => void): () => void {
    const leave = (): void => {
      waiting.cancel()
      this.#waiting.delete(waiting)
    }
    const cancel = this.#clock.after(ms, () => {
      leave()
      resume(false)
    })
    const waiting: Waiting = { resume, cancel }
    this.#waiting.add(waiting)
    return leave
  }

  /** Lets them go on while there is room. */
  serve(room: () => boolean): void {
    for (const waiting of this.#waiting) {
      if (!room()) return
      waiting.cancel()
      this.#waiting.delete(waiting)
      waiting.resume(true)
    }
  }

  /** Nobody waits any longer: there is no room, and will be none. */
  close(): void {
    for (const waiting of this.#waiting) {
      waiting.cancel()
      this.#waiting.delete(waiting)
      waiting.resume(false)
    }
  }
}
