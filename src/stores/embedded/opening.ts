/** What is read from the disk when the store opens; everything else is read when it is needed. */
import type { Engine } from './engine.ts'
import { FORMAT_VERSION, formatKey, formatValue, readFormat } from './format-version.ts'
import { idsKey, waitingKey } from './group-writer.ts'
import { keyId, readUint48, table, tableRange } from './keys.ts'
import { migrate } from './migrations.ts'
import type { State } from './state.ts'

/**
 * Brings the store to today's format and takes over the counters. Returns the numbers of dropped lanes of which something
 * is left, and whether there is nothing yet, so that what is in the open group has to be committed.
 * @throws SluiceError store_version, store_corrupt, store_full
 */
export async function prepare(disk: Engine, state: State): Promise<{ empty: boolean; doomed: number[] }> {
  const migrated = await migrate(disk)
  if (migrated !== null) state.onEvent({ type: 'migrated', ...migrated })
  const { engine } = state
  const empty = readFormat(engine) === null
  if (empty) state.open.write('internal', formatKey, formatValue(FORMAT_VERSION))
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
