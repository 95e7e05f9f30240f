/**
 * From older formats to today's, one step after the other. A step reads the whole store and writes a new one beside it, which
 * then takes its place; the old file is kept. A crash anywhere leaves either the old store or the new one.
 *
 * - 1 → 2: every record gets a seal (`checksum.ts`); sessions and subscriptions, JSON before, become short.
 */
import { SluiceError } from '../../errors.ts'
import type { SessionRecord, SubscriptionRecord } from '../../store.ts'
import { sealed } from './checksum.ts'
import type { Engine, Entry } from './engine.ts'
import { FORMAT_VERSION, formatKey, formatValue, readFormat, refuseNewer } from './format-version.ts'
import { corrupt, settledCount } from './formats.ts'
import { encodeCount, waitingKey } from './group-writer.ts'
import { chunkKeyCount, isBare, keyId, nameEnd, sessionKind, type Table, table, tableRange } from './keys.ts'
import { encodeSession, encodeSubscription } from './records.ts'
import { entriesIn, keysIn } from './slices.ts'

/** From the format of that number to the next. Entries come in the order of their keys. */
const steps: Readonly<Record<number, (disk: Engine) => Iterable<Entry>>> = { 1: sealRecords }

export interface Migrated {
  readonly from: number
  readonly to: number
  /** Name of the file, in the data directory, that has the store as it was. */
  readonly keptAs: string
}

/**
 * Brings the store to today's format. Null: it has it, or is empty.
 * @throws SluiceError store_version, store_corrupt, store_full
 */
export async function migrate(disk: Engine): Promise<Migrated | null> {
  const from = readFormat(disk)
  if (from === null || from === FORMAT_VERSION) return null
  refuseNewer(from)
  const keptAs = `sluicemq.format-${from}.mdb`
  for (let version = from; version < FORMAT_VERSION; version++) {
    const step = steps[version]
    if (step === undefined || disk.rewrite === undefined)
      throw new SluiceError('store_version', `There is no way from format ${version} to ${FORMAT_VERSION}.`)
    await disk.rewrite(step(disk), version === from ? keptAs : null)
  }
  return { from, to: FORMAT_VERSION, keptAs }
}

/** Everything, in order. */
export function allEntries(disk: Engine): Generator<Entry> {
  return entriesIn(disk, { start: Buffer.from([table.internal]), end: Buffer.from([0xff]) })
}

function* sealRecords(disk: Engine): Generator<Entry> {
  const total: Entry = { key: waitingKey, value: sealed(waitingKey, encodeCount(countWaiting(disk))) }
  let counted = false
  for (const { key, value } of allEntries(disk)) {
    if (!counted && waitingKey.compare(key) <= 0) {
      counted = true
      yield total
    }
    if (key.equals(waitingKey)) continue
    if (key.equals(formatKey)) yield { key, value: formatValue(2) }
    else if (isBare(key)) yield { key, value }
    else yield { key, value: sealed(key, shortened(key, value)) }
  }
  if (!counted) yield total
}

function shortened(key: Buffer, value: Buffer): Buffer {
  if (key[0] !== table.session) return value
  const kind = key[nameEnd(key, 1) + 1]
  if (kind === sessionKind.record) return encodeSession(parse(value) as SessionRecord)
  if (kind !== sessionKind.subscription) return value
  const usual = { noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 } as const
  return encodeSubscription({ ...usual, ...(parse(value) as Pick<SubscriptionRecord, 'topicFilter' | 'qos'>) })
}

function parse(value: Buffer): unknown {
  try {
    return JSON.parse(value.toString())
  } catch (cause) {
    throw corrupt('a session', cause)
  }
}

/** Entries that wait in lanes that are not being removed. */
function countWaiting(disk: Engine): number {
  const range = (of: Table) => tableRange(of)
  const doomed = new Set<number>()
  for (const key of keysIn(disk, range(table.doomed))) doomed.add(keyId(key))
  let waiting = 0
  for (const { key, value } of allEntries(disk)) {
    if (key[0] === table.chunk && !doomed.has(keyId(key))) waiting += chunkKeyCount(key)
    else if (key[0] === table.settled && !doomed.has(keyId(key))) waiting -= settledCount(value)
  }
  return waiting
}
