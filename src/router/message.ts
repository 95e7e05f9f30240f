/**
 * The stored form of a message: one buffer that lanes, retained messages and wills share.
 *
 *     0  u8   format (1)
 *     1  u8   bits 0-1 QoS of the PUBLISH, bit 2 RETAIN
 *     2  u16  length of the Client Identifier of the publisher
 *     4  u16  length of its User Name; 0xffff: none
 *     6  u16  length of the Topic Name
 *     8  u32 u32  time received, ms since 1970 (high word, low word)
 *     16 u32  Message Expiry Interval in seconds as received; 0xffffffff: none
 *     20 u32  offset of that interval's four bytes within the properties; 0xffffffff: none
 *     24 u32  length of the properties (MQTT 5, as received, without Topic Alias)
 *     28      Client Identifier, User Name, Topic Name, properties, payload
 */
import { ownMemory } from '../base/own-memory.ts'
import { SluiceError } from '../errors.ts'
import { copyBytes } from '../wire/copy.ts'

export const HEADER_BYTES = 28
export const FORMAT = 1
export const NO_EXPIRY = 0xffffffff
const ABSENT = 0xffff

export interface Message {
  topic: string
  clientId: string
  userName?: string
  qos: 0 | 1 | 2
  retain: boolean
  /** ms since 1970 when the broker took it. */
  time: number
  /** Raw MQTT 5 property bytes (without their length); empty for MQTT 3. */
  properties: Buffer
  payload: Buffer
  /** Message Expiry Interval in seconds as received; NO_EXPIRY: none. */
  expirySeconds: number
}

/** Who published, encoded once per connection and copied into every stored message. */
export class Origin {
  readonly clientId: string
  readonly bytes: Buffer
  readonly clientIdBytes: number
  readonly userNameBytes: number

  constructor(clientId: string, userName: string | undefined) {
    const id = Buffer.from(clientId)
    const name = userName === undefined ? null : Buffer.from(userName)
    this.clientId = clientId
    this.clientIdBytes = id.length
    this.userNameBytes = name === null ? ABSENT : name.length
    this.bytes = ownMemory(name === null ? id : Buffer.concat([id, name]))
  }

  get userName(): string | undefined {
    return this.userNameBytes === ABSENT ? undefined : this.bytes.toString('utf8', this.clientIdBytes)
  }
}

/**
 * Encodes a message from the parts of a packet. `props` is the range of property bytes to keep (may be empty).
 * @param expiryOffset offset of the expiry interval within the properties kept, or -1
 */
export function encodeStored(
  origin: Origin,
  qos: number,
  retain: boolean,
  time: number,
  expirySeconds: number,
  expiryOffset: number,
  buf: Buffer,
  topic: Buffer,
  topicStart: number,
  topicEnd: number,
  props: Buffer,
  propsStart: number,
  propsEnd: number,
  payloadStart: number,
  payloadEnd: number,
): Buffer {
  const originBytes = origin.bytes
  const propsBytes = propsEnd - propsStart
  const topicBytes = topicEnd - topicStart
  const out = Buffer.allocUnsafe(
    HEADER_BYTES + originBytes.length + topicBytes + propsBytes + (payloadEnd - payloadStart),
  )
  writeHeader(out, origin, qos, retain, time, expirySeconds, expiryOffset, topicBytes, propsBytes)
  let at = HEADER_BYTES
  at = copyBytes(originBytes, 0, originBytes.length, out, at)
  at = copyBytes(topic, topicStart, topicEnd, out, at)
  at = copyBytes(props, propsStart, propsEnd, out, at)
  copyBytes(buf, payloadStart, payloadEnd, out, at)
  return out
}

function writeHeader(
  out: Buffer,
  origin: Origin,
  qos: number,
  retain: boolean,
  time: number,
  expirySeconds: number,
  expiryOffset: number,
  topicBytes: number,
  propsBytes: number,
): void {
  out[0] = FORMAT
  out[1] = qos | (retain ? 4 : 0)
  out[2] = origin.clientIdBytes >> 8
  out[3] = origin.clientIdBytes & 255
  out[4] = origin.userNameBytes >> 8
  out[5] = origin.userNameBytes & 255
  out[6] = topicBytes >> 8
  out[7] = topicBytes & 255
  put32(out, 8, Math.floor(time / 0x100000000))
  put32(out, 12, time % 0x100000000)
  put32(out, 16, expirySeconds)
  put32(out, 20, expiryOffset < 0 ? NO_EXPIRY : expiryOffset)
  put32(out, 24, propsBytes)
}

