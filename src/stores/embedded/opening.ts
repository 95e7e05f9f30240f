/** What is read from the disk when the store opens; everything else is read when it is needed. */
import { CheckedEngine } from './checked-engine.ts'
import { readCounters } from './counters.ts'
import type { Engine } from './engine.ts'
import { FORMAT_VERSION, formatKey, formatValue, readFormat } from './format-version.ts'
import { keyId, table, tableRange } from './keys.ts'
import { allEntries, migrate } from './migrations.ts'
import { keysIn } from './slices.ts'
import type { EmbeddedOptions, State } from './state.ts'

/**
 * A store up to this size is read as a whole when it opens, some tens of milliseconds, so that damage is told at once also where
 * nobody would have looked: a record under a wrong key is missed by no one. Larger ones are looked at while they are used
 * (examination.ts).
 */
const CHECKED_BYTES_MAX = 16 * 1024 * 1024

/**
 * Brings the store to today's format and takes over the counters. Returns the numbers of dropped lanes of which something
 * is left, whether there is nothing yet, so that what is in the open group has to be committed, and whether each record was
 * looked at.
 * @throws SluiceError store_version, store_corrupt, store_full
 */
export async function prepare(
  disk: Engine,
  state: State,
  compact: EmbeddedOptions['compact'],
): Promise<{ empty: boolean; doomed: number[]; lookedAt: boolean }> {
  for (const record of disk.mended ?? []) state.onEvent({ type: 'damaged', record })
  const migrated = await migrate(disk)
  if (migrated !== null) state.onEvent({ type: 'migrated', ...migrated })
  else if (compact !== undefined) await compactIfWorthIt(disk, state, compact)
  const { engine } = state
  const lookedAt = (disk.space?.().bytes ?? Number.POSITIVE_INFINITY) <= CHECKED_BYTES_MAX
  if (lookedAt && engine instanceof CheckedEngine)
    for (const { key, value } of allEntries(disk)) engine.isWhole(key, value)
  const empty = readFormat(engine) === null
  if (empty) state.open.write('internal', formatKey, formatValue(FORMAT_VERSION))
  readCounters(state)
  const doomed = tableRange(table.doomed)
  return { empty, doomed: Array.from(keysIn(engine, doomed), keyId), lookedAt }
}

type Compact = NonNullable<EmbeddedOptions['compact']>

/** A store that cannot be compacted, for want of room say, is as good as it was. */
async function compactIfWorthIt(disk: Engine, state: State, { bytesMin, freeShare }: Compact): Promise<void> {
  const space = disk.space?.()
  if (space === undefined || space.bytes < bytesMin || space.freeBytes <= space.bytes * freeShare) return
  try {
    await disk.rewrite?.(allEntries(disk), null)
    state.onEvent({ type: 'compacted', beforeBytes: space.bytes, afterBytes: disk.bytesOnDisk() })
  } catch (error) {
    state.onEvent({ type: 'not-compacted', error: error as Error })
  }
}
