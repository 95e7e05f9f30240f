/** Time, injected. Nothing outside this file reads the machine's clocks. */
export interface Clock {
  /** Wall clock, ms since 1970. May step. */
  now(): number
  /** Monotonic ms; only differences mean anything. */
  monotonic(): number
  /** Calls `fn` once after `ms`. Returns a function that cancels. Does not keep the process alive. */
  after(ms: number, fn: () => void): () => void
}

export const systemClock: Clock = {
  now: () => Date.now(),
  monotonic: () => performance.now(),
  after(ms, fn) {
    const timer = setTimeout(fn, ms)
    timer.unref()
    return () => clearTimeout(timer)
  },
}

/** Waits, and keeps the process alive meanwhile: for commands. */
export function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => {
    setTimeout(resolve, ms)
  })
}
