import { BodyReader } from './body-reader.ts'
import { BodyWriter } from './body-writer.ts'
import { checkEmptyBody, PacketType } from './control.ts'
import { protocolError } from './malformed.ts'
import { decodeProperties, type Properties, writeProperties } from './properties.ts'
import { isReasonCodeFor, reasonCodeName } from './reason-codes.ts'
import type { ProtocolVersion } from './versions.ts'

export interface DisconnectPacket {
  /** 0 before MQTT 5. */
  reasonCode: number
  /** Null when there are none, and before MQTT 5. */
  properties: Properties | null
}

/**
 *     DISCONNECT body = [v5 Reason Code, [v5 Properties]]
 *
 * Whether a Session Expiry Interval may be set here depends on the CONNECT, which this layer does not know
 * (v5 section 3.14.2.2.2).
 *
 * @param sender who sent it; some reason codes and properties belong to one side (v5 table 3-10, [v5 MQTT-3.14.2-2])
 * @throws SluiceError malformed_packet, protocol_error
 */
export function decodeDisconnect(
  buf: Buffer,
  start: number,
  end: number,
  version: ProtocolVersion,
  sender: 'client' | 'server' = 'client',
): DisconnectPacket {
  const packet: DisconnectPacket = { reasonCode: 0, properties: null }
  if (version < 5) checkEmptyBody(PacketType.DISCONNECT, start, end)
  if (start === end) return packet
  const reader = new BodyReader(buf, start, end, 'DISCONNECT')
  packet.reasonCode = reader.uint8('reason code')
  if (!isReasonCodeFor(PacketType.DISCONNECT, packet.reasonCode, sender)) {
    const name = reasonCodeName(packet.reasonCode, PacketType.DISCONNECT)
    throw protocolError(`DISCONNECT: the ${sender} may not send ${name}`)
  }
  if (reader.left === 0) return packet
  const { properties, end: next } = decodeProperties(buf, reader.pos, end, PacketType.DISCONNECT)
  reader.pos = next
  reader.finish()
  const foreign = sender === 'client' ? 'serverReference' : 'sessionExpiryInterval'
  if (properties[foreign] !== undefined) throw protocolError(`DISCONNECT: the ${sender} may not send ${foreign}`)
  packet.properties = properties
  return packet
}

/** DISCONNECT in its shortest form. A server sends it only in MQTT 5; before, the reason code is ignored. */
export function encodeDisconnect(version: ProtocolVersion, reasonCode = 0, properties?: Properties | null): Buffer {
  const bare = properties === undefined || properties === null
  if (version < 5 || (bare && reasonCode === 0)) return Buffer.from([PacketType.DISCONNECT << 4, 0])
  const writer = new BodyWriter().uint8(reasonCode)
  if (!bare) writeProperties(writer, properties, PacketType.DISCONNECT)
  return writer.packet(PacketType.DISCONNECT, 0)
}
