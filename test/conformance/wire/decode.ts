import { type AckType, decodeAck } from '../../../src/wire/ack.ts'
import { decodeAuth } from '../../../src/wire/auth.ts'
import { decodePublish } from '../../../src/wire/client-packets.ts'
import { decodeConnack } from '../../../src/wire/connack.ts'
import { decodeConnect } from '../../../src/wire/connect.ts'
import { checkEmptyBody, checkFixedHeaderFlags, PacketType } from '../../../src/wire/control.ts'
import { decodeDisconnect } from '../../../src/wire/disconnect.ts'
import { PublishScan, scanPublishProperties } from '../../../src/wire/properties.ts'
import { decodeSuback } from '../../../src/wire/suback.ts'
import { decodeSubscribe } from '../../../src/wire/subscribe.ts'
import { checkTopicName } from '../../../src/wire/topic.ts'
import { decodeUnsubscribe } from '../../../src/wire/unsubscribe.ts'
import { stringEnd } from '../../../src/wire/utf8.ts'
import { readVarint, varintBytes } from '../../../src/wire/varint.ts'
import type { ProtocolVersion } from '../../../src/wire/versions.ts'

export type Sender = 'client' | 'server'

/** Where the body of the one packet in `buf` begins; the packet must fill `buf`. */
export function bodyStart(buf: Buffer): number {
  const remaining = readVarint(buf, 1, buf.length)
  const start = 1 + varintBytes(remaining)
  if (start + remaining !== buf.length) throw new Error('the packet does not fill the buffer')
  return start
}

/** Decodes one whole packet of either side with the decoder of its type, as a connection of this version would. */
export function decodePacket(buf: Buffer, version: ProtocolVersion, sender: Sender = 'client'): object {
  const start = bodyStart(buf)
  return decodeBody(buf[0]! >> 4, buf[0]! & 15, buf, start, buf.length, version, sender)
}

export function decodeBody(
  type: number,
  flags: number,
  buf: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
  sender: Sender = 'client',
): object {
  checkFixedHeaderFlags(type, flags, version)
  switch (type) {
    case PacketType.CONNECT:
      return decodeConnect(buf, start, end)
    case PacketType.CONNACK:
      return decodeConnack(buf, start, end, version)
    case PacketType.PUBLISH:
      return sender === 'client'
        ? publishFromClient(flags, buf, start, end, version)
        : decodePublish(flags, buf, start, end, version)
    case PacketType.PUBACK:
    case PacketType.PUBREC:
    case PacketType.PUBREL:
    case PacketType.PUBCOMP:
      return decodeAck(type as AckType, buf, start, end, version)
    case PacketType.SUBSCRIBE:
      return decodeSubscribe(buf, start, end, version)
    case PacketType.SUBACK:
    case PacketType.UNSUBACK:
      return decodeSuback(type, buf, start, end, version)
    case PacketType.UNSUBSCRIBE:
      return decodeUnsubscribe(buf, start, end, version)
    case PacketType.DISCONNECT:
      return decodeDisconnect(buf, start, end, version, sender)
    case PacketType.AUTH:
      return decodeAuth(buf, start, end, sender)
    default:
      checkEmptyBody(type, start, end)
      return {}
  }
}

/** With the two checks of the hot path, `checkTopicName` and `scanPublishProperties`, before the plain decoder. */
function publishFromClient(flags: number, buf: Buffer, start: number, end: number, version: ProtocolVersion): object {
  if (end - start >= 2 && stringEnd(buf, start) <= end) {
    const topicEnd = stringEnd(buf, start)
    if (version < 5 || topicEnd > start + 2) checkTopicName(buf, start + 2, topicEnd)
    const at = topicEnd + ((flags & 6) === 0 ? 0 : 2)
    if (version === 5 && at < end) {
      const length = readVarint(buf, at, end)
      const first = at + varintBytes(length)
      if (first + length <= end) scanPublishProperties(buf, first, first + length, new PublishScan())
    }
  }
  return decodePublish(flags, buf, start, end, version)
}
