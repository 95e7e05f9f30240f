import { SluiceError } from '../errors.ts'
import { BodyReader } from './body-reader.ts'
import { malformed, protocolError } from './malformed.ts'
import { decodeProperties, type Properties, WILL_PROPERTIES } from './properties.ts'
import { isTopicName } from './topic.ts'
import { BRIDGE_BIT, type ProtocolVersion, type Qos, versionOf } from './versions.ts'

/** The Will Message of a CONNECT. */
export interface Will {
  topic: string
  payload: Buffer
  qos: Qos
  retain: boolean
  /** Null before MQTT 5. */
  properties: Properties | null
}

export interface ConnectPacket {
  version: ProtocolVersion
  /** Clean Session of 3.1 and 3.1.1, Clean Start of MQTT 5. */
  clean: boolean
  /** Empty: the server chooses one (always clean in 3.1.1). */
  clientId: string
  /** 0: no Keep Alive. */
  keepAliveSeconds: number
  will: Will | null
  userName?: string
  password?: Buffer
  /** Null before MQTT 5. */
  properties: Properties | null
  /** The client said that it is a bridge (bit 7 of the level, 3.1 and 3.1.1). */
  bridge: boolean
}

const CLEAN = 0x02
const WILL = 0x04
const WILL_RETAIN = 0x20
const PASSWORD = 0x40
const USER_NAME = 0x80

/**
 *     CONNECT body = Protocol Name, Level, Connect Flags, Keep Alive, [v5 Properties],
 *                    Client Identifier, [[v5 Will Properties], Will Topic, Will Payload], [User Name], [Password]
 *
 * Nothing returned refers to `buf`. The version to answer in, also after an error, is told by `answerVersion`.
 *
 * @throws SluiceError unsupported_protocol_version, malformed_packet, protocol_error, topic_name_invalid (the will's),
 *   client_identifier_not_valid (empty where it must not be)
 */
export function decodeConnect(buf: Buffer, start: number, end: number): ConnectPacket {
  const reader = new BodyReader(buf, start, end, 'CONNECT')
  // A wrong name is refused, not malformed: it may be another protocol [v5 MQTT-3.1.2-1] [v3 MQTT-3.1.2-1].
  const name = reader.string('Protocol Name')
  const level = reader.uint8('Protocol Level')
  const version = versionOf(name, level)
  if (version === null) {
    throw new SluiceError('unsupported_protocol_version', `CONNECT: protocol "${name.slice(0, 16)}" level ${level}`)
  }
  const flags = reader.uint8('Connect Flags')
  checkConnectFlags(flags, version)
  const keepAliveSeconds = reader.uint16('Keep Alive')
  const properties = version === 5 ? readProperties(reader, 1) : null
  // [v5 section 3.1.2.11.10]
  if (properties?.authenticationData !== undefined && properties.authenticationMethod === undefined) {
    throw protocolError('CONNECT: authenticationData without authenticationMethod')
  }
  const clientId = reader.string('Client Identifier')
  const clean = (flags & CLEAN) !== 0
  const will = (flags & WILL) !== 0 ? readWill(reader, flags, version) : null
  const packet: ConnectPacket = {
    version,
    clean,
    clientId,
    keepAliveSeconds,
    will,
    properties,
    bridge: version < 5 && (level & BRIDGE_BIT) !== 0,
  }
  // 3.1 (section 3.1, Connect Flags): a set flag whose field is missing at the end of the packet is to be accepted.
  const optional = version === 3
  if ((flags & USER_NAME) !== 0 && !(optional && reader.left === 0)) packet.userName = reader.string('User Name')
  if ((flags & PASSWORD) !== 0 && !(optional && reader.left === 0)) packet.password = reader.binary('Password')
  reader.finish()
  checkClientId(packet)
  return packet
}

function checkConnectFlags(flags: number, version: ProtocolVersion): void {
  const willQos = (flags >> 3) & 3
  // [v5 MQTT-3.1.2-12] [v3 MQTT-3.1.2-14]
  if (willQos === 3) throw malformed('CONNECT: Will QoS 3 does not exist')
  // 3.1 forbids a password without a user name, 3.1.1 too [v3 MQTT-3.1.2-22]; MQTT 5 allows it (section 3.1.2.9).
  if (version < 5 && (flags & PASSWORD) !== 0 && (flags & USER_NAME) === 0) {
    throw malformed('CONNECT: a password without a user name')
  }
  // 3.1 has no reserved flag and ignores the will's bits when there is no will.
  if (version === 3) return
  // [v5 MQTT-3.1.2-3] [v3 MQTT-3.1.2-3]
  if ((flags & 1) !== 0) throw malformed('CONNECT: the reserved flag is set')
  if ((flags & WILL) !== 0) return
  // [v5 MQTT-3.1.2-11] [v3 MQTT-3.1.2-13]
  if (willQos !== 0) throw malformed('CONNECT: Will QoS without a will')
  // [v5 MQTT-3.1.2-13] [v3 MQTT-3.1.2-15]
  if ((flags & WILL_RETAIN) !== 0) throw malformed('CONNECT: Will Retain without a will')
}

function readProperties(reader: BodyReader, packetType: number): Properties {
  const { properties, end } = decodeProperties(reader.buf, reader.pos, reader.end, packetType)
  reader.pos = end
  return properties
}

function readWill(reader: BodyReader, flags: number, version: ProtocolVersion): Will {
  const properties = version === 5 ? readProperties(reader, WILL_PROPERTIES) : null
  const topic = reader.string('Will Topic')
  if (!isTopicName(topic)) {
    throw new SluiceError('topic_name_invalid', 'CONNECT: the Will Topic is empty or contains a wildcard')
  }
  const payload = reader.binary('Will Payload')
  return { topic, payload, qos: ((flags >> 3) & 3) as Qos, retain: (flags & WILL_RETAIN) !== 0, properties }
}

/**
 * An empty Client Identifier asks the server for one: always in MQTT 5 [v5 MQTT-3.1.3-6], only with Clean Session in 3.1.1
 * [v3 MQTT-3.1.3-7, -8], never in 3.1. How long it may be is for the connection to judge: it is a matter of policy, not of bytes.
 */
function checkClientId(packet: ConnectPacket): void {
  if (packet.clientId !== '' || packet.version === 5) return
  if (packet.version === 4 && packet.clean) return
  throw new SluiceError('client_identifier_not_valid', 'CONNECT: the Client Identifier is empty')
}
