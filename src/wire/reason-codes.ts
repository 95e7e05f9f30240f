import { PacketType } from './control.ts'

/** One reason code: its name in the specification, and the packets that may carry it. */
export interface ReasonCodeEntry {
  readonly code: number
  readonly name: string
  /** Bit `1 << type` for each packet type that may carry it. */
  readonly packets: number
  /** Who may send it in a DISCONNECT or AUTH. */
  readonly sender: 'both' | 'client' | 'server'
}

const { CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH } = PacketType

function entry(
  code: number,
  name: string,
  packets: readonly PacketType[],
  sender: ReasonCodeEntry['sender'] = 'both',
): ReasonCodeEntry {
  return { code, name, packets: packets.reduce((bits, type) => bits | (1 << type), 0), sender }
}

const refusable = [CONNACK, PUBACK, PUBREC, SUBACK, UNSUBACK, DISCONNECT] as const

/** All reason codes of MQTT 5: table 2-6, with the senders of tables 3-10 (DISCONNECT) and 3-11 (AUTH). */
export const reasonCodes: readonly ReasonCodeEntry[] = [
  entry(0x00, 'Success', [CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH]),
  entry(0x01, 'Granted QoS 1', [SUBACK]),
  entry(0x02, 'Granted QoS 2', [SUBACK]),
  entry(0x04, 'Disconnect with Will Message', [DISCONNECT], 'client'),
  entry(0x10, 'No matching subscribers', [PUBACK, PUBREC]),
  entry(0x11, 'No subscription existed', [UNSUBACK]),
  entry(0x18, 'Continue authentication', [AUTH]),
  entry(0x19, 'Re-authenticate', [AUTH], 'client'),
  entry(0x80, 'Unspecified error', refusable),
  entry(0x81, 'Malformed Packet', [CONNACK, DISCONNECT]),
  entry(0x82, 'Protocol Error', [CONNACK, DISCONNECT]),
  entry(0x83, 'Implementation specific error', refusable),
  entry(0x84, 'Unsupported Protocol Version', [CONNACK]),
  entry(0x85, 'Client Identifier not valid', [CONNACK]),
  entry(0x86, 'Bad User Name or Password', [CONNACK]),
  entry(0x87, 'Not authorized', refusable, 'server'),
  entry(0x88, 'Server unavailable', [CONNACK]),
  entry(0x89, 'Server busy', [CONNACK, DISCONNECT], 'server'),
  entry(0x8a, 'Banned', [CONNACK]),
  entry(0x8b, 'Server shutting down', [DISCONNECT], 'server'),
  // Table 2-6 names DISCONNECT too, but table 3-10, which [v5 MQTT-3.14.2-1] makes binding, does not.
  entry(0x8c, 'Bad authentication method', [CONNACK]),
  entry(0x8d, 'Keep Alive timeout', [DISCONNECT], 'server'),
  entry(0x8e, 'Session taken over', [DISCONNECT], 'server'),
  entry(0x8f, 'Topic Filter invalid', [SUBACK, UNSUBACK, DISCONNECT], 'server'),
  entry(0x90, 'Topic Name invalid', [CONNACK, PUBACK, PUBREC, DISCONNECT]),
  entry(0x91, 'Packet Identifier in use', [PUBACK, PUBREC, SUBACK, UNSUBACK]),
  entry(0x92, 'Packet Identifier not found', [PUBREL, PUBCOMP]),
  entry(0x93, 'Receive Maximum exceeded', [DISCONNECT]),
  entry(0x94, 'Topic Alias invalid', [DISCONNECT]),
  entry(0x95, 'Packet too large', [CONNACK, DISCONNECT]),
  entry(0x96, 'Message rate too high', [DISCONNECT]),
  entry(0x97, 'Quota exceeded', [CONNACK, PUBACK, PUBREC, SUBACK, DISCONNECT]),
  entry(0x98, 'Administrative action', [DISCONNECT]),
  entry(0x99, 'Payload format invalid', [CONNACK, PUBACK, PUBREC, DISCONNECT]),
  entry(0x9a, 'Retain not supported', [CONNACK, DISCONNECT], 'server'),
  entry(0x9b, 'QoS not supported', [CONNACK, DISCONNECT], 'server'),
  entry(0x9c, 'Use another server', [CONNACK, DISCONNECT], 'server'),
  entry(0x9d, 'Server moved', [CONNACK, DISCONNECT], 'server'),
  entry(0x9e, 'Shared Subscriptions not supported', [SUBACK, DISCONNECT], 'server'),
  entry(0x9f, 'Connection rate exceeded', [CONNACK, DISCONNECT], 'server'),
  entry(0xa0, 'Maximum connect time', [DISCONNECT], 'server'),
  entry(0xa1, 'Subscription Identifiers not supported', [SUBACK, DISCONNECT], 'server'),
  entry(0xa2, 'Wildcard Subscriptions not supported', [SUBACK, DISCONNECT], 'server'),
]

const byCode: (ReasonCodeEntry | undefined)[] = new Array(256).fill(undefined)
for (const row of reasonCodes) byCode[row.code] = row

/** True when the packet may carry this reason code, sent by this side. */
export function isReasonCodeFor(type: PacketType, code: number, sender?: 'client' | 'server'): boolean {
  const row = byCode[code]
  if (row === undefined || (row.packets & (1 << type)) === 0) return false
  // The table's sender speaks of DISCONNECT and AUTH only; the acknowledgements have one meaning from either side.
  if (sender === undefined || (type !== DISCONNECT && type !== AUTH)) return true
  // Success ends an authentication, which only the server does (table 3-11).
  if (type === AUTH && code === 0) return sender === 'server'
  return row.sender === 'both' || row.sender === sender
}

/**
 * The reason code with which this packet can say `code`: the code itself where it is allowed, else the general refusal
 * (0x80; for PUBREL and PUBCOMP, which have only one, 0x92).
 */
export function reasonCodeFor(type: PacketType, code: number): number {
  if (isReasonCodeFor(type, code)) return code
  return type === PUBREL || type === PUBCOMP ? 0x92 : 0x80
}

/** The code's name in that packet: 0x00 has three. */
export function reasonCodeName(code: number, type?: PacketType): string {
  if (code === 0 && type === DISCONNECT) return 'Normal disconnection'
  if (code === 0 && type === SUBACK) return 'Granted QoS 0'
  return byCode[code]?.name ?? `unknown reason code 0x${code.toString(16).padStart(2, '0')}`
}

const returnCodes = new Map([
  [0x00, 0],
  [0x84, 1],
  [0x85, 2],
  [0x88, 3],
  [0x89, 3],
  [0x8b, 3],
  [0x97, 3],
  [0x9c, 3],
  [0x9d, 3],
  [0x9f, 3],
  [0x86, 4],
  [0x87, 5],
  [0x8a, 5],
  [0x8c, 5],
])

/**
 * The CONNACK return code of 3.1 and 3.1.1 that says what the reason code says, or -1 when there is none: then the connection
 * is closed without a CONNACK [v3 MQTT-3.2.2-6].
 */
export function connackReturnCode(reasonCode: number): number {
  return returnCodes.get(reasonCode) ?? -1
}

/** The reason code for a CONNACK return code received from a 3.1 or 3.1.1 server; undefined for the reserved ones. */
export function reasonCodeOfReturnCode(returnCode: number): number | undefined {
  return [0x00, 0x84, 0x85, 0x88, 0x86, 0x87][returnCode]
}
