/** What is read from the disk when the store opens; everything else is read when it is needed. */
import { checkFormat, writeFormat } from './format-version.ts'
import { idsKey, waitingKey } from './group-writer.ts'
import { keyId, readUint48, table, tableRange } from './keys.ts'
import type { State } from './state.ts'

/**
 * Checks the format and takes over the counters. Returns the numbers of dropped lanes of which something is left.
 * @throws SluiceError store_version, store_corrupt
 */
export function readHeader(state: State): { empty: boolean; doomed: number[] } {
  const { engine } = state
  const empty = checkFormat(engine) === 'empty'
  if (empty) writeFormat(state.open)
  const ids = engine.get(idsKey)
  if (ids !== undefined) {
    state.nextLaneId = readUint48(ids, 0)
    state.nextSegmentId = readUint48(ids, 6)
  }
  const waiting = engine.get(waitingKey)
  if (waiting !== undefined) state.waiting = state.waitingGiven = readUint48(waiting, 0)
  const doomed = tableRange(table.doomed)
  return { empty, doomed: engine.keys(doomed.start, doomed.end, Number.MAX_SAFE_INTEGER).map(keyId) }
}
