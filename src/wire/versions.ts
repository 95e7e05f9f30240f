import { stringEnd } from './utf8.ts'

/** Protocol Level of the CONNECT: 3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is MQTT 5. */
export type ProtocolVersion = 3 | 4 | 5

export type Qos = 0 | 1 | 2

/** The name people use, for messages and logs. */
export const versionNames: Readonly<Record<ProtocolVersion, string>> = { 3: '3.1', 4: '3.1.1', 5: '5' }

/** Set in the level byte by the bridges of Mosquitto and those that copy it (3.1 and 3.1.1 only). */
export const BRIDGE_BIT = 0x80

/** The Protocol Name that belongs to each level. */
export const protocolNames: Readonly<Record<ProtocolVersion, string>> = { 3: 'MQIsdp', 4: 'MQTT', 5: 'MQTT' }

/** The version named by a Protocol Name and a level byte, or null when there is none we speak. */
export function versionOf(protocolName: string, level: number): ProtocolVersion | null {
  if (protocolName === 'MQIsdp') return (level & ~BRIDGE_BIT) === 3 ? 3 : null
  if (protocolName !== 'MQTT') return null
  if (level === 5) return 5
  return (level & ~BRIDGE_BIT) === 4 ? 4 : null
}

/**
 * The version in which to answer the CONNECT whose body begins at `start`, also when `decodeConnect` refused it; null when it does
 * not even name MQTT, and then the connection is closed without an answer.
 *
 * A level we do not speak is answered in the nearest format: above 5 as MQTT 5 (0x84) [v5 MQTT-3.1.2-2], everything else as 3.1.1
 * (return code 1) [v3 MQTT-3.1.2-2].
 */
export function answerVersion(buf: Buffer, start: number, end: number): ProtocolVersion | null {
  if (start + 2 > end) return null
  const levelAt = stringEnd(buf, start)
  if (levelAt >= end) return null
  const name = buf.toString('utf8', start + 2, levelAt)
  if (name !== 'MQTT' && name !== 'MQIsdp') return null
  const level = buf[levelAt]!
  const version = versionOf(name, level)
  if (version !== null) return version
  return level > 5 && level < BRIDGE_BIT && name === 'MQTT' ? 5 : 4
}
