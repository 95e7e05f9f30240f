/**
 * The durable bytes beside the entries of a queue's lane (`Store.mark`). Two records:
 *
 * - An **entry mark** sits beside an entry that failed before: its state, attempts and failures.
 * - A **lease mark** covers all entries of a lease that never failed. It sits beside one of them, the carrier, and moves
 *   on when the carrier goes. So a pull of 100 messages writes one record, and acknowledging all of them removes one.
 *
 * An entry mark overrules a lease mark that covers the same entry.
 *
 *     entry: u8 1 | u8 state | u32 attempt | u64 lease id | u64 until or due | u32 lease or delay in ms | history
 *     lease: u8 2 | u64 until | u32 lease in ms | { varint gap | varint 2 × count + (1: other lease id) | [u64 lease id] }…
 *     history: { u64 at | u32 attempt | u16 bytes | reason }…
 */
import { SluiceError } from '../errors.ts'
import type { Entry, EntryState, Failure, Lease } from './entry.ts'

const ENTRY = 1
const LEASE = 2
const ENTRY_BYTES = 26
const LEASE_BYTES = 13
const FAILURE_BYTES = 14
/** Reasons are cut to this many bytes. */
export const REASON_BYTES_MAX = 512
/** An entry keeps its last failures only. */
export const FAILURES_MAX = 32
const states: readonly EntryState[] = ['ready', 'leased', 'delayed', 'dying', 'buried']

export interface EntryMark {
  kind: 'entry'
  state: EntryState
  attempt: number
  leaseId: number
  /** Wall clock ms: end of the lease or of the delay. */
  at: number
  /** Length of that lease or delay in ms. */
  spanMs: number
  history: Buffer
}

export interface LeaseMark {
  kind: 'lease'
  until: number
  leaseMs: number
  runs: { firstSeq: number; count: number; leaseId: number }[]
}

export function encodeEntryMark(entry: Entry, state: EntryState, at: number, spanMs: number): Buffer {
  const history = entry.history
  const out = Buffer.allocUnsafe(ENTRY_BYTES + (history === null ? 0 : history.length))
  out[0] = ENTRY
  out[1] = states.indexOf(state)
  out.writeUInt32BE(entry.attempt, 2)
  put64(out, 6, entry.leaseId)
  put64(out, 14, at)
  out.writeUInt32BE(spanMs, 22)
  history?.copy(out, ENTRY_BYTES)
  return out
}

/** @param covered entries in order of seq, at least one */
export function encodeLeaseMark(lease: Lease, covered: readonly Entry[]): Buffer {
  // A run takes at most 8 + 4 + 8 bytes; most leases are one run.
  const out = Buffer.allocUnsafe(LEASE_BYTES + 20 * runsOf(covered))
  out[0] = LEASE
  put64(out, 1, lease.until)
  out.writeUInt32BE(lease.leaseMs, 9)
  let at = LEASE_BYTES
  let end = 0
  let leaseId = -1
  for (let i = 0; i < covered.length; ) {
    const first = covered[i]!
    let count = 1
    while (i + count < covered.length && follows(first, covered[i + count]!, count)) count++
    at = putVarint(out, at, first.seq - end)
    at = putVarint(out, at, 2 * count + (first.leaseId === leaseId ? 0 : 1))
    if (first.leaseId !== leaseId) {
      leaseId = first.leaseId
      put64(out, at, leaseId)
      at += 8
    }
    end = first.seq + count
    i += count
  }
  return out.subarray(0, at)
}

function runsOf(covered: readonly Entry[]): number {
  let runs = 0
  for (let i = 0; i < covered.length; i++) if (i === 0 || !follows(covered[i - 1]!, covered[i]!, 1)) runs++
  return runs
}

function follows(first: Entry, other: Entry, distance: number): boolean {
  return other.seq === first.seq + distance && other.leaseId === first.leaseId
}

