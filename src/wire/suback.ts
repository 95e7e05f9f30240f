import { readPacketId } from './ack.ts'
import { BodyReader } from './body-reader.ts'
import { BodyWriter } from './body-writer.ts'
import { PacketType, packetName } from './control.ts'
import { malformed, protocolError } from './malformed.ts'
import { decodeProperties, type Properties, writeProperties } from './properties.ts'
import { isReasonCodeFor } from './reason-codes.ts'
import type { ProtocolVersion } from './versions.ts'

/** SUBACK and UNSUBACK: one code for each Topic Filter asked for, in the same order. */
export interface SubackPacket {
  packetId: number
  /** Empty in an UNSUBACK before MQTT 5. */
  reasonCodes: number[]
  /** Null before MQTT 5. */
  properties: Properties | null
}

/**
 * SUBACK [v5 MQTT-3.8.4-5, -6] [v3 MQTT-3.8.4-4, -5].
 *
 * @param codes reason codes of MQTT 5. 3.1.1 knows one refusal, 0x80 [v3 MQTT-3.9.3-2]; 3.1 knows none, and says that a refused
 *   subscription is granted all the same (section 3.9): it goes out as QoS 0, the least it can claim.
 */
export function encodeSuback(
  version: ProtocolVersion,
  packetId: number,
  codes: readonly number[],
  properties?: Properties | null,
): Buffer {
  const writer = new BodyWriter().uint16(packetId)
  if (version === 5) writeProperties(writer, properties, PacketType.SUBACK)
  for (const code of codes) writer.uint8(version === 5 || code < 0x80 ? code : version === 4 ? 0x80 : 0)
  return writer.packet(PacketType.SUBACK, 0)
}

/** UNSUBACK [v5 MQTT-3.10.4-6] [v3 MQTT-3.10.4-4]. Before MQTT 5 it is the Packet Identifier alone, whatever the codes. */
export function encodeUnsuback(
  version: ProtocolVersion,
  packetId: number,
  codes: readonly number[],
  properties?: Properties | null,
): Buffer {
  const writer = new BodyWriter().uint16(packetId)
  if (version === 5) {
    writeProperties(writer, properties, PacketType.UNSUBACK)
    for (const code of codes) writer.uint8(code)
  }
  return writer.packet(PacketType.UNSUBACK, 0)
}

/**
 * The client's side of both.
 *
 * @throws SluiceError malformed_packet, protocol_error
 */
export function decodeSuback(
  type: typeof PacketType.SUBACK | typeof PacketType.UNSUBACK,
  buf: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
): SubackPacket {
  const name = packetName(type)
  const packet: SubackPacket = { packetId: readPacketId(buf, start, end), reasonCodes: [], properties: null }
  const reader = new BodyReader(buf, start + 2, end, name)
  if (version === 5) {
    const decoded = decodeProperties(buf, reader.pos, end, type)
    packet.properties = decoded.properties
    reader.pos = decoded.end
  } else if (type === PacketType.UNSUBACK) {
    reader.finish()
    return packet
  }
  if (reader.left === 0) throw malformed(`${name}: no reason code`)
  while (reader.left > 0) {
    const code = reader.uint8('reason code')
    const known = version === 5 ? isReasonCodeFor(type, code) : code < 3 || (version === 4 && code === 0x80)
    // [v3 MQTT-3.9.3-2] [v5 MQTT-3.9.3-2]
    if (!known) throw protocolError(`${name}: code ${code} is not allowed here`)
    packet.reasonCodes.push(code)
  }
  return packet
}
