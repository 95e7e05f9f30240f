import type { Clock } from '../base/clock.ts'

const TICK_MS = 250

/** Ticks that are made up for at once when the event loop was late. */
const CATCH_UP_TICKS = 4

/** A connection as the watch sees it. */
export interface Watched {
  /** Tick at which the peer was last heard. */
  lastTick: number
  /** Ticks of silence allowed; 0: any. */
  silenceTicks: number
  /** Owned by the watch: the tick at which it is looked at; 0: not watched. */
  dueTick: number
  /** It was silent for too long. */
  silent(): void
}

/** A connection with bytes that the operating system has not taken. */
export interface Stalled {
  /** Bytes taken since the connection opened. */
  readonly takenBytes: number
  /** Bytes it has not taken, looked at anew. */
  unsentBytes(): number
  /** It took nothing for the drain timeout. */
  frozen(): void
}

/**
 * Keep Alive, connect timeouts and frozen readers for all connections with one timer. A connection costs no timer and a
 * packet costs one store: connections hang in the bucket of the tick at which they would be overdue, and move on when
 * they were heard in between.
 */
export class Watch {
  readonly #clock: Clock
  readonly #drainTicks: number
  /** A set, because a connection that is gone must be forgotten at once: its tick may be a day away. */
  readonly #buckets = new Map<number, Set<Watched>>()
  readonly #stalled = new Map<Stalled, { taken: number; sinceTick: number }>()
  #cancel: (() => void) | null = null
  /** Monotonic ms of tick 0. */
  #startedAt: number
  /** Ticks of 250 ms since the watch was made. */
  tick = 1

  constructor(clock: Clock, drainTimeoutMs: number) {
    this.#clock = clock
    this.#drainTicks = Math.ceil(drainTimeoutMs / TICK_MS)
    this.#startedAt = clock.monotonic()
  }

  /** Connections watched. */
  get size(): number {
    let size = 0
    for (const bucket of this.#buckets.values()) size += bucket.size
    return size
  }

  start(): void {
    this.#cancel = this.#clock.after(TICK_MS, () => {
      this.start()
      this.#advance()
    })
  }

  stop(): void {
    this.#cancel?.()
    this.#cancel = null
  }

  /** Watches from now on; silence is counted from the last `touch`. */
  add(watched: Watched, silenceMs: number): void {
    this.remove(watched)
    watched.silenceTicks = Math.ceil(silenceMs / TICK_MS) + 1
    watched.lastTick = this.tick
    this.#hang(watched, this.tick + watched.silenceTicks)
  }

  remove(watched: Watched): void {
    const { dueTick } = watched
    watched.silenceTicks = 0
    watched.dueTick = 0
    const bucket = this.#buckets.get(dueTick)
    if (bucket?.delete(watched) === true && bucket.size === 0) this.#buckets.delete(dueTick)
  }

  stalled(stalled: Stalled): void {
    if (!this.#stalled.has(stalled)) this.#stalled.set(stalled, { taken: stalled.takenBytes, sinceTick: this.tick })
  }

  unstalled(stalled: Stalled): void {
    this.#stalled.delete(stalled)
  }

  /** How long the peer has taken nothing while bytes wait for it, in ms; 0: it takes what there is. */
  stalledForMs(stalled: Stalled): number {
    const since = this.#stalled.get(stalled)
    return since === undefined || since.taken !== stalled.takenBytes ? 0 : (this.tick - since.sinceTick) * TICK_MS
  }

  #hang(watched: Watched, dueTick: number): void {
    watched.dueTick = dueTick
    const bucket = this.#buckets.get(dueTick)
    if (bucket === undefined) this.#buckets.set(dueTick, new Set([watched]))
    else bucket.add(watched)
  }

  #advance(): void {
    // A process or machine that was suspended heard nobody meanwhile: that time does not count, or all its peers would be cut
    // before what they have sent is read.
    const elapsed = this.#clock.monotonic() - this.#startedAt
    const behind = Math.floor(elapsed / TICK_MS) - this.tick
    if (behind > CATCH_UP_TICKS) this.#startedAt += (behind - CATCH_UP_TICKS) * TICK_MS
    const steps = Math.max(1, Math.min(CATCH_UP_TICKS, behind))
    for (let step = 0; step < steps; step++) {
      this.tick++
      this.#lookAt(this.tick)
    }
    for (const [stalled, since] of this.#stalled) this.#check(stalled, since)
  }

  #lookAt(tick: number): void {
    const bucket = this.#buckets.get(tick)
    if (bucket === undefined) return
    this.#buckets.delete(tick)
    for (const watched of bucket) {
      // Watched again since, or no longer: its place is in another bucket or in none.
      if (watched.dueTick !== tick) continue
      const due = watched.lastTick + watched.silenceTicks
      if (due > tick) this.#hang(watched, due)
      else {
        watched.dueTick = 0
        watched.silent()
      }
    }
  }

  #check(stalled: Stalled, since: { taken: number; sinceTick: number }): void {
    if (stalled.unsentBytes() === 0) this.#stalled.delete(stalled)
    else if (stalled.takenBytes !== since.taken) {
      since.taken = stalled.takenBytes
      since.sinceTick = this.tick
    } else if (this.tick - since.sinceTick >= this.#drainTicks) {
      this.#stalled.delete(stalled)
      stalled.frozen()
    }
  }
}
