import type { Clock } from './clock.ts'

/** How fast a difference to the wall clock is made up: so much of the time that passes. */
const SLEW = 0.02

/** Broker time, and how far the wall clock is ahead of it. */
export interface SteadyClock extends Clock {
  /** ms that the wall clock is ahead; negative: behind. */
  readonly shiftMs: number
}

/**
 * A clock whose `now` starts at the wall clock's time and goes on with the monotonic one, so that what is measured with it
 * (expiry, delays, ages) does not end at once, or never, because somebody set the wall clock. It approaches the wall clock
 * again by a fiftieth of the time that passes, and never goes back.
 */
export function steadyClock(clock: Clock): SteadyClock {
  let time = clock.now()
  let at = clock.monotonic()
  const now = (): number => {
    const monotonic = clock.monotonic()
    const passed = Math.max(0, monotonic - at)
    at = monotonic
    time += passed
    const shift = clock.now() - time
    const most = passed * SLEW
    time += shift > most ? most : shift < -most ? -most : shift
    return Math.floor(time)
  }
  return {
    now,
    monotonic: () => clock.monotonic(),
    after: (ms, fn) => clock.after(ms, fn),
    get shiftMs() {
      return clock.now() - now()
    },
  }
}
