import type { Clock } from '../../src/base/clock.ts'

/** A clock moved by hand. */
export class HandClock implements Clock {
  #wall: number
  #monotonic = 0
  #timers: { at: number; fn: () => void }[] = []

  constructor(wall = Date.UTC(2026, 0, 1)) {
    this.#wall = wall
  }

  now(): number {
    return this.#wall
  }
  monotonic(): number {
    return this.#monotonic
  }
  after(ms: number, fn: () => void): () => void {
    // As Node has it: a longer timer would fire at once.
    if (ms > 0x7fffffff) throw new RangeError(`a timer of ${ms} ms`)
    const timer = { at: this.#monotonic + ms, fn }
    this.#timers.push(timer)
    return () => {
      this.#timers = this.#timers.filter((other) => other !== timer)
    }
  }

  /** Time passes; timers fire when theirs comes. */
  advance(ms: number): void {
    const end = this.#monotonic + ms
    for (;;) {
      const next = this.#earliest()
      if (next === undefined || next.at > end) break
      this.#move(Math.max(0, next.at - this.#monotonic))
      this.#fire(next)
    }
    this.#move(end - this.#monotonic)
  }

  /** The machine sleeps: time passes, and timers that were due fire when it wakes up, each once. */
  sleep(ms: number): void {
    this.#move(ms)
    const due = this.#timers.filter(({ at }) => at <= this.#monotonic).sort((a, b) => a.at - b.at)
    for (const timer of due) if (this.#timers.includes(timer)) this.#fire(timer)
  }

  /** Somebody sets the wall clock. */
  step(ms: number): void {
    this.#wall += ms
  }

  #move(ms: number): void {
    this.#monotonic += ms
    this.#wall += ms
  }
  #earliest(): { at: number; fn: () => void } | undefined {
    return this.#timers.reduce<{ at: number; fn: () => void } | undefined>(
      (first, timer) => (first === undefined || timer.at < first.at ? timer : first),
      undefined,
    )
  }
  #fire(timer: { at: number; fn: () => void }): void {
    this.#timers = this.#timers.filter((other) => other !== timer)
    timer.fn()
  }
}
