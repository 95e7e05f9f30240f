import type { Match } from '../router/match.ts'
import type { Connection } from './connection.ts'

/** To more receivers than this a run of QoS 0 packets is not copied in one turn of the event loop. */
export const WIDE_RECEIVERS = 1024

/** Receivers that get their copies in one turn: as many as are written in it, so that output buffers are used again. */
const PART = 512

/** Sends the run to its receivers, a part in each turn. */
export function addWide(c: Connection, match: Match, buf: Buffer, start: number, end: number, count: number): void {
  c.wide ??= new WideCopies(c)
  c.wide.add(match, buf, start, end, count)
}

interface Wide {
  readonly match: Match
  readonly version5: boolean
  /** Memory of its own: what was read is gone in the next turn. */
  readonly bytes: Buffer
  readonly count: number
  /** The receiver that comes next. */
  next: number
}

/**
 * Runs of QoS 0 packets of one publisher on their way to thousands of receivers: a part in each turn of the event loop, so that
 * others do not wait for all of them. Meanwhile the publisher is not read, and its runs go out one after the other
 * [v5 MQTT-4.6.0-6].
 */
export class WideCopies {
  readonly #c: Connection
  #runs: Wide[] = []

  constructor(connection: Connection) {
    this.#c = connection
  }

  /** Takes a copy of `buf[start..end)`. */
  add(match: Match, buf: Buffer, start: number, end: number, count: number): void {
    const bytes = Buffer.from(buf.subarray(start, end))
    this.#runs.push({ match, version5: this.#c.version5, bytes, count, next: 0 })
    if (this.#runs.length > 1) return
    this.#c.hold()
    this.#step()
  }

  /** Copies the rest at once: something follows that must not overtake it. */
  finish(): void {
    for (const run of this.#runs) this.#copy(run, run.match.receivers.length)
  }

  #step(): void {
    const run = this.#runs[0]!
    this.#copy(run, run.next + PART)
    this.#c.core.flusher.whenWritten(() => {
      if (run.next === run.match.receivers.length) this.#runs.shift()
      if (this.#runs.length > 0) this.#step()
      else this.#c.release()
    })
  }

  #copy(run: Wide, until: number): void {
    const { core } = this.#c
    const { match, version5, bytes, count, next } = run
    run.next = Math.min(until, match.receivers.length)
    if (run.next === next) return
    const heldBefore = core.memory.heldBytes
    core.backpressure.publisher = this.#c
    core.router.copy(match, version5, bytes, 0, bytes.length, count, next, run.next)
    core.backpressure.publisher = null
    core.memory.published(this.#c, heldBefore)
  }
}
