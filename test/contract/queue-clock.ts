import type { Clock } from '../../src/base/clock.ts'

interface Timer {
  at: number
  fn: () => void
}

/** A clock that stands still until it is moved. Timers fire in order of time while it moves. */
export class ManualClock implements Clock {
  #wall = Date.UTC(2026, 10, 20)
  #monotonic = 1000
  #timers: Timer[] = []

  now(): number {
    return this.#wall
  }

  monotonic(): number {
    return this.#monotonic
  }

  after(ms: number, fn: () => void): () => void {
    const timer = { at: this.#monotonic + ms, fn }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  get timers(): number {
    return this.#timers.length
  }

  advance(ms: number): void {
    const end = this.#monotonic + ms
    for (;;) {
      const next = this.#timers.filter(({ at }) => at <= end).sort((a, b) => a.at - b.at)[0]
      if (next === undefined) break
      this.#timers = this.#timers.filter((other) => other !== next)
      this.#wall += next.at - this.#monotonic
      this.#monotonic = next.at
      next.fn()
    }
    this.#wall += end - this.#monotonic
    this.#monotonic = end
  }

  /** The process whose timers these were is gone. */
  forget(): void {
    this.#timers = []
  }

  /** Somebody sets the machine's clock. */
  stepWall(ms: number): void {
    this.#wall += ms
  }
}
