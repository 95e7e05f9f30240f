import { PacketType } from '../wire/control.ts'
import { decodeProperties, type Properties } from '../wire/properties.ts'
import { varintBytes, writeVarint } from '../wire/varint.ts'
import type { EnvelopeProperties } from './envelope.ts'

/**
 * The properties of a stored message as a worker sees them.
 * @param bytes as in the PUBLISH, without their length
 * @throws SluiceError malformed_packet
 */
export function decodePropertyBytes(bytes: Buffer): EnvelopeProperties {
  const lengthBytes = varintBytes(bytes.length)
  const field = Buffer.allocUnsafe(lengthBytes + bytes.length)
  writeVarint(field, 0, bytes.length)
  bytes.copy(field, lengthBytes)
  return pick(decodeProperties(field, 0, field.length, PacketType.PUBLISH).properties)
}

/** Without Topic Alias and Subscription Identifier, which belong to a connection and not to the message. */
function pick(properties: Properties): EnvelopeProperties {
  const { payloadFormatIndicator, messageExpiryInterval, contentType, responseTopic, correlationData, userProperties } =
    properties
  const picked: EnvelopeProperties = {}
  if (payloadFormatIndicator !== undefined) picked.payloadFormatIndicator = payloadFormatIndicator
  if (messageExpiryInterval !== undefined) picked.messageExpiryInterval = messageExpiryInterval
  if (contentType !== undefined) picked.contentType = contentType
  if (responseTopic !== undefined) picked.responseTopic = responseTopic
  if (correlationData !== undefined) picked.correlationData = correlationData.toString('base64')
  if (userProperties !== undefined) picked.userProperties = userProperties
  return picked
}
