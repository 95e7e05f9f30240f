/** What the keys of a lane say, before any of its chunks is read. */
import type { Engine } from './engine.ts'
import { settledBytes, settledCount } from './formats.ts'
import { chunkKeyBytes, chunkKeyCount, keySeq, laneRange, table } from './keys.ts'
import { entriesIn, keysIn } from './slices.ts'

export interface LaneCount {
  /** Entries that wait, and bytes of their bodies. */
  readonly entries: number
  readonly bytes: number
  /** Every chunk, damaged ones too, ends before: a number once given is not given again. */
  readonly endSeq: number
  /** No record of what is settled begins here or later. */
  readonly settledEnd: number
}

/** Counts what waits in a lane, without what is known to be damaged. */
export function countLane(engine: Engine, laneId: number): LaneCount {
  const settled = entriesIn(engine, laneRange(table.settled, laneId))
  let done = settled.next()
  let settledEnd = 0
  let entries = 0
  let bytes = 0
  let endSeq = 0
  /** The last chunk that was counted, and what it added. */
  let last: Buffer | null = null
  let lastEntries = 0
  let lastBytes = 0
  for (const key of keysIn(engine, laneRange(table.chunk, laneId))) {
    const seq = keySeq(key)
    endSeq = Math.max(endSeq, seq + chunkKeyCount(key))
    if (last !== null && seq < keySeq(last) + chunkKeyCount(last)) {
      // Two keys that claim the same entries: one is not what was written.
      engine.get(last)
      engine.get(key)
      if (engine.isDamaged?.(last)) {
        entries -= lastEntries
        bytes -= lastBytes
      }
    }
    if (engine.isDamaged?.(key)) continue
    for (; !done.done && keySeq(done.value.key) < seq; done = settled.next()) settledEnd = keySeq(done.value.key) + 1
    const own = !done.done && keySeq(done.value.key) === seq ? done.value.value : undefined
    last = key
    lastEntries = chunkKeyCount(key) - (own === undefined ? 0 : settledCount(own))
    lastBytes = chunkKeyBytes(key) - (own === undefined ? 0 : settledBytes(own))
    entries += lastEntries
    bytes += lastBytes
  }
  for (; !done.done; done = settled.next()) settledEnd = keySeq(done.value.key) + 1
  return { entries, bytes, endSeq, settledEnd }
}
