/** Removes dropped lanes piece by piece, so that no step is as long as a lane. */
import type { Link } from './link.ts'
import type { State } from './state.ts'

const PIECE = 500
const PAUSE_MS = 2
const RETRY_MS = 1000

export class Sweeper {
  readonly #state: State
  readonly #link: Link
  #cancel: (() => void) | null = null
  #closed = false
  #removed = 0

  constructor(state: State, link: Link) {
    this.#state = state
    this.#link = link
  }

  start(): void {
    if (this.#cancel !== null || this.#closed) return
    this.#later(PAUSE_MS)
  }

  close(): void {
    this.#closed = true
    this.#cancel?.()
  }

  /** Removes all dropped lanes now. */
  async finish(): Promise<void> {
    while ((await this.#step()) > 0);
  }

  #later(ms: number): void {
    this.#cancel = this.#state.clock.after(ms, () => {
      this.#step().then(
        (left) => {
          this.#cancel = null
          if (left > 0) this.start()
        },
        () => {
          if (!this.#closed) this.#later(RETRY_MS)
        },
      )
    })
  }

  async #step(): Promise<number> {
    const { keys } = this.#state
    const reply = (await this.#link.run('sweep', keys.doomed, keys.prefix, PIECE)) as number[]
    const [removed, left, gone] = reply
    this.#removed += removed!
    if (gone === 1) {
      this.#state.onEvent({ type: 'lane-removed', chunks: this.#removed })
      this.#removed = 0
    }
    return left!
  }
}
