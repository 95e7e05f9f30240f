/**
 * Keys of the embedded store. The first byte is the table; numbers are big-endian so that byte order is their order.
 *
 *     internal  00 name                                        format version, id counters
 *     meta      01 name                                        JSON
 *     lane      02 name                                        lane id, nextSeq, name
 *     chunk     03 lane(6) firstSeq(6) count(2) bytes(4) refs(1)   the entries
 *     settled   04 lane(6) firstSeq(6)                         which of a chunk's entries are settled
 *     mark      05 lane(6) seq(6)                              bytes kept beside an entry
 *     segment   06 segment(6)                                  bodies shared by several lanes
 *     refs      07 segment(6)                                  chunks that still refer to it
 *     session   08 clientId 00 kind rest                       kind 0 record, 1 subscription, 2 inbound packet id
 *     retained  09 topic
 *     will      0a clientId
 *     doomed    0b lane(6)                                     a dropped lane whose chunks are still being removed
 *
 * Every value ends in a seal (`checksum.ts`), except what has to be read before the format is known or by the engine itself:
 * format, owner and turn keys.
 *
 * Count and bytes stand in the chunk's key so that a lane's totals are counted without touching a value.
 */
import { createHash } from 'node:crypto'

export const table = {
  internal: 0,
  meta: 1,
  lane: 2,
  chunk: 3,
  settled: 4,
  mark: 5,
  segment: 6,
  refs: 7,
  session: 8,
  retained: 9,
  will: 10,
  doomed: 11,
} as const

/** Names of those internal keys whose values carry no seal. */
const BARE: ReadonlySet<string> = new Set(['format', 'owner', 'turn0', 'turn1'])

export const isBare = (key: Buffer): boolean => key[0] === table.internal && BARE.has(key.toString('latin1', 1))

/** Lengths of the keys that are made of numbers. */
const FIXED_BYTES: Readonly<Record<number, number>> = {
  [table.chunk]: 20,
  [table.settled]: 13,
  [table.mark]: 13,
  [table.segment]: 7,
  [table.refs]: 7,
  [table.doomed]: 7,
}

/** Whether a key read from disk can be taken apart. The rest of it is sealed with its value. */
export const isWellFormed = (key: Buffer): boolean => {
  const bytes = FIXED_BYTES[key[0]!]
  return bytes === undefined ? key.length > 0 && key[0]! <= table.doomed : key.length === bytes
}

export type Table = (typeof table)[keyof typeof table]

/** Longest name kept whole in a key; LMDB allows keys of 1,978 bytes and a session key holds two names. */
const NAME_BYTES_MAX = 480
/** Of a longer name the key keeps this much, so that prefix scans still find it, and a digest of the whole. */
const NAME_BYTES_KEPT = 200
/** Never occurs in UTF-8, so a digested name cannot equal a whole one. */
const DIGEST_MARK = 0xff
const DIGEST_BYTES = 32

export const MAX_SEQ = 2 ** 48 - 1

/** The bytes that stand for a name in a key: the name itself where it is short and free of NUL. */
export function nameBytes(name: string): Buffer {
  const whole = Buffer.from(name)
  const nul = whole.indexOf(0)
  if (nul < 0 && whole.length <= NAME_BYTES_MAX) return whole
  const kept = whole.subarray(0, Math.min(nul < 0 ? whole.length : nul, NAME_BYTES_KEPT))
  return Buffer.concat([kept, Buffer.from([DIGEST_MARK]), createHash('sha256').update(whole).digest()])
}

/** Whether keys hold this name as it is. */
export const isWholeName = (name: string): boolean =>
  !name.includes('\0') && (name.length * 3 <= NAME_BYTES_MAX || Buffer.byteLength(name) <= NAME_BYTES_MAX)

/** Where the name that starts at `from` in a key ends. */
export function nameEnd(key: Buffer, from: number): number {
  for (let i = from; i < key.length; i++) {
    const byte = key[i]!
    if (byte === 0) return i
    if (byte === DIGEST_MARK) return Math.min(i + 1 + DIGEST_BYTES, key.length)
  }
  return key.length
}

