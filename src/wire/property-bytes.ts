import { decodeProperties, encodeProperties, type Properties } from './properties.ts'
import { varintBytes, writeVarint } from './varint.ts'

/**
 * Properties without their Property Length, as stored messages keep them.
 * @param packetType whose properties they are: a PacketType, or WILL_PROPERTIES
 * @throws SluiceError malformed_packet, protocol_error
 */
export function decodePropertyBytes(bytes: Buffer, packetType: number): Properties {
  const whole = Buffer.allocUnsafe(varintBytes(bytes.length) + bytes.length)
  bytes.copy(whole, writeVarint(whole, 0, bytes.length))
  return decodeProperties(whole, 0, whole.length, packetType).properties
}

/** The other way: encoded, without the Property Length. */
export function encodePropertyBytes(properties: Properties, packetType: number): Buffer {
  const encoded = encodeProperties(properties, packetType)
  let at = 0
  while (encoded[at]! > 127) at++
  return encoded.subarray(at + 1)
}
