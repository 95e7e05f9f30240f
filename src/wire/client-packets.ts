import { SluiceError } from '../errors.ts'
import { readPacketId } from './ack.ts'
import { BodyReader } from './body-reader.ts'
import { BodyWriter } from './body-writer.ts'
import type { ConnectPacket } from './connect.ts'
import { checkFixedHeaderFlags, fixedHeaderFlags, PacketType } from './control.ts'
import { protocolError } from './malformed.ts'
import { decodeProperties, type Properties, WILL_PROPERTIES, writeProperties } from './properties.ts'
import { isTopicName } from './topic.ts'
import { BRIDGE_BIT, type ProtocolVersion, protocolNames, type Qos } from './versions.ts'

/**
 * What a client sends, from plain objects, for our tests, the fleet and the benchmarks; and PUBLISH as a plain object for both sides.
 * None of it is fast, none of it is used by the broker.
 */

export type ConnectFields = Partial<ConnectPacket> & Pick<ConnectPacket, 'version'>

/** CONNECT. Fields not given: empty Client Identifier, clean, no Keep Alive, no will, no credentials. */
export function encodeConnect(fields: ConnectFields): Buffer {
  const { version, will, userName, password } = fields
  const hasWill = will !== undefined && will !== null
  const flags =
    (userName !== undefined ? 0x80 : 0) |
    (password !== undefined ? 0x40 : 0) |
    (hasWill ? 0x04 | (will.qos << 3) | (will.retain ? 0x20 : 0) : 0) |
    (fields.clean === false ? 0 : 0x02)
  const writer = new BodyWriter()
    .string(protocolNames[version])
    .uint8(version | (fields.bridge === true ? BRIDGE_BIT : 0))
    .uint8(flags)
    .uint16(fields.keepAliveSeconds ?? 0)
  if (version === 5) writeProperties(writer, fields.properties, PacketType.CONNECT)
  writer.string(fields.clientId ?? '')
  if (hasWill) {
    if (version === 5) writeProperties(writer, will.properties, WILL_PROPERTIES)
    writer.string(will.topic).binary(will.payload)
  }
  if (userName !== undefined) writer.string(userName)
  if (password !== undefined) writer.binary(password)
  return writer.packet(PacketType.CONNECT, 0)
}

export interface SubscriptionFields {
  topicFilter: string
  qos?: Qos
  noLocal?: boolean
  retainAsPublished?: boolean
  retainHandling?: 0 | 1 | 2
}

/** SUBSCRIBE. Options that 3.1 and 3.1.1 do not have are left out there. */
export function encodeSubscribe(
  version: ProtocolVersion,
  packetId: number,
  subscriptions: readonly SubscriptionFields[],
  properties?: Properties | null,
): Buffer {
  const writer = new BodyWriter().uint16(packetId)
  if (version === 5) writeProperties(writer, properties, PacketType.SUBSCRIBE)
  for (const one of subscriptions) {
    const options = (one.noLocal ? 4 : 0) | (one.retainAsPublished ? 8 : 0) | ((one.retainHandling ?? 0) << 4)
    writer.string(one.topicFilter).uint8((one.qos ?? 0) | (version === 5 ? options : 0))
  }
  return writer.packet(PacketType.SUBSCRIBE, fixedHeaderFlags(PacketType.SUBSCRIBE))
}

export function encodeUnsubscribe(
  version: ProtocolVersion,
  packetId: number,
  topicFilters: readonly string[],
  properties?: Properties | null,
): Buffer {
  const writer = new BodyWriter().uint16(packetId)
  if (version === 5) writeProperties(writer, properties, PacketType.UNSUBSCRIBE)
  for (const filter of topicFilters) writer.string(filter)
  return writer.packet(PacketType.UNSUBSCRIBE, fixedHeaderFlags(PacketType.UNSUBSCRIBE))
}

export interface PublishPacket {
  topic: string
  payload: Buffer
  qos: Qos
  retain: boolean
  dup: boolean
  /** 0 at QoS 0. */
  packetId: number
  /** Null before MQTT 5. */
  properties: Properties | null
}

/** PUBLISH from a plain object; absent fields are empty, 0 or false. */
export function encodePublish(version: ProtocolVersion, fields: Partial<PublishPacket>): Buffer {
  const qos = fields.qos ?? 0
  if (qos > 0 && !fields.packetId) throw new SluiceError('invariant', 'PUBLISH above QoS 0 needs a Packet Identifier')
  const writer = new BodyWriter().string(fields.topic ?? '')
  if (qos > 0) writer.uint16(fields.packetId!)
  if (version === 5) writeProperties(writer, fields.properties, PacketType.PUBLISH)
  if (fields.payload !== undefined) writer.bytes(fields.payload)
  return writer.packet(PacketType.PUBLISH, (fields.dup ? 8 : 0) | (qos << 1) | (fields.retain ? 1 : 0))
}

/**
 * PUBLISH as a plain object, from either side.
 *
 * @param flags the lower four bits of the first byte
 * @throws SluiceError malformed_packet, protocol_error, topic_alias_invalid
 */
export function decodePublish(
  flags: number,
  buf: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
): PublishPacket {
  checkFixedHeaderFlags(PacketType.PUBLISH, flags, version)
  const reader = new BodyReader(buf, start, end, 'PUBLISH')
  const topic = reader.string('Topic Name')
  const qos = ((flags >> 1) & 3) as Qos
  const packetId = qos === 0 ? 0 : readPacketId(buf, reader.pos, end)
  if (qos > 0) reader.pos += 2
  let properties: Properties | null = null
  if (version === 5) {
    const decoded = decodeProperties(buf, reader.pos, end, PacketType.PUBLISH)
    properties = decoded.properties
    reader.pos = decoded.end
  }
  if (!isTopicName(topic) && (topic !== '' || properties?.topicAlias === undefined)) {
    throw protocolError('PUBLISH: the Topic Name is empty or contains a wildcard')
  }
  const payload = Buffer.from(buf.subarray(reader.pos, end))
  return { topic, payload, qos, retain: (flags & 1) !== 0, dup: (flags & 8) !== 0, packetId, properties }
}
