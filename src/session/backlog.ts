import type { Chunk, Lane, Store } from '../store.ts'

/**
 * Reads what a persistent session still has to deliver, in order, from its lane. A chunk that was just committed is
 * taken from memory when the session has delivered everything before it; otherwise chunks are read one at a time when
 * the cursor gets there.
 *
 *     unknown ──peek──▶ reading ──chunk──▶ in a chunk ──its end──▶ reading … ──nothing──▶ caught up
 *                                              ▲                                            │
 *                                              └──────────────── committed ─────────────────┘
 */
export class Backlog {
  readonly lane: Lane
  readonly #store: Store
  readonly #ready: () => void
  readonly #later: (again: () => void) => void
  #chunk: Chunk | null = null
  #index = 0
  /** The next sequence number to look at. */
  #cursor = 1
  #reading = false
  /** Everything committed has been looked at: the next chunk to be committed follows. */
  #caughtUp = false
  /** Nothing was committed after the chunk in use or the read under way. */
  #newest = false
  /** Raised when the cursor moves back, so that a read that was under way is recognised as stale. */
  #epoch = 0

  /**
   * @param ready called when an entry may have become available after `peek` returned false
   * @param later called with what is to be tried again in a while
   */
  constructor(store: Store, lane: Lane, ready: () => void, later: (again: () => void) => void) {
    this.#store = store
    this.lane = lane
    this.#ready = ready
    this.#later = later
  }

  /** Sequence number of the entry `peek` found. */
  get seq(): number {
    return this.#cursor
  }
  get message(): Buffer {
    return this.#chunk!.message(this.#index)
  }
  get tag(): number {
    return this.#chunk!.tags[this.#index]!
  }
  get extra(): Buffer | null {
    return this.#chunk!.extras === null ? null : this.#chunk!.extras[this.#index]!
  }
  get marked(): boolean {
    return this.#chunk!.markOf(this.#index) !== undefined
  }

  /** True when an entry is at hand. False: caught up, or a read was started and `ready` will be called. */
  peek(): boolean {
    const chunk = this.#chunk
    if (chunk !== null) {
      while (this.#index < chunk.count) {
        if (!chunk.isSettled(this.#index)) return true
        this.#index++
        this.#cursor++
      }
      this.#chunk = null
      this.#caughtUp = this.#newest
    }
    if (!this.#caughtUp && !this.#reading) this.#read()
    return false
  }

  /** Goes past the entry that `peek` found. */
  next(): void {
    this.#index++
    this.#cursor++
  }

  /** Starts again from the oldest entry not settled: a new connection serves the session. */
  rewind(): void {
    this.release()
    this.#cursor = 1
  }

  /** Lets go of what is in memory: no connection serves the session. */
  release(): void {
    this.#epoch++
    this.#reading = false
    this.#chunk = null
    this.#caughtUp = false
  }

  /** The store committed a chunk. */
  committed(chunk: Chunk): void {
    if (this.#caughtUp) {
      this.#caughtUp = false
      this.#use(chunk)
      this.#newest = true
    } else {
      this.#newest = false
    }
  }

  #use(chunk: Chunk): void {
    this.#chunk = chunk
    this.#cursor = Math.max(this.#cursor, chunk.firstSeq)
    this.#index = this.#cursor - chunk.firstSeq
  }

  #read(): void {
    this.#reading = true
    this.#newest = true
    const epoch = this.#epoch
    this.#store.read(this.lane, this.#cursor).then(
      (chunk) => {
        if (epoch !== this.#epoch) return
        this.#reading = false
        if (chunk !== null) {
          this.#newest = false
          this.#use(chunk)
        } else {
          this.#caughtUp = this.#newest
        }
        this.#ready()
      },
      () => {
        // The store reports its own failures.
        this.#later(() => {
          if (epoch !== this.#epoch) return
          this.#reading = false
          this.#ready()
        })
      },
    )
  }
}
