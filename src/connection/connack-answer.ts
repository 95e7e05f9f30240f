import { encodeConnack } from '../wire/connack.ts'
import type { ConnectPacket } from '../wire/connect.ts'
import type { Properties } from '../wire/properties.ts'
import type { Connection } from './connection.ts'

/**
 * CONNACK of success. Response Information is left out where it would make the packet larger than the client takes; null:
 * it does not fit even so [v5 MQTT-3.1.2-24].
 */
export function encodeAnswer(c: Connection, sessionPresent: boolean, properties: Properties): Buffer | null {
  const connack = encodeConnack(c.version, { sessionPresent, reasonCode: 0, properties })
  if (connack.length <= c.maximumPacketSize) return connack
  if (properties.responseInformation === undefined) return null
  delete properties.responseInformation
  return encodeAnswer(c, sessionPresent, properties)
}

/** Seconds the session outlives the connection. MQTT 3: until the configured maximum, unless it is clean. */
export function expiryOf(c: Connection, packet: ConnectPacket, answer: Properties): number {
  const maximum = c.limits.sessionExpirySecondsMax
  if (!c.version5) return packet.clean ? 0 : maximum
  const asked = packet.properties?.sessionExpiryInterval ?? 0
  if (asked <= maximum) return asked
  answer.sessionExpiryInterval = maximum
  return maximum
}

export function announceLimits(c: Connection, packet: ConnectPacket, answer: Properties): void {
  const { limits } = c
  const { mqtt } = c.core.config
  if (limits.receiveMaximum < 65_535) answer.receiveMaximum = limits.receiveMaximum
  answer.maximumPacketSize = limits.packetBytesMax
  if (limits.topicAliasMaximum > 0) answer.topicAliasMaximum = limits.topicAliasMaximum
  if (packet.properties?.requestResponseInformation === true && mqtt.responseInformation !== '')
    answer.responseInformation = mqtt.responseInformation
      .replaceAll('%c', c.clientId)
      .replaceAll('%u', c.userName ?? '')
}
