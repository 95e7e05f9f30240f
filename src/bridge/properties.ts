import { PacketType } from '../wire/control.ts'
import type { Properties } from '../wire/properties.ts'
import { decodePropertyBytes } from '../wire/property-bytes.ts'
import type { EnvelopeProperties } from './envelope.ts'

/**
 * The properties of a stored message as a worker sees them.
 * @param bytes as in the PUBLISH, without their length
 * @throws SluiceError malformed_packet
 */
export function envelopeProperties(bytes: Buffer): EnvelopeProperties {
  return pick(decodePropertyBytes(bytes, PacketType.PUBLISH))
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
