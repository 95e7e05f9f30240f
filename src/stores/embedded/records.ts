/** Values of the tables: sessions and subscriptions as JSON, retained messages and wills as a header and the message. */
import type { SessionRecord, SubscriptionRecord, WillRecord } from '../../store.ts'
import { corrupt } from './formats.ts'

export const encodeSession = (record: SessionRecord): Buffer => Buffer.from(JSON.stringify(record))
export const decodeSession = (value: Buffer): SessionRecord => parse(value) as SessionRecord

/** What most subscriptions have is not written: there may be millions. */
const usual = { noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 } as const

export function encodeSubscription(record: SubscriptionRecord): Buffer {
  const isUnusual = ([key, value]: [string, unknown]): boolean => usual[key as keyof typeof usual] !== value
  return Buffer.from(JSON.stringify(Object.fromEntries(Object.entries(record).filter(isUnusual))))
}

export function decodeSubscription(value: Buffer): SubscriptionRecord {
  return { ...usual, ...(parse(value) as Pick<SubscriptionRecord, 'topicFilter' | 'qos'>) }
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
