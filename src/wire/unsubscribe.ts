import type { ErrorCode } from '../errors.ts'
import { readPacketId } from './ack.ts'
import { BodyReader } from './body-reader.ts'
import { PacketType } from './control.ts'
import { protocolError } from './malformed.ts'
import { decodeProperties } from './properties.ts'
import { filterError } from './subscribe.ts'
import type { ProtocolVersion } from './versions.ts'

/** One Topic Filter of an UNSUBSCRIBE. */
export interface UnsubscribeRequest {
  topicFilter: string
  /** Why this one must be refused in the UNSUBACK (before MQTT 5 the UNSUBACK says nothing). */
  error?: ErrorCode
}

export interface UnsubscribePacket {
  packetId: number
  unsubscriptions: UnsubscribeRequest[]
  userProperties?: [string, string][]
}

/**
 *     UNSUBSCRIBE body = Packet Identifier, [v5 Properties], Topic Filter+
 *
 * Filters are judged as in `decodeSubscribe`.
 *
 * @throws SluiceError malformed_packet, protocol_error; topic_filter_invalid before MQTT 5
 */
export function decodeUnsubscribe(
  buf: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
): UnsubscribePacket {
  const packetId = readPacketId(buf, start, end)
  const packet: UnsubscribePacket = { packetId, unsubscriptions: [] }
  const reader = new BodyReader(buf, start + 2, end, 'UNSUBSCRIBE')
  if (version === 5) {
    const { properties, end: next } = decodeProperties(buf, reader.pos, end, PacketType.UNSUBSCRIBE)
    reader.pos = next
    if (properties.userProperties !== undefined) packet.userProperties = properties.userProperties
  }
  // [v5 MQTT-3.10.3-2] [v3 MQTT-3.10.3-2]
  if (reader.left === 0) throw protocolError('UNSUBSCRIBE: no Topic Filter')
  while (reader.left > 0) {
    const topicFilter = reader.string('Topic Filter')
    const error = filterError(topicFilter, version, 'UNSUBSCRIBE')
    packet.unsubscriptions.push(error === undefined ? { topicFilter } : { topicFilter, error })
  }
  return packet
}
