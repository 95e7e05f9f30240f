import { BodyReader } from './body-reader.ts'
import { BodyWriter } from './body-writer.ts'
import { PacketType } from './control.ts'
import { protocolError } from './malformed.ts'
import { decodeProperties, type Properties, writeProperties } from './properties.ts'
import { isReasonCodeFor, reasonCodeName } from './reason-codes.ts'

/** MQTT 5 only. */
export interface AuthPacket {
  /** 0x00 Success, 0x18 Continue authentication, 0x19 Re-authenticate. */
  reasonCode: number
  /** Null only in the empty form, which means Success. */
  properties: Properties | null
}

/**
 *     AUTH body = [Reason Code, Properties]
 *
 * The empty form means Success (v5 section 3.15.2.1), which only a server sends.
 *
 * @param sender who sent it: a client continues or re-authenticates [v5 MQTT-3.15.2-1]
 * @throws SluiceError malformed_packet; protocol_error, also when the Authentication Method is missing (v5 section 3.15.2.2.2)
 */
export function decodeAuth(
  buf: Buffer,
  start: number,
  end: number,
  sender: 'client' | 'server' = 'client',
): AuthPacket {
  const packet: AuthPacket = { reasonCode: 0, properties: null }
  const reader = new BodyReader(buf, start, end, 'AUTH')
  if (reader.left > 0) {
    packet.reasonCode = reader.uint8('reason code')
    const { properties, end: next } = decodeProperties(buf, reader.pos, end, PacketType.AUTH)
    reader.pos = next
    reader.finish()
    if (properties.authenticationMethod === undefined) throw protocolError('AUTH: no authenticationMethod')
    packet.properties = properties
  }
  if (!isReasonCodeFor(PacketType.AUTH, packet.reasonCode, sender)) {
    throw protocolError(`AUTH: the ${sender} may not send ${reasonCodeName(packet.reasonCode)}`)
  }
  return packet
}

/** AUTH. Without properties only Success can be said, in the empty form. */
export function encodeAuth(reasonCode: number, properties?: Properties | null): Buffer {
  const bare = properties === undefined || properties === null
  if (bare && reasonCode === 0) return Buffer.from([PacketType.AUTH << 4, 0])
  const writer = new BodyWriter().uint8(reasonCode)
  writeProperties(writer, properties, PacketType.AUTH)
  return writer.packet(PacketType.AUTH, 0)
}
