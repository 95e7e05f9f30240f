import { malformed } from './malformed.ts'
import type { ProtocolVersion } from './versions.ts'

/** MQTT Control Packet types: the upper four bits of the first byte (v5 section 2.1.2, v3 section 2.2.1). */
export const PacketType = {
  CONNECT: 1,
  CONNACK: 2,
  PUBLISH: 3,
  PUBACK: 4,
  PUBREC: 5,
  PUBREL: 6,
  PUBCOMP: 7,
  SUBSCRIBE: 8,
  SUBACK: 9,
  UNSUBSCRIBE: 10,
  UNSUBACK: 11,
  PINGREQ: 12,
  PINGRESP: 13,
  DISCONNECT: 14,
  AUTH: 15,
} as const
export type PacketType = (typeof PacketType)[keyof typeof PacketType]

const names: readonly string[] = ['reserved packet', ...Object.keys(PacketType)]

/** The packet's name as the specification writes it. */
export function packetName(type: number): string {
  return names[type] ?? `packet type ${type}`
}

/**
 * The flags a packet must carry in the lower four bits of its first byte: 0b0010 for PUBREL, SUBSCRIBE and UNSUBSCRIBE, 0 for the
 * others; PUBLISH has its own (see `checkFixedHeaderFlags`).
 */
export function fixedHeaderFlags(type: number): number {
  return type === PacketType.PUBREL || type === PacketType.SUBSCRIBE || type === PacketType.UNSUBSCRIBE ? 2 : 0
}

/**
 * Refuses a first byte that the specification reserves [v5 MQTT-2.1.3-1] [v3 MQTT-2.2.2-1, -2], also PUBLISH with QoS 3
 * [v5 MQTT-3.3.1-4] [v3 MQTT-3.3.1-4] or with DUP at QoS 0 [v5 MQTT-3.3.1-2] [v3 MQTT-3.3.1-2], and type 15 before MQTT 5.
 *
 * MQTT 3.1 has no reserved flags: it calls them unused, and lets PUBREL, SUBSCRIBE and UNSUBSCRIBE carry DUP beside their QoS 1.
 *
 * @throws SluiceError malformed_packet
 */
export function checkFixedHeaderFlags(type: number, flags: number, version: ProtocolVersion = 4): void {
  if (type === PacketType.PUBLISH) {
    if ((flags & 6) === 6) throw malformed('PUBLISH: QoS 3 does not exist')
    if ((flags & 14) === 8) throw malformed('PUBLISH: DUP is set on a QoS 0 message')
    return
  }
  if (type < 1 || type > 15 || (type === PacketType.AUTH && version < 5)) {
    throw malformed(`packet type ${type} is reserved`)
  }
  const wanted = fixedHeaderFlags(type)
  if (flags === wanted) return
  if (version === 3 && (wanted === 0 || (flags & 6) === wanted)) return
  throw malformed(`${packetName(type)}: the fixed header flags are ${flags}, not ${wanted}`)
}

/**
 * PINGREQ, PINGRESP, and DISCONNECT before MQTT 5 have no body.
 *
 * @throws SluiceError malformed_packet
 */
export function checkEmptyBody(type: number, start: number, end: number): void {
  if (start !== end) throw malformed(`${packetName(type)}: ${end - start} bytes where there should be none`)
}

const pingresp = Buffer.from([PacketType.PINGRESP << 4, 0])
const pingreq = Buffer.from([PacketType.PINGREQ << 4, 0])

/** PINGRESP. Always the same buffer: never write to it. */
export function encodePingresp(): Buffer {
  return pingresp
}

/** PINGREQ, which only a client sends. Always the same buffer: never write to it. */
export function encodePingreq(): Buffer {
  return pingreq
}