/** @throws SluiceError store_corrupt */
export function decodeMark(bytes: Buffer): EntryMark | LeaseMark {
  if (bytes[0] === ENTRY && bytes.length >= ENTRY_BYTES) {
    return {
      kind: 'entry',
      state: states[bytes[1]!] ?? 'ready',
      attempt: bytes.readUInt32BE(2),
      leaseId: get64(bytes, 6),
      at: get64(bytes, 14),
      spanMs: bytes.readUInt32BE(22),
      // A copy: the bytes belong to the store.
      history: Buffer.from(bytes.subarray(ENTRY_BYTES)),
    }
  }
  if (bytes[0] !== LEASE || bytes.length < LEASE_BYTES)
    throw new SluiceError('store_corrupt', 'the mark beside a queue entry is unknown')
  const mark: LeaseMark = { kind: 'lease', until: get64(bytes, 1), leaseMs: bytes.readUInt32BE(9), runs: [] }
  const reader = { bytes, at: LEASE_BYTES }
  let end = 0
  let leaseId = 0
  while (reader.at < bytes.length) {
    const firstSeq = end + readVarint(reader)
    const countAndFlag = readVarint(reader)
    const count = Math.floor(countAndFlag / 2)
    if (countAndFlag % 2 === 1) {
      leaseId = get64(bytes, reader.at)
      reader.at += 8
    }
    mark.runs.push({ firstSeq, count, leaseId })
    end = firstSeq + count
  }
  return mark
}

/** The history with one failure more; the oldest go beyond FAILURES_MAX. */
export function addFailure(history: Buffer | null, failure: Failure): Buffer {
  let before = history ?? Buffer.alloc(0)
  const failures = failureOffsets(before)
  if (failures.length >= FAILURES_MAX) before = before.subarray(failures[failures.length - FAILURES_MAX + 1])
  const reason = cutUtf8(Buffer.from(failure.reason), REASON_BYTES_MAX)
  const out = Buffer.allocUnsafeSlow(before.length + FAILURE_BYTES + reason.length)
  let at = before.copy(out)
  put64(out, at, failure.at)
  out.writeUInt32BE(failure.attempt, at + 8)
  out.writeUInt16BE(reason.length, at + 12)
  at += FAILURE_BYTES
  reason.copy(out, at)
  return out
}

/** Oldest first. */
export function decodeFailures(history: Buffer | null): Failure[] {
  if (history === null) return []
  return failureOffsets(history).map((at) => ({
    at: get64(history, at),
    attempt: history.readUInt32BE(at + 8),
    reason: history.toString('utf8', at + FAILURE_BYTES, at + FAILURE_BYTES + history.readUInt16BE(at + 12)),
  }))
}

function failureOffsets(history: Buffer): number[] {
  const offsets: number[] = []
  for (let at = 0; at + FAILURE_BYTES <= history.length; at += FAILURE_BYTES + history.readUInt16BE(at + 12))
    offsets.push(at)
  return offsets
}

function cutUtf8(bytes: Buffer, max: number): Buffer {
  if (bytes.length <= max) return bytes
  let end = max
  while (end > 0 && (bytes[end]! & 0xc0) === 0x80) end--
  return bytes.subarray(0, end)
}

function put64(out: Buffer, at: number, value: number): void {
  out.writeUInt32BE(Math.floor(value / 0x100000000), at)
  out.writeUInt32BE(value % 0x100000000, at + 4)
}

function get64(bytes: Buffer, at: number): number {
  return bytes.readUInt32BE(at) * 0x100000000 + bytes.readUInt32BE(at + 4)
}

function putVarint(out: Buffer, at: number, value: number): number {
  let rest = value
  let next = at
  while (rest > 127) {
    out[next++] = (rest % 128) + 128
    rest = Math.floor(rest / 128)
  }
  out[next++] = rest
  return next
}

function readVarint(reader: { bytes: Buffer; at: number }): number {
  let value = 0
  for (let scale = 1; ; scale *= 128) {
    const byte = reader.bytes[reader.at++]
    if (byte === undefined) throw new SluiceError('store_corrupt', 'the mark beside a queue entry is cut off')
    value += (byte & 127) * scale
    if (byte < 128) return value
  }
}
