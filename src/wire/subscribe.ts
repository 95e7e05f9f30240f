import { type ErrorCode, SluiceError } from '../errors.ts'
import { readPacketId } from './ack.ts'
import { BodyReader } from './body-reader.ts'
import { PacketType } from './control.ts'
import { malformed, protocolError } from './malformed.ts'
import { decodeProperties } from './properties.ts'
import { isPlainFilter, isShared, isTopicFilter } from './topic.ts'
import type { ProtocolVersion, Qos } from './versions.ts'

/** One Topic Filter of a SUBSCRIBE, with its Subscription Options. */
export interface SubscriptionRequest {
  topicFilter: string
  /** Maximum QoS the client wants. */
  qos: Qos
  /** False before MQTT 5, like the next. */
  noLocal: boolean
  retainAsPublished: boolean
  /** 0: send retained messages; 1: only if the subscription is new; 2: do not. 0 before MQTT 5. */
  retainHandling: 0 | 1 | 2
  /** Why this one must be refused in the SUBACK; the others of the packet stand. */
  error?: ErrorCode
}

export interface SubscribePacket {
  packetId: number
  subscriptions: SubscriptionRequest[]
  /** 0: none. */
  subscriptionIdentifier: number
  userProperties?: [string, string][]
}

/**
 *     SUBSCRIBE body = Packet Identifier, [v5 Properties], (Topic Filter, Subscription Options)+
 *
 * A Topic Filter whose wildcards stand in the wrong place is a matter of one SUBACK entry in MQTT 5 (0x8F), reported as `error`;
 * 3.1 and 3.1.1 have no such answer and close the connection [v3 MQTT-4.8.0-1], so there it is thrown. `$share/` without the rest is a
 * legal filter of 3.1.1, so it is reported as `error` in every version (SUBACK 0x80).
 *
 * @throws SluiceError malformed_packet, protocol_error; topic_filter_invalid before MQTT 5
 */
export function decodeSubscribe(buf: Buffer, start: number, end: number, version: ProtocolVersion): SubscribePacket {
  const packetId = readPacketId(buf, start, end)
  const packet: SubscribePacket = { packetId, subscriptions: [], subscriptionIdentifier: 0 }
  const reader = new BodyReader(buf, start + 2, end, 'SUBSCRIBE')
  if (version === 5) {
    const { properties, end: next } = decodeProperties(buf, reader.pos, end, PacketType.SUBSCRIBE)
    reader.pos = next
    packet.subscriptionIdentifier = properties.subscriptionIdentifiers?.[0] ?? 0
    if (properties.userProperties !== undefined) packet.userProperties = properties.userProperties
  }
  // [v5 MQTT-3.8.3-2] [v3 MQTT-3.8.3-3]
  if (reader.left === 0) throw protocolError('SUBSCRIBE: no Topic Filter')
  while (reader.left > 0) packet.subscriptions.push(readSubscription(reader, version))
  return packet
}

function readSubscription(reader: BodyReader, version: ProtocolVersion): SubscriptionRequest {
  const topicFilter = reader.string('Topic Filter')
  const options = reader.uint8('Subscription Options')
  const qos = options & 3
  const retainHandling = (options >> 4) & 3
  // [v5 MQTT-3.8.3-5] [v3 MQTT-3.8.3-4]
  if ((options & (version === 5 ? 0xc0 : 0xfc)) !== 0) throw malformed('SUBSCRIBE: reserved option bits are set')
  if (qos === 3) throw version === 5 ? protocolError('SUBSCRIBE: QoS 3') : malformed('SUBSCRIBE: QoS 3')
  if (retainHandling === 3) throw protocolError('SUBSCRIBE: Retain Handling 3')
  const noLocal = (options & 4) !== 0
  // [v5 MQTT-3.8.3-4]
  if (noLocal && isShared(topicFilter)) throw protocolError('SUBSCRIBE: No Local on a Shared Subscription')
  const subscription: SubscriptionRequest = {
    topicFilter,
    qos: qos as Qos,
    noLocal,
    retainAsPublished: (options & 8) !== 0,
    retainHandling: retainHandling as 0 | 1 | 2,
  }
  const error = filterError(topicFilter, version, 'SUBSCRIBE')
  if (error !== undefined) subscription.error = error
  return subscription
}

/** What is wrong with the filter, for its own entry of the SUBACK or UNSUBACK; thrown where the version has no entry for it. */
export function filterError(topicFilter: string, version: ProtocolVersion, packet: string): ErrorCode | undefined {
  if (isTopicFilter(topicFilter)) return undefined
  if (version < 5 && !isPlainFilter(topicFilter)) {
    const shown = topicFilter.length > 64 ? `${topicFilter.slice(0, 64)}…` : topicFilter
    throw new SluiceError('topic_filter_invalid', `${packet}: "${shown}" is not a Topic Filter`)
  }
  return 'topic_filter_invalid'
}
