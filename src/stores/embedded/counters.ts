/**
 * What the store counts: the numbers that the next lane and the next segment get, and how many entries wait. They are kept in records
 * of their own; where one of those is damaged, or of an earlier time, its numbers are found again from everything else. A number
 * given twice would mix the messages of two lanes.
 */
import type { Engine } from './engine.ts'
import { settledCount } from './formats.ts'
import { idsKey, waitingKey } from './group-writer.ts'
import { chunkKeyCount, idKey, keyId, MAX_SEQ, readUint48, type Table, table, tableRange } from './keys.ts'
import { laneRecordId } from './lane-record.ts'
import { entriesIn, keysIn } from './slices.ts'
import type { State } from './state.ts'

/** Numbers passed over when they are found again: what is damaged may have had the last ones. */
const MARGIN = 1_000_000

/** Takes the counters over into the state of a store that opens. */
export function readCounters(state: State): void {
  const { engine } = state
  const ids = engine.get(idsKey)
  if (ids !== undefined) {
    state.nextLaneId = readUint48(ids, 0)
    state.nextSegmentId = readUint48(ids, 6)
  }
  const lane = lastId(engine, [table.chunk, table.settled, table.mark, table.doomed])
  if (lane >= state.nextLaneId || (ids === undefined && has(engine, table.lane))) {
    state.nextLaneId = Math.max(state.nextLaneId, lane + 1, lastLane(engine) + 1) + MARGIN
    state.idsChanged = true
  }
  const segment = lastId(engine, [table.segment, table.refs])
  if (segment >= state.nextSegmentId || (ids === undefined && has(engine, table.lane))) {
    state.nextSegmentId = Math.max(state.nextSegmentId, segment + 1) + MARGIN
    state.idsChanged = true
  }
  const waiting = engine.get(waitingKey)
  state.waiting = waiting === undefined ? countWaiting(engine) : readUint48(waiting, 0)
  state.waitingGiven = state.waiting
}

const has = (engine: Engine, of: Table): boolean => {
  const { start, end } = tableRange(of)
  return engine.keys(start, end, 1).length > 0
}

/** The highest number in the keys of these tables; 0: there is none. */
function lastId(engine: Engine, tables: readonly Table[]): number {
  let last = 0
  for (const of of tables) {
    const key = engine.lastKey(idKey(of, 0), Buffer.concat([idKey(of, MAX_SEQ), Buffer.alloc(16, 0xff)]))
    if (key !== undefined) last = Math.max(last, keyId(key))
  }
  return last
}

/** The highest number that the record of a lane has: a lane in which nothing waits has its number nowhere else. */
function lastLane(engine: Engine): number {
  let last = 0
  for (const { value } of entriesIn(engine, tableRange(table.lane))) last = Math.max(last, laneRecordId(value))
  return last
}

function countWaiting(engine: Engine): number {
  const doomed = new Set<number>()
  for (const key of keysIn(engine, tableRange(table.doomed))) doomed.add(keyId(key))
  let waiting = 0
  for (const key of keysIn(engine, tableRange(table.chunk))) if (!doomed.has(keyId(key))) waiting += chunkKeyCount(key)
  for (const { key, value } of entriesIn(engine, tableRange(table.settled)))
    if (!doomed.has(keyId(key))) waiting -= settledCount(value)
  return Math.max(0, waiting)
}
