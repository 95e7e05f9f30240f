/** The bytes of PUBLISH packets that are sent ([v5 3.3] [v3 3.3]). */
import { copyBytes } from './copy.ts'
import type { PublishFrame } from './publish.ts'
import { varintBytes, writeVarint } from './varint.ts'

/** A PUBLISH packet ready to be copied, but for the bits and bytes that differ by receiver. */
export interface EncodedPublish {
  readonly buf: Buffer
  readonly start: number
  readonly end: number
  /** Offset of the Packet Identifier from `start`; 0 for QoS 0. */
  readonly packetIdOffset: number
}

/**
 * Encodes a PUBLISH with DUP, QoS and RETAIN bits clear and Packet Identifier 0.
 * @param withTopic false: a Topic Alias among `prefix` stands for the topic
 * @param prefix property bytes that go before those of the message (Subscription Identifiers, Topic Alias), or null
 */
export function encodePublish(
  frame: PublishFrame,
  version5: boolean,
  withPacketId: boolean,
  prefix: Buffer | null,
  withTopic = true,
): EncodedPublish {
  const buf = Buffer.allocUnsafe(publishBytes(frame, version5, withPacketId, prefix, withTopic))
  const packetIdOffset = writePublish(frame, version5, withPacketId, prefix, withTopic, buf, 0)
  return { buf, start: 0, end: buf.length, packetIdOffset }
}

/** Length of the packet that `writePublish` makes of the same. */
export function publishBytes(
  frame: PublishFrame,
  version5: boolean,
  withPacketId: boolean,
  prefix: Buffer | null,
  withTopic: boolean,
): number {
  const remaining = remainingLength(frame, version5, withPacketId, prefix, withTopic)
  return 1 + varintBytes(remaining) + remaining
}

/** Writes what `encodePublish` encodes to `out` at `start`, where there is room; returns the offset of the Packet Identifier from there. */
export function writePublish(
  frame: PublishFrame,
  version5: boolean,
  withPacketId: boolean,
  prefix: Buffer | null,
  withTopic: boolean,
  out: Buffer,
  start: number,
): number {
  const topicBytes = withTopic ? frame.topicEnd - frame.topicStart : 0
  out[start] = 0x30
  let at = writeVarint(out, start + 1, remainingLength(frame, version5, withPacketId, prefix, withTopic))
  out[at++] = topicBytes >> 8
  out[at++] = topicBytes & 255
  if (withTopic) at = copyBytes(frame.topicBuf, frame.topicStart, frame.topicEnd, out, at)
  let packetIdOffset = 0
  if (withPacketId) {
    packetIdOffset = at - start
    out[at++] = 0
    out[at++] = 0
  }
  if (version5) at = writeProperties(frame, prefix, out, at)
  copyBytes(frame.buf, frame.payloadStart, frame.payloadEnd, out, at)
  return packetIdOffset
}

/** Puts into the packet at `start` what differs by receiver. */
export function patchPublish(
  packet: Buffer,
  start: number,
  firstByte: number,
  packetIdOffset: number,
  packetId: number,
): void {
  packet[start] = firstByte
  if (packetIdOffset === 0) return
  packet[start + packetIdOffset] = packetId >> 8
  packet[start + packetIdOffset + 1] = packetId & 255
}

function remainingLength(
  frame: PublishFrame,
  version5: boolean,
  withPacketId: boolean,
  prefix: Buffer | null,
  withTopic: boolean,
): number {
  let bytes = 2 + (withPacketId ? 2 : 0) + (frame.payloadEnd - frame.payloadStart)
  if (withTopic) bytes += frame.topicEnd - frame.topicStart
  if (!version5) return bytes
  const propsBytes = frame.propsEnd - frame.propsStart + (prefix === null ? 0 : prefix.length)
  return bytes + varintBytes(propsBytes) + propsBytes
}

function writeProperties(frame: PublishFrame, prefix: Buffer | null, out: Buffer, start: number): number {
  const { propsBuf, propsStart, propsEnd } = frame
  let at = writeVarint(out, start, propsEnd - propsStart + (prefix === null ? 0 : prefix.length))
  if (prefix !== null) at = copyBytes(prefix, 0, prefix.length, out, at)
  const propsAt = at
  at = copyBytes(propsBuf, propsStart, propsEnd, out, at)
  if (frame.expiryOffset >= 0) {
    const seconds = frame.expirySeconds
    const p = propsAt + frame.expiryOffset
    out[p] = seconds >>> 24
    out[p + 1] = (seconds >>> 16) & 255
    out[p + 2] = (seconds >>> 8) & 255
    out[p + 3] = seconds & 255
  }
  return at
}
