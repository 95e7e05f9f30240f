/** Opens clients a few at a time and resolves when all are ready; the first failure rejects and voids the run. */
import type { ClientWatcher } from './client.ts'

export class Gate {
  /** Rejects with the first failure of any client, at any time during the run; never resolves. */
  readonly failure: Promise<never>
  #reject!: (error: Error) => void
  #closing = false

  constructor() {
    this.failure = new Promise((_resolve, reject) => {
      this.#reject = reject
    })
    // A failure nobody waits for at that moment is seen by the next `race`.
    this.failure.catch(() => {})
  }

  /** From here on lost connections are expected. */
  close(): void {
    this.#closing = true
  }

  /** Calls `open` for 0..count-1, with at most `atOnce` of them not yet ready. */
  openAll(count: number, atOnce: number, open: (index: number, watcher: ClientWatcher) => void): Promise<void> {
    const all = new Promise<void>((resolve) => {
      let opened = 0
      let ready = 0
      const watcher: ClientWatcher = {
        ready: () => {
          ready++
          if (ready === count) resolve()
          else openMore()
        },
        failed: (reason) => {
          if (!this.#closing) this.#reject(new Error(reason))
        },
      }
      const openMore = (): void => {
        while (opened < count && opened - ready < atOnce) open(opened++, watcher)
      }
      if (count === 0) resolve()
      openMore()
    })
    return this.race(all)
  }

  race<T>(promise: Promise<T>): Promise<T> {
    return Promise.race([promise, this.failure])
  }
}
