import type { Outbound } from './outbound.ts'

/** Places an array may keep for the next turn. */
const ROOM_KEPT = 4096

/** Connections that are written in one turn of those that became dirty in it, and of those left over: some ms each. */
const WRITES_MAX = 512

/**
 * Writes every connection that has something to send once at the end of the event-loop turn: one write per connection
 * and turn, however many packets went into it.
 *
 * A message for ten thousand clients is ten thousand writes. Those beyond `WRITES_MAX` are left for the turns that follow, a part
 * in each, so that whoever has to do with a few clients does not wait for all of them; whoever caused them does (`whenWritten`).
 */
export class Flusher {
  /** Those to write, below `#count`; two arrays take turns and keep their room, so that a turn allocates nothing. */
  #dirty: (Outbound | null)[] = []
  #spare: (Outbound | null)[] = []
  #count = 0
  /** Those left over by earlier turns, from `#lateFrom` on. */
  #late: (Outbound | null)[] = []
  #lateFrom = 0
  /** How many left over ones were written so far. */
  #lateWritten = 0
  /** Whom to tell when `#lateWritten` gets there; those of this turn do not know yet. */
  #waiting: { until: number; readonly done: () => void }[] = []
  #scheduled = false
  /** Turns that had something to write. */
  turn = 0
  readonly #run = (): void => this.flush()

  add(outbound: Outbound): void {
    this.#dirty[this.#count++] = outbound
    this.#schedule()
  }

  /** Calls `done` when everything that is dirty now has been written; not at once. */
  whenWritten(done: () => void): void {
    this.#waiting.push({ until: Number.POSITIVE_INFINITY, done })
    this.#schedule()
  }

  #schedule(): void {
    if (this.#scheduled) return
    this.#scheduled = true
    setImmediate(this.#run)
  }

  flush(): void {
    this.#scheduled = false
    this.turn++
    const dirty = this.#dirty
    const count = this.#count
    this.#dirty = this.#spare
    this.#spare = dirty.length > ROOM_KEPT ? [] : dirty
    this.#count = 0
    const now = Math.min(count, WRITES_MAX)
    write(dirty, 0, now)
    if (this.#late.length > 0) this.#writeLate()
    for (let i = now; i < count; i++) {
      this.#late.push(dirty[i]!)
      dirty[i] = null
    }
    if (this.#late.length > 0) this.#schedule()
    if (this.#waiting.length > 0) this.#tell()
  }

  #tell(): void {
    const waiting = this.#waiting
    const last = this.#lateWritten + this.#late.length - this.#lateFrom
    // In the order in which they came, so that those who do not know yet are at the end.
    for (let i = waiting.length - 1; i >= 0 && waiting[i]!.until > last; i--) waiting[i]!.until = last
    while (waiting.length > 0 && waiting[0]!.until <= this.#lateWritten) waiting.shift()!.done()
  }

  #writeLate(): void {
    const late = this.#late
    const end = Math.min(late.length, this.#lateFrom + WRITES_MAX)
    write(late, this.#lateFrom, end)
    this.#lateWritten += end - this.#lateFrom
    this.#lateFrom = end
    // What has been written is let go of when it is half of the list, or all.
    if (end * 2 < late.length) return
    late.splice(0, end)
    this.#lateFrom = 0
  }
}

function write(outbounds: (Outbound | null)[], from: number, end: number): void {
  for (let i = from; i < end; i++) {
    outbounds[i]!.endTurn()
    // A connection that ends must not be kept by a place that nobody fills again.
    outbounds[i] = null
  }
}
