import { systemRandom } from '../base/random.ts'

const FIRST_MS = 100
const MAX_MS = 5000

/** Pauses between tries while the broker is away: 100 ms, doubling to 5 s, each between half and all of it. */
export class Retry {
  #failures = 0

  succeeded(): void {
    this.#failures = 0
  }

  /** Resolves when it is time to try again, or at once when the signal is aborted. */
  async pause(signal: AbortSignal): Promise<void> {
    const ms = Math.min(MAX_MS, FIRST_MS * 2 ** this.#failures++)
    await sleep(ms * (0.5 + systemRandom.next() / 2), signal)
  }
}

/** Keeps the process alive: a worker whose broker is away is still a worker. */
export function sleep(ms: number, signal: AbortSignal): Promise<void> {
  return new Promise((resolve) => {
    if (signal.aborted) return resolve()
    const done = (): void => {
      clearTimeout(timer)
      signal.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal.addEventListener('abort', done)
  })
}
