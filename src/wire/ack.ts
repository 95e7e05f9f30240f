import { BodyReader } from './body-reader.ts'
import { BodyWriter } from './body-writer.ts'
import { fixedHeaderFlags, type PacketType, packetName } from './control.ts'
import { malformed, protocolError } from './malformed.ts'
import { decodeProperties, type Properties, writeProperties } from './properties.ts'
import { isReasonCodeFor } from './reason-codes.ts'
import type { ProtocolVersion } from './versions.ts'

/** The four packets that acknowledge a PUBLISH. */
export type AckType =
  | typeof PacketType.PUBACK
  | typeof PacketType.PUBREC
  | typeof PacketType.PUBREL
  | typeof PacketType.PUBCOMP

export interface Ack {
  packetId: number
  /** 0 before MQTT 5. */
  reasonCode: number
  reasonString?: string
  userProperties?: [string, string][]
}

/**
 * The Packet Identifier at `start`. All there is to read of an acknowledgement whose body has two bytes, the common one; allocates
 * nothing.
 *
 * @throws SluiceError malformed_packet: cut short, or 0 [v5 MQTT-2.2.1-3, -4] [v3 MQTT-2.3.1-1]
 */
export function readPacketId(buf: Uint8Array, start: number, end: number): number {
  if (start + 2 > end) throw malformed('the Packet Identifier is cut short')
  const packetId = (buf[start]! << 8) | buf[start + 1]!
  if (packetId === 0) throw malformed('the Packet Identifier is 0')
  return packetId
}

/**
 *     PUBACK, PUBREC, PUBREL, PUBCOMP body = Packet Identifier, [v5 Reason Code, [v5 Properties]]
 *
 * @throws SluiceError malformed_packet; protocol_error for a reason code that does not belong to the packet [v5 MQTT-3.4.2-1,
 *   MQTT-3.5.2-1, MQTT-3.6.2-1, MQTT-3.7.2-1]
 */
export function decodeAck(type: AckType, buf: Buffer, start: number, end: number, version: ProtocolVersion): Ack {
  const ack: Ack = { packetId: readPacketId(buf, start, end), reasonCode: 0 }
  if (end - start === 2) return ack
  const name = packetName(type)
  if (version < 5) throw malformed(`${name}: ${end - start} bytes where there should be 2`)
  const reader = new BodyReader(buf, start + 2, end, name)
  ack.reasonCode = reader.uint8('reason code')
  if (!isReasonCodeFor(type, ack.reasonCode)) {
    throw protocolError(`${name}: reason code ${ack.reasonCode} is not allowed here`)
  }
  if (reader.left === 0) return ack
  const decoded = decodeProperties(buf, reader.pos, end, type)
  reader.pos = decoded.end
  reader.finish()
  return Object.assign(ack, decoded.properties)
}

/**
 * One of the four acknowledgements in its shortest form. Before MQTT 5 there is no way to say anything but success, so the
 * reason code is ignored: do not acknowledge then.
 */
export function encodeAck(
  type: AckType,
  version: ProtocolVersion,
  packetId: number,
  reasonCode = 0,
  properties?: Properties | null,
): Buffer {
  const flags = fixedHeaderFlags(type)
  const bare = properties === undefined || properties === null
  if (version < 5 || (bare && reasonCode === 0)) {
    return Buffer.from([(type << 4) | flags, 2, packetId >> 8, packetId & 255])
  }
  const writer = new BodyWriter().uint16(packetId).uint8(reasonCode)
  if (!bare) writeProperties(writer, properties, type)
  return writer.packet(type, flags)
}
