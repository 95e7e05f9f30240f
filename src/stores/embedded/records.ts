/**
 * Values of the tables. Sessions and subscriptions are short, because there may be millions: what the key says is not said
 * again. Retained messages and wills are a header and the message. Numbers are big-endian, as in keys.
 *
 *     session       u8 flags (1 client id, 2 user name, 4 lane, 8 rest)  u8 version  u32 expirySeconds
 *                   f64 disconnectedAt  u48 maybeSentBefore
 *                   [client id] [user name] [lane], each u16 length and bytes  [rest: JSON of further facts]
 *     subscription  u8 flags (bits 0-1 QoS, 2 No Local, 3 Retain As Published, 4-5 Retain Handling, 6 identifier, 7 filter)
 *                   [u32 identifier] [filter]
 *
 * Client id and filter are left out where the key has them whole, the lane where it has the usual name.
 */
import type { SessionRecord, SubscriptionRecord, WillRecord } from '../../store.ts'
import { corrupt } from './formats.ts'
import { isWholeName, readUint48, sessionName, writeUint48 } from './keys.ts'

const CLIENT_ID = 1
const USER_NAME = 2
const LANE = 4
const REST = 8
const SESSION_BYTES = 20

const IDENTIFIER = 64
const FILTER = 128

export function encodeSession(record: SessionRecord): Buffer {
  const { clientId, version, expirySeconds, disconnectedAt, maybeSentBefore, userName, lane, ...rest } = record
  const parts: Buffer[] = []
  let flags = 0
  const text = (flag: number, value: string): void => {
    flags |= flag
    const bytes = Buffer.from(value)
    const length = Buffer.allocUnsafe(2)
    length.writeUInt16BE(bytes.length, 0)
    parts.push(length, bytes)
  }
  if (!isWholeName(clientId)) text(CLIENT_ID, clientId)
  if (userName !== undefined) text(USER_NAME, userName)
  if (lane !== usualLane(clientId)) text(LANE, lane)
  if (Object.keys(rest).length > 0) {
    flags |= REST
    parts.push(Buffer.from(JSON.stringify(rest)))
  }
  const head = Buffer.allocUnsafe(SESSION_BYTES)
  head[0] = flags
  head[1] = version
  head.writeUInt32BE(expirySeconds, 2)
  head.writeDoubleBE(disconnectedAt, 6)
  writeUint48(head, 14, maybeSentBefore)
  return parts.length === 0 ? head : Buffer.concat([head, ...parts])
}

/** @param end where the record ends in `value` @throws SluiceError store_corrupt */
export function decodeSession(key: Buffer, value: Buffer, end: number): SessionRecord {
  try {
    const flags = value[0]!
    let at = SESSION_BYTES
    const text = (): string => {
      const end = at + 2 + value.readUInt16BE(at)
      const found = value.toString('utf8', at + 2, end)
      at = end
      return found
    }
    const clientId = (flags & CLIENT_ID) === 0 ? sessionName(key) : text()
    const record: SessionRecord = {
      clientId,
      version: value[1]!,
      expirySeconds: value.readUInt32BE(2),
      disconnectedAt: value.readDoubleBE(6),
      maybeSentBefore: readUint48(value, 14),
      lane: '',
    }
    if ((flags & USER_NAME) !== 0) record.userName = text()
    record.lane = (flags & LANE) === 0 ? usualLane(clientId) : text()
    if ((flags & REST) !== 0) Object.assign(record, JSON.parse(value.toString('utf8', at, end)))
    return record
  } catch (cause) {
    throw corrupt('a session', cause)
  }
}

const usualLane = (clientId: string): string => `s/${clientId}`

export function encodeSubscription(record: SubscriptionRecord): Buffer {
  const { topicFilter, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier } = record
  const filter = isWholeName(topicFilter) ? null : Buffer.from(topicFilter)
  const identified = subscriptionIdentifier !== 0
  const value = Buffer.allocUnsafe(1 + (identified ? 4 : 0) + (filter?.length ?? 0))
  const options = qos | (noLocal ? 4 : 0) | (retainAsPublished ? 8 : 0) | (retainHandling << 4)
  value[0] = options | (identified ? IDENTIFIER : 0) | (filter === null ? 0 : FILTER)
  if (identified) value.writeUInt32BE(subscriptionIdentifier, 1)
  if (filter !== null) value.set(filter, identified ? 5 : 1)
  return value
}

/** @param filterAt where the filter begins in the key @param end where the record ends in `value` */
export function decodeSubscription(key: Buffer, filterAt: number, value: Buffer, end: number): SubscriptionRecord {
  try {
    const flags = value[0]!
    const identified = (flags & IDENTIFIER) !== 0
    const from = identified ? 5 : 1
    return {
      topicFilter: (flags & FILTER) === 0 ? key.toString('utf8', filterAt) : value.toString('utf8', from, end),
      qos: (flags & 3) as 0 | 1 | 2,
      noLocal: (flags & 4) !== 0,
      retainAsPublished: (flags & 8) !== 0,
      retainHandling: ((flags >> 4) & 3) as 0 | 1 | 2,
      subscriptionIdentifier: identified ? value.readUInt32BE(1) : 0,
    }
  } catch (cause) {
    throw corrupt('a subscription', cause)
  }
}

export const encodeMeta = (key: string, value: unknown): Buffer => Buffer.from(JSON.stringify([key, value]))
export const decodeMeta = (value: Buffer): [string, unknown] => parse(value) as [string, unknown]

export function encodePacketId(packetId: number): Buffer {
  const key = Buffer.allocUnsafe(2)
  key.writeUInt16BE(packetId, 0)
  return key
}

export const encodeRetained = (topic: string, message: Buffer): Buffer => withHeader(topic, message)

export function decodeRetained(value: Buffer): { topic: string; message: Buffer } {
  const [topic, message] = splitHeader(value)
  return { topic, message }
}

export function encodeWill(record: WillRecord): Buffer {
  const { message, ...rest } = record
  return withHeader(JSON.stringify(rest), message)
}

export function decodeWill(value: Buffer): WillRecord {
  const [header, message] = splitHeader(value)
  return { ...(JSON.parse(header) as Omit<WillRecord, 'message'>), message }
}

function withHeader(header: string, message: Buffer): Buffer {
  const bytes = Buffer.byteLength(header)
  const value = Buffer.allocUnsafe(4 + bytes + message.length)
  value.writeUInt32LE(bytes, 0)
  value.write(header, 4)
  value.set(message, 4 + bytes)
  return value
}

function splitHeader(value: Buffer): [string, Buffer] {
  const bytes = value.length < 4 ? Number.POSITIVE_INFINITY : value.readUInt32LE(0)
  if (4 + bytes > value.length) throw corrupt('a record', new RangeError('length'))
  return [value.toString('utf8', 4, 4 + bytes), value.subarray(4 + bytes)]
}

function parse(value: Buffer): unknown {
  try {
    return JSON.parse(value.toString())
  } catch (cause) {
    throw corrupt('a record', cause)
  }
}
