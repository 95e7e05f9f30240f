import { PacketType } from './control.ts'

/**
 * How a property's value looks on the wire. `bit` and `flag` are a byte that may only be 0 or 1, a number and a boolean for us;
 * `pair` is two strings.
 */
export type PropertyType = 'bit' | 'flag' | 'uint16' | 'uint32' | 'varint' | 'string' | 'binary' | 'pair'

/** Where the Will Properties stand among the packets: type 0 is reserved, so its bit is free. */
export const WILL_PROPERTIES = 0

/** Every property of MQTT 5 by the specification's name; those that may repeat are arrays. */
export interface Properties {
  /** 1: the payload is UTF-8 text. */
  payloadFormatIndicator?: 0 | 1
  /** Seconds. */
  messageExpiryInterval?: number
  contentType?: string
  responseTopic?: string
  correlationData?: Buffer
  /** 1 to 268,435,455; more than one only in a PUBLISH from the server. */
  subscriptionIdentifiers?: number[]
  /** Seconds; 0xffffffff: never. */
  sessionExpiryInterval?: number
  assignedClientIdentifier?: string
  /** Seconds. */
  serverKeepAlive?: number
  authenticationMethod?: string
  authenticationData?: Buffer
  requestProblemInformation?: boolean
  /** Seconds. */
  willDelayInterval?: number
  requestResponseInformation?: boolean
  responseInformation?: string
  serverReference?: string
  reasonString?: string
  receiveMaximum?: number
  topicAliasMaximum?: number
  topicAlias?: number
  maximumQos?: 0 | 1
  retainAvailable?: boolean
  /** Name and value, in the order sent; names may repeat. */
  userProperties?: [string, string][]
  /** Bytes. */
  maximumPacketSize?: number
  wildcardSubscriptionAvailable?: boolean
  subscriptionIdentifierAvailable?: boolean
  sharedSubscriptionAvailable?: boolean
}

/** One property of table 2-4. */
export interface PropertyEntry {
  readonly id: number
  readonly name: keyof Properties
  readonly type: PropertyType
  /** Bit `1 << type` for each packet type it may appear in; bit `1 << WILL_PROPERTIES` for a will. */
  readonly packets: number
  /** The packet types (as bits) in which it may appear more than once. */
  readonly repeats: number
  /** Zero is a Protocol Error. */
  readonly nonZero: boolean
}

const bits = (...types: number[]): number => types.reduce((all, type) => all | (1 << type), 0)

const { CONNECT, CONNACK, PUBLISH, PUBACK, PUBREC, PUBREL, PUBCOMP } = PacketType
const { SUBSCRIBE, SUBACK, UNSUBSCRIBE, UNSUBACK, DISCONNECT, AUTH } = PacketType

const message = bits(PUBLISH, WILL_PROPERTIES)
const connecting = bits(CONNECT, CONNACK)
const answers = bits(CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH)
const everywhere = answers | message | bits(CONNECT, SUBSCRIBE, UNSUBSCRIBE)

function entry(
  id: number,
  name: keyof Properties,
  type: PropertyType,
  packets: number,
  rule: { repeats?: number; nonZero?: boolean } = {},
): PropertyEntry {
  return { id, name, type, packets, repeats: rule.repeats ?? 0, nonZero: rule.nonZero ?? false }
}

/** All 27 properties: table 2-4 of MQTT 5. */
export const propertyTable: readonly PropertyEntry[] = [
  entry(0x01, 'payloadFormatIndicator', 'bit', message),
  entry(0x02, 'messageExpiryInterval', 'uint32', message),
  entry(0x03, 'contentType', 'string', message),
  entry(0x08, 'responseTopic', 'string', message),
  entry(0x09, 'correlationData', 'binary', message),
  entry(0x0b, 'subscriptionIdentifiers', 'varint', bits(PUBLISH, SUBSCRIBE), { repeats: bits(PUBLISH), nonZero: true }),
  entry(0x11, 'sessionExpiryInterval', 'uint32', connecting | bits(DISCONNECT)),
  entry(0x12, 'assignedClientIdentifier', 'string', bits(CONNACK)),
  entry(0x13, 'serverKeepAlive', 'uint16', bits(CONNACK)),
  entry(0x15, 'authenticationMethod', 'string', connecting | bits(AUTH)),
  entry(0x16, 'authenticationData', 'binary', connecting | bits(AUTH)),
  entry(0x17, 'requestProblemInformation', 'flag', bits(CONNECT)),
  entry(0x18, 'willDelayInterval', 'uint32', bits(WILL_PROPERTIES)),
  entry(0x19, 'requestResponseInformation', 'flag', bits(CONNECT)),
  entry(0x1a, 'responseInformation', 'string', bits(CONNACK)),
  entry(0x1c, 'serverReference', 'string', bits(CONNACK, DISCONNECT)),
  entry(0x1f, 'reasonString', 'string', answers),
  entry(0x21, 'receiveMaximum', 'uint16', connecting, { nonZero: true }),
  entry(0x22, 'topicAliasMaximum', 'uint16', connecting),
  entry(0x23, 'topicAlias', 'uint16', bits(PUBLISH), { nonZero: true }),
  entry(0x24, 'maximumQos', 'bit', bits(CONNACK)),
  entry(0x25, 'retainAvailable', 'flag', bits(CONNACK)),
  entry(0x26, 'userProperties', 'pair', everywhere, { repeats: everywhere }),
  entry(0x27, 'maximumPacketSize', 'uint32', connecting, { nonZero: true }),
  entry(0x28, 'wildcardSubscriptionAvailable', 'flag', bits(CONNACK)),
  entry(0x29, 'subscriptionIdentifierAvailable', 'flag', bits(CONNACK)),
  entry(0x2a, 'sharedSubscriptionAvailable', 'flag', bits(CONNACK)),
]