export function nameKey(of: Table, name: string): Buffer {
  return withTable(of, nameBytes(name))
}

/** Every key of the table whose name may start with `prefix`; the caller compares the whole name. */
export function nameRange(of: Table, prefix: string): { start: Buffer; end: Buffer } {
  const bytes = Buffer.from(prefix)
  const nul = bytes.indexOf(0)
  const start = withTable(of, bytes.subarray(0, Math.min(nul < 0 ? bytes.length : nul, NAME_BYTES_KEPT)))
  return { start, end: rangeEnd(start) }
}

function withTable(of: Table, rest: Buffer): Buffer {
  const key = Buffer.allocUnsafe(1 + rest.length)
  key[0] = of
  key.set(rest, 1)
  return key
}

/** The smallest key greater than every key that starts with `prefix`. */
export function rangeEnd(prefix: Buffer): Buffer {
  let length = prefix.length
  while (length > 0 && prefix[length - 1] === 0xff) length--
  const end = Buffer.from(prefix.subarray(0, length))
  end[length - 1] = end[length - 1]! + 1
  return end
}

export function tableRange(of: Table): { start: Buffer; end: Buffer } {
  return { start: Buffer.from([of]), end: Buffer.from([of + 1]) }
}

/** Keys of the tables settled and mark, and prefixes of chunk keys. */
export function seqKey(of: Table, laneId: number, seq: number): Buffer {
  const key = Buffer.allocUnsafe(13)
  key[0] = of
  writeUint48(key, 1, laneId)
  writeUint48(key, 7, Math.min(seq, MAX_SEQ))
  return key
}

export function idKey(of: Table, id: number): Buffer {
  const key = Buffer.allocUnsafe(7)
  key[0] = of
  writeUint48(key, 1, id)
  return key
}

export function laneRange(of: Table, laneId: number): { start: Buffer; end: Buffer } {
  return { start: idKey(of, laneId), end: idKey(of, laneId + 1) }
}

export function chunkKey(laneId: number, firstSeq: number, count: number, bytes: number, refs: boolean): Buffer {
  const key = Buffer.allocUnsafe(FIXED_BYTES[table.chunk]!)
  key[0] = table.chunk
  writeUint48(key, 1, laneId)
  writeUint48(key, 7, firstSeq)
  key[13] = count >>> 8
  key[14] = count
  key.writeUInt32BE(bytes, 15)
  key[19] = refs ? 1 : 0
  return key
}

export const keySeq = (key: Buffer): number => readUint48(key, 7)
export const keyId = (key: Buffer): number => readUint48(key, 1)
export const chunkKeyCount = (key: Buffer): number => key.readUInt16BE(13)
export const chunkKeyBytes = (key: Buffer): number => key.readUInt32BE(15)
export const chunkKeyHasRefs = (key: Buffer): boolean => key[19] === 1

export const sessionKind = { record: 0, subscription: 1, inbound: 2 } as const

/** The prefix of all keys of one session. */
export function sessionPrefix(clientId: string): Buffer {
  const name = nameBytes(clientId)
  const key = Buffer.allocUnsafe(name.length + 2)
  key[0] = table.session
  key.set(name, 1)
  key[name.length + 1] = 0
  return key
}

/** The Client Identifier in a session's key, where it is whole. */
export const sessionName = (key: Buffer): string => key.toString('utf8', 1, nameEnd(key, 1))

export function sessionKey(prefix: Buffer, kind: number, rest: Buffer | null): Buffer {
  const key = Buffer.allocUnsafe(prefix.length + 1 + (rest === null ? 0 : rest.length))
  key.set(prefix, 0)
  key[prefix.length] = kind
  if (rest !== null) key.set(rest, prefix.length + 1)
  return key
}

export function writeUint48(target: Buffer, at: number, value: number): void {
  target.writeUInt16BE(Math.floor(value / 0x100000000), at)
  target.writeUInt32BE(value >>> 0, at + 2)
}

export function readUint48(source: Buffer, at: number): number {
  return source.readUInt16BE(at) * 0x100000000 + source.readUInt32BE(at + 2)
}
