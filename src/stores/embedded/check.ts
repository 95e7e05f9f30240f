/** Goes through every record of a store that nobody uses: are they what was written, and do they fit together? */
import { unsealed } from './checksum.ts'
import { type Engine, WriteBatch } from './engine.ts'
import { formatKey } from './format-version.ts'
import { decodeChunk, decodeSegment, settledCount } from './formats.ts'
import { encodeCount, waitingKey } from './group-writer.ts'
import { describeKey } from './key-names.ts'
import {
  chunkKeyCount,
  idKey,
  isBare,
  isWellFormed,
  keyId,
  keySeq,
  nameEnd,
  readUint48,
  sessionKind,
  table,
} from './keys.ts'
import { allEntries } from './migrations.ts'
import { decodeMeta, decodeRetained, decodeSession, decodeSubscription, decodeWill } from './records.ts'

export interface Finding {
  /** What the record is, in words. */
  readonly record: string
  readonly problem: string
  readonly key: Buffer
}

export interface Checked {
  /** Records by kind. */
  readonly counts: Readonly<Record<string, number>>
  readonly findings: readonly Finding[]
  /** Entries that wait in lanes, as counted, and as the store has it written down. */
  readonly waiting: number
  readonly waitingWritten: number
}

const kinds = Object.fromEntries(Object.entries(table).map(([name, number]) => [number, name]))
/** A table beyond ours would be a record under a wrong key. */
const LAST_TABLE = Math.max(...Object.values(table))

export function checkAll(disk: Engine): Checked {
  const counts: Record<string, number> = {}
  const findings: Finding[] = []
  const segments = new Set<number>()
  const doomed = new Set<number>()
  const waitingOf = new Map<number, number>()
  const settled: { key: Buffer; lane: number; count: number }[] = []
  const chunks = new Set<string>()
  const referring: { key: Buffer; ids: number[] }[] = []
  let waitingWritten = 0
  for (const { key, value } of allEntries(disk)) {
    const find = (problem: string): void => void findings.push({ record: describeKey(key), problem, key })
    const kind = key[0]!
    if (kind > LAST_TABLE) {
      find('its kind is unknown')
      continue
    }
    if (!isWellFormed(key)) {
      find('its key has a wrong length')
      continue
    }
    counts[kinds[kind]!] = (counts[kinds[kind]!] ?? 0) + 1
    if (isBare(key)) continue
    const whole = unsealed(key, value)
    if (whole === undefined) {
      find('its checksum is wrong')
      continue
    }
    try {
      if (kind === table.chunk) {
        const { segmentIds } = decodeChunk(whole, chunkKeyCount(key))
        if (segmentIds.length > 0) referring.push({ key, ids: segmentIds })
        waitingOf.set(keyId(key), (waitingOf.get(keyId(key)) ?? 0) + chunkKeyCount(key))
        chunks.add(`${keyId(key)}/${keySeq(key)}`)
      } else if (kind === table.settled) settled.push({ key, lane: keyId(key), count: settledCount(whole) })
      else if (kind === table.segment) {
        decodeSegment(whole)
        segments.add(keyId(key))
      } else if (kind === table.doomed) doomed.add(keyId(key))
      else if (key.equals(waitingKey)) waitingWritten = readUint48(whole, 0)
      else decodeRecord(key, whole)
    } catch (error) {
      find(error instanceof Error ? error.message : String(error))
    }
  }
  for (const { key, ids } of referring) {
    const missing = ids.filter((id) => !segments.has(id))
    if (missing.length > 0)
      findings.push({ record: describeKey(key), problem: `segments are missing: ${missing.join(', ')}`, key })
  }
  for (const { key, lane, count } of settled) {
    if (chunks.has(`${lane}/${keySeq(key)}`)) waitingOf.set(lane, waitingOf.get(lane)! - count)
  }
  let waiting = 0
  for (const [lane, count] of waitingOf) if (!doomed.has(lane)) waiting += count
  return { counts, findings, waiting, waitingWritten }
}

function decodeRecord(key: Buffer, value: Buffer): void {
  switch (key[0]) {
    case table.meta:
      decodeMeta(value)
      return
    case table.retained:
      decodeRetained(value)
      return
    case table.will:
      decodeWill(value)
      return
    case table.session: {
      const end = nameEnd(key, 1)
      if (key[end + 1] === sessionKind.record) decodeSession(key, value, value.length)
      else if (key[end + 1] === sessionKind.subscription) decodeSubscription(key, end + 2, value, value.length)
    }
  }
}

/** Takes what was found out of the store, and writes the number of entries that wait anew. */
export async function repairAll(disk: Engine, { findings }: Checked): Promise<void> {
  const batch = new WriteBatch(true)
  for (const { key } of findings) {
    if (key.equals(formatKey)) continue
    batch.remove(key)
    // What is settled of messages that are gone.
    if (!isWellFormed(key)) continue
    if (key[0] === table.chunk) batch.remove(Buffer.concat([Buffer.from([table.settled]), key.subarray(1, 13)]))
    if (key[0] === table.segment) batch.remove(idKey(table.refs, keyId(key)))
  }
  await commit(disk, batch)
  const after = checkAll(disk)
  const count = new WriteBatch(true)
  count.put(waitingKey, encodeCount(after.waiting))
  await commit(disk, count)
  // Messages whose shared bodies were among what was taken out.
  if (after.findings.length > 0) await repairAll(disk, after)
}

function commit(disk: Engine, batch: WriteBatch): Promise<void> {
  return new Promise((resolve, reject) => {
    disk.commit(batch, (failure) => (failure === null ? resolve() : reject(failure)))
  })
}
