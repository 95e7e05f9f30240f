/**
 * Removes what dropped lanes leave behind, a slice with each commit, so that dropping a lane of any size takes no time.
 * The lane's number stands in the table `doomed` from the commit that drops it until nothing of it is left; a restart in
 * between goes on from there.
 */
import { chunkSegmentIds } from './formats.ts'
import type { Group } from './group.ts'
import { chunkKeyHasRefs, keySeq, laneRange, seqKey, table } from './keys.ts'
import type { State } from './state.ts'

/** Chunks, and marks, removed with one commit at most. */
const SLICE_CHUNKS = 128
const SLICE_MARKS = 1000
const SLICE_MS = 2

interface Doomed {
  id: number
  /** Everything of the chunk table below it has been handed to a group. */
  chunksFrom: Buffer
  chunksEnd: Buffer
  marksFrom: Buffer
  marksEnd: Buffer
  chunks: number
}

export class Sweeper {
  readonly #state: State
  readonly #doomed: Doomed[] = []

  constructor(state: State) {
    this.#state = state
  }

  get busy(): boolean {
    return this.#doomed.length > 0
  }

  /** Takes on lanes whose entry in `doomed` is durable: nothing is added to their chunks any more. */
  add(ids: readonly number[]): void {
    if (ids.length > 0) this.#state.sweeping = true
    for (const id of ids) {
      const chunks = laneRange(table.chunk, id)
      const marks = laneRange(table.mark, id)
      this.#doomed.push({
        id,
        chunksFrom: chunks.start,
        chunksEnd: chunks.end,
        marksFrom: marks.start,
        marksEnd: marks.end,
        chunks: 0,
      })
    }
  }

  /** Adds the removal of the next slice to the group. */
  sweep(group: Group): void {
    const { clock } = this.#state
    const until = clock.monotonic() + SLICE_MS
    let chunks = SLICE_CHUNKS
    while (this.#doomed.length > 0 && chunks > 0 && clock.monotonic() < until) {
      const lane = this.#doomed[0]!
      group.touched = true
      const swept = this.#sweepChunks(lane, group, chunks, until)
      chunks -= swept
      if (swept > 0) continue
      if (this.#sweepMarks(lane, group)) return
      group.undoomed.push({ id: lane.id, chunks: lane.chunks })
      this.#doomed.shift()
      this.#state.sweeping = this.#doomed.length > 0
    }
  }

  #sweepChunks(lane: Doomed, group: Group, limit: number, until: number): number {
    const { engine, segments, clock } = this.#state
    const keys = engine.keys(lane.chunksFrom, lane.chunksEnd, limit)
    let swept = 0
    for (const key of keys) {
      if (chunkKeyHasRefs(key)) {
        const value = engine.get(key)
        for (const id of value === undefined ? [] : chunkSegmentIds(value)) {
          const segment = segments.counted(id)
          if (segment === undefined) continue
          segment.refs--
          group.count(segment)
        }
      }
      group.removedKeys.push(key, seqKey(table.settled, lane.id, keySeq(key)))
      lane.chunksFrom = next(key)
      lane.chunks++
      swept++
      if (clock.monotonic() >= until) break
    }
    return swept
  }

  /** True when there were marks to remove. */
  #sweepMarks(lane: Doomed, group: Group): boolean {
    const keys = this.#state.engine.keys(lane.marksFrom, lane.marksEnd, SLICE_MARKS)
    const last = keys.at(-1)
    if (last === undefined) return false
    group.removedKeys.push(...keys)
    lane.marksFrom = next(last)
    return true
  }
}

/** The smallest key after `key`. */
function next(key: Buffer): Buffer {
  return Buffer.concat([key, Buffer.from([0])])
}