/** Encodes a message from values, for everything that is not on the message path. */
export function encodeMessage(message: Message): Buffer {
  const topic = Buffer.from(message.topic)
  return encodeStored(
    new Origin(message.clientId, message.userName),
    message.qos,
    message.retain,
    message.time,
    message.expirySeconds,
    findExpiry(message.properties),
    message.payload,
    topic,
    0,
    topic.length,
    message.properties,
    0,
    message.properties.length,
    0,
    message.payload.length,
  )
}

/** @throws SluiceError store_corrupt when the bytes are not a stored message */
export function decodeMessage(stored: Buffer): Message {
  const at = offsets(stored)
  const userNameBytes = (stored[4]! << 8) | stored[5]!
  const clientIdEnd = HEADER_BYTES + ((stored[2]! << 8) | stored[3]!)
  const message: Message = {
    clientId: storedClientId(stored),
    topic: stored.toString('utf8', at.topicStart, at.propsStart),
    qos: (stored[1]! & 3) as 0 | 1 | 2,
    retain: (stored[1]! & 4) !== 0,
    time: storedTime(stored),
    expirySeconds: get32(stored, 16),
    properties: stored.subarray(at.propsStart, at.payloadStart),
    payload: stored.subarray(at.payloadStart),
  }
  if (userNameBytes !== ABSENT) message.userName = stored.toString('utf8', clientIdEnd, clientIdEnd + userNameBytes)
  return message
}

/** Where the parts lie. */
export function offsets(stored: Buffer): { topicStart: number; propsStart: number; payloadStart: number } {
  const topicStart = storedTopicStart(stored)
  const propsStart = topicStart + ((stored[6]! << 8) | stored[7]!)
  const payloadStart = propsStart + get32(stored, 24)
  if (stored.length < HEADER_BYTES || stored[0] !== FORMAT || payloadStart > stored.length)
    throw new SluiceError('store_corrupt', 'the bytes are not a stored message')
  return { topicStart, propsStart, payloadStart }
}

/** Client Identifier of the publisher; empty: the broker. */
export function storedClientId(stored: Buffer): string {
  return stored.toString('utf8', HEADER_BYTES, HEADER_BYTES + ((stored[2]! << 8) | stored[3]!))
}

/** Length of that identifier; it begins at HEADER_BYTES. */
export function storedClientIdBytes(stored: Buffer): number {
  return (stored[2]! << 8) | stored[3]!
}

export function storedTopicStart(stored: Buffer): number {
  const userNameBytes = (stored[4]! << 8) | stored[5]!
  return HEADER_BYTES + ((stored[2]! << 8) | stored[3]!) + (userNameBytes === ABSENT ? 0 : userNameBytes)
}

/** @param at where the message begins in the buffer */
export function storedTime(stored: Buffer, at = 0): number {
  return get32(stored, at + 8) * 0x100000000 + get32(stored, at + 12)
}

/** Whether it has a Message Expiry Interval. */
export function expires(stored: Buffer): boolean {
  return get32(stored, 16) !== NO_EXPIRY
}

/**
 * Seconds left of the Message Expiry Interval; Infinity: none; 0 or less: expired [v5 MQTT-3.3.2-5].
 * @param at where the message begins in the buffer
 */
export function secondsLeft(stored: Buffer, now: number, at = 0): number {
  const seconds = get32(stored, at + 16)
  if (seconds === NO_EXPIRY) return Number.POSITIVE_INFINITY
  return seconds - Math.max(0, Math.floor((now - storedTime(stored, at)) / 1000))
}

/** Offset of the Message Expiry Interval's four bytes within property bytes that were validated before; -1: none. */
function findExpiry(properties: Buffer): number {
  let at = 0
  while (at < properties.length) {
    const id = properties[at++]!
    if (id === 0x02) return at
    if (id === 0x01) at += 1
    else if (id === 0x03 || id === 0x08 || id === 0x09) at += 2 + properties.readUInt16BE(at)
    else if (id === 0x26) {
      at += 2 + properties.readUInt16BE(at)
      at += 2 + properties.readUInt16BE(at)
    } else return -1
  }
  return -1
}

export function get32(buf: Buffer, at: number): number {
  return ((buf[at]! << 24) | (buf[at + 1]! << 16) | (buf[at + 2]! << 8) | buf[at + 3]!) >>> 0
}

export function put32(buf: Buffer, at: number, value: number): void {
  buf[at] = value >>> 24
  buf[at + 1] = (value >>> 16) & 255
  buf[at + 2] = (value >>> 8) & 255
  buf[at + 3] = value & 255
}

/** The publisher's part of a stored message, by itself. */
export function originOf(stored: Buffer): Origin {
  const { clientId, userName } = decodeMessage(stored)
  return new Origin(clientId, userName)
}
