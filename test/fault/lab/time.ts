/** The time of the lab: it stands still until it is moved, and a crash takes the timers of a process with it. */
import type { Clock } from '../../../src/base/clock.ts'

interface Timer {
  readonly at: number
  readonly order: number
  readonly fn: () => void
}

/** Ahead of every clock in the lab. Timers of the same moment fire in the order in which they were set. */
export class LabTime {
  #wall = Date.UTC(2026, 10, 20)
  #monotonic = 1000
  #timers: Timer[] = []
  #orders = 0
  /** Timers fired so far. */
  fired = 0

  now(): number {
    return this.#wall
  }

  monotonic(): number {
    return this.#monotonic
  }

  after(ms: number, fn: () => void): () => void {
    const timer = { at: this.#monotonic + Math.max(0, ms), order: this.#orders++, fn }
    let i = this.#timers.length
    while (i > 0 && this.#timers[i - 1]!.at > timer.at) i--
    this.#timers.splice(i, 0, timer)
    return () => {
      const at = this.#timers.indexOf(timer)
      if (at >= 0) this.#timers.splice(at, 1)
    }
  }

  /** Fires what is due within `ms`. Event-loop turns are the caller's business. */
  advance(ms: number): void {
    const end = this.#monotonic + ms
    for (let next = this.#timers[0]; next !== undefined && next.at <= end; next = this.#timers[0]) {
      this.#timers.shift()
      this.#wall += next.at - this.#monotonic
      this.#monotonic = next.at
      this.fired++
      next.fn()
    }
    this.#wall += end - this.#monotonic
    this.#monotonic = end
  }
}

/** The clock of one process. */
export class LifeClock implements Clock {
  readonly #time: LabTime
  #alive = true

  constructor(time: LabTime) {
    this.#time = time
  }

  now(): number {
    return this.#time.now()
  }

  monotonic(): number {
    return this.#time.monotonic()
  }

  after(ms: number, fn: () => void): () => void {
    return this.#time.after(ms, () => {
      if (this.#alive) fn()
    })
  }

  /** The process is gone: no timer of it fires any more. */
  stop(): void {
    this.#alive = false
  }
}
