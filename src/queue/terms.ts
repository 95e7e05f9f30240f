/**
 * What a queue keeps beside a message, in the entry's `extra`: what the producer asked for, and where the message has
 * been. A plain message has none.
 *
 *     u8 1 | { u8 field | length (Variable Byte Integer) | bytes }…
 *
 * Fields that are not known are passed over, so that an older broker reads what a newer one wrote. Dead letters of
 * earlier versions are a JSON object in place of all this.
 */
import { SluiceError } from '../errors.ts'
import { readVarint, varintBytes, writeVarint } from '../wire/varint.ts'
import type { DeadLetter } from './dead-letter.ts'

/** Ordering and deduplication keys are at most this long, in bytes. */
export const KEY_BYTES_MAX = 1024

/** The priority of a message that names none. 0 waits longest, 9 comes first. */
export const PRIORITY_DEFAULT = 4
export const PRIORITY_MAX = 9

/** What a producer asks of a queue. */
export interface Terms {
  /**
   * Ordering key: messages of one key are worked on in the order in which they came, at most `key.leasedMax` of them at a
   * time. Its priority is then that of the queue.
   */
  key?: Buffer
  /** Within the queue's deduplication window only the first message with this key enters. */
  deduplicationKey?: Buffer
  /** It is known to be no duplicate: it enters, and its key counts from now on. Not kept with the entry. */
  first?: true
  /** 0 to 9; absent: 4. */
  priority?: number
  /** Wall clock ms before which nobody gets it. */
  deliverAt?: number
  /** Wall clock ms after which nobody gets it. */
  expiresAt?: number
  /** Name of the bridge rule that brought it. */
  rule?: string
  /** Why it is here when that is not the usual way: a quarantine. */
  note?: string
}

/** Terms with what the queue itself adds. */
export interface EntryTerms extends Terms {
  /** The message's id, where it is not made of the queue's epoch and the sequence number. */
  id?: string
  deadLetter?: DeadLetter
  /** Wall clock ms at which it was replayed: the id is that of the first time. */
  replayedAt?: number
}

const FORMAT = 1
const LETTER_OF_OLD = 0x7b

const field = {
  key: 1,
  deduplicationKey: 2,
  priority: 3,
  deliverAt: 4,
  expiresAt: 5,
  rule: 6,
  note: 7,
  id: 8,
  deadLetter: 9,
  replayedAt: 10,
} as const

/** Null when there is nothing to say. */
export function encodeTerms(terms: EntryTerms): Buffer | null {
  const parts: [number, Buffer][] = []
  if (terms.key !== undefined) parts.push([field.key, terms.key])
  if (terms.deduplicationKey !== undefined) parts.push([field.deduplicationKey, terms.deduplicationKey])
  if (terms.priority !== undefined && terms.priority !== PRIORITY_DEFAULT)
    parts.push([field.priority, Buffer.from([terms.priority])])
  if (terms.deliverAt !== undefined) parts.push([field.deliverAt, time(terms.deliverAt)])
  if (terms.expiresAt !== undefined) parts.push([field.expiresAt, time(terms.expiresAt)])
  if (terms.rule !== undefined) parts.push([field.rule, Buffer.from(terms.rule)])
  if (terms.note !== undefined) parts.push([field.note, Buffer.from(terms.note)])
  if (terms.id !== undefined) parts.push([field.id, Buffer.from(terms.id)])
  if (terms.deadLetter !== undefined) parts.push([field.deadLetter, Buffer.from(JSON.stringify(terms.deadLetter))])
  if (terms.replayedAt !== undefined) parts.push([field.replayedAt, time(terms.replayedAt)])
  if (parts.length === 0) return null
  let length = 1
  for (const [, bytes] of parts) length += 1 + varintBytes(bytes.length) + bytes.length
  const out = Buffer.allocUnsafe(length)
  out[0] = FORMAT
  let at = 1
  for (const [id, bytes] of parts) {
    out[at++] = id
    at = writeVarint(out, at, bytes.length)
    at += bytes.copy(out, at)
  }
  return out
}

/** @throws SluiceError store_corrupt */
export function decodeTerms(extra: Buffer | null): EntryTerms {
  if (extra === null || extra.length === 0) return {}
  if (extra[0] === LETTER_OF_OLD) return { deadLetter: JSON.parse(extra.toString()) as DeadLetter }
  if (extra[0] !== FORMAT) throw new SluiceError('store_corrupt', 'the terms of a queue entry are unknown')
  const terms: EntryTerms = {}
  eachField(extra, (id, start, end) => {
    if (id === field.key) terms.key = extra.subarray(start, end)
    else if (id === field.deduplicationKey) terms.deduplicationKey = extra.subarray(start, end)
    else if (id === field.priority) terms.priority = extra[start]!
    else if (id === field.deliverAt) terms.deliverAt = extra.readUIntBE(start, 6)
    else if (id === field.expiresAt) terms.expiresAt = extra.readUIntBE(start, 6)
    else if (id === field.rule) terms.rule = extra.toString('utf8', start, end)
    else if (id === field.note) terms.note = extra.toString('utf8', start, end)
    else if (id === field.id) terms.id = extra.toString('utf8', start, end)
    else if (id === field.deadLetter) terms.deadLetter = JSON.parse(extra.toString('utf8', start, end)) as DeadLetter
    else if (id === field.replayedAt) terms.replayedAt = extra.readUIntBE(start, 6)
  })
  return terms
}

/** The ordering key as Latin-1 text, one character a byte; empty: none. */
export function keyOf(extra: Buffer | null): string {
  const at = extra === null ? -1 : find(extra, field.key)
  return at < 0 ? '' : extra!.toString('latin1', at, at + lengthBefore)
}

/** Wall clock ms after which nobody gets the message; Infinity: none. */
export function expiryOf(extra: Buffer | null): number {
  const at = extra === null ? -1 : find(extra, field.expiresAt)
  return at < 0 ? Number.POSITIVE_INFINITY : extra!.readUIntBE(at, 6)
}

/** Wall clock ms before which nobody gets the message; 0: at once. */
export function deliverAtOf(extra: Buffer | null): number {
  const at = extra === null ? -1 : find(extra, field.deliverAt)
  return at < 0 ? 0 : extra!.readUIntBE(at, 6)
}

/** Length of what `find` found last. */
let lengthBefore = 0

function find(extra: Buffer, wanted: number): number {
  if (extra[0] !== FORMAT) return -1
  for (let at = 1; at < extra.length; ) {
    const id = extra[at++]
    const length = readVarint(extra, at, extra.length)
    at += varintBytes(length)
    if (id === wanted) {
      lengthBefore = length
      return at
    }
    at += length
  }
  return -1
}

function eachField(extra: Buffer, fn: (id: number, start: number, end: number) => void): void {
  for (let at = 1; at < extra.length; ) {
    const id = extra[at++]!
    const length = readVarint(extra, at, extra.length)
    at += varintBytes(length)
    if (at + length > extra.length) throw new SluiceError('store_corrupt', 'the terms of a queue entry are cut off')
    fn(id, at, at + length)
    at += length
  }
}

function time(ms: number): Buffer {
  const bytes = Buffer.allocUnsafe(6)
  bytes.writeUIntBE(Math.max(0, Math.floor(ms)), 0, 6)
  return bytes
}
