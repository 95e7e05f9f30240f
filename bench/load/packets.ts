/**
 * The packets a load client sends, encoded once before the run.
 *
 * The fixed header, topic and payload of every PUBLISH a publisher will ever send are the same, so they are laid out
 * back to back in one *block*; while the load runs only the two bytes of each Packet Identifier (QoS 1 and 2) or the
 * eight bytes of a timestamp are written into it.
 */

export type QoS = 0 | 1 | 2
/** MQTT protocol level: 4 is MQTT 3.1.1, 5 is MQTT 5. */
export type Version = 4 | 5

/** PUBLISH frames of one length, side by side in one buffer. */
export interface PublishBlock {
  readonly bytes: Buffer
  /** Length of one frame. Frame i starts at `i * frameBytes`. */
  readonly frameBytes: number
  /** Frames in the block. */
  readonly count: number
  /** Where the Packet Identifier stands within a frame; -1 with QoS 0. */
  readonly packetIdOffset: number
  readonly payloadOffset: number
}

/** Writes a Variable Byte Integer [v3 2.2.3, v5 1.5.5]; at most four bytes. */
function variableByteInteger(value: number): number[] {
  const bytes: number[] = []
  do {
    const digit = value % 128
    value = Math.floor(value / 128)
    bytes.push(value > 0 ? digit | 0x80 : digit)
  } while (value > 0)
  return bytes
}

function utf8String(text: string): Buffer {
  const body = Buffer.from(text, 'utf8')
  return Buffer.concat([Buffer.from([body.length >> 8, body.length & 0xff]), body])
}

function frame(firstByte: number, ...parts: readonly (Buffer | readonly number[])[]): Buffer {
  const body = Buffer.concat(parts.map((part) => Buffer.from(part)))
  return Buffer.concat([Buffer.from([firstByte, ...variableByteInteger(body.length)]), body])
}

export interface ConnectOptions {
  readonly clientId: string
  readonly version: Version
  /** Clean Session (3.1.1) or Clean Start (5). False keeps the session for ever. */
  readonly clean: boolean
  /** What we accept in flight; sent by MQTT 5 clients only. 0: not sent. */
  readonly receiveMaximum: number
  /** Sent as it is; no PINGREQ follows, so it must be 0 or longer than the run. */
  readonly keepAliveSeconds: number
}

/** CONNECT; with Keep Alive 0 an idle client owes nothing. */
export function connectPacket(options: ConnectOptions): Buffer {
  const flags = options.clean ? 0x02 : 0x00
  const variableHeader: number[] = [
    options.version,
    flags,
    options.keepAliveSeconds >> 8,
    options.keepAliveSeconds & 0xff,
  ]
  if (options.version === 5) {
    const properties: number[] = []
    if (!options.clean) properties.push(0x11, 0xff, 0xff, 0xff, 0xff)
    if (options.receiveMaximum > 0) properties.push(0x21, options.receiveMaximum >> 8, options.receiveMaximum & 0xff)
    variableHeader.push(properties.length, ...properties)
  }
  return frame(0x10, utf8String('MQTT'), variableHeader, utf8String(options.clientId))
}

/** SUBSCRIBE with every Topic Filter at the same QoS. */
export function subscribePacket(packetId: number, filters: readonly string[], qos: QoS, version: Version): Buffer {
  const properties = version === 5 ? [0] : []
  const entries = filters.flatMap((topicFilter) => [utf8String(topicFilter), [qos]])
  return frame(0x82, [packetId >> 8, packetId & 0xff], properties, ...entries)
}

/** `count` different User Properties of 25 bytes, with their Property Length in front [v5 3.3.2.3.7]. */
function userProperties(count: number): Buffer {
  const pairs = Array.from({ length: count }, (_, i) =>
    Buffer.concat([Buffer.from([0x26]), utf8String(`name-${i % 10}`), utf8String(`the value no ${i % 10}`)]),
  )
  const properties = Buffer.concat(pairs)
  return Buffer.concat([Buffer.from(variableByteInteger(properties.length)), properties])
}

export interface PublishOptions {
  /** The topics take turns, frame by frame. They must be equally long. */
  readonly topics: readonly string[]
  readonly payloadBytes: number
  readonly qos: QoS
  readonly version: Version
  /** User Properties of every PUBLISH; 0 unless `version` is 5. */
  readonly userProperties: number
  /** The block holds as many frames as fit, at least one. */
  readonly blockBytes: number
}

export function publishBlock(options: PublishOptions): PublishBlock {
  const { qos, version } = options
  const properties = version === 5 ? [...userProperties(options.userProperties)] : []
  const afterTopic = [...(qos > 0 ? [0, 0] : []), ...properties]
  const payload = Buffer.alloc(options.payloadBytes, 'x')
  const frames = options.topics.map((topic) => frame(0x30 | (qos << 1), utf8String(topic), afterTopic, payload))
  const frameBytes = frames[0]!.length
  if (frames.some((one) => one.length !== frameBytes)) throw new RangeError('topics of one block differ in length')
  const round = Buffer.concat(frames)
  const rounds = Math.max(1, Math.floor(options.blockBytes / round.length))
  const payloadOffset = frameBytes - options.payloadBytes
  return {
    bytes: Buffer.alloc(round.length * rounds, round),
    frameBytes,
    count: rounds * frames.length,
    packetIdOffset: qos > 0 ? payloadOffset - afterTopic.length : -1,
    payloadOffset,
  }
}

/**
 * Receive Maximum of an MQTT 5 CONNACK body (`bytes[from..to)`), 65,535 where the broker names none
 * [v5 MQTT-3.3.4-9]: a publisher keeps its window within it.
 */
export function connackReceiveMaximum(bytes: Buffer, from: number, to: number): number {
  // Acknowledge flags, reason code, then the property length (one byte for any CONNACK we have met, but read in full).
  let at = from + 2
  while (at < to && bytes[at]! >= 0x80) at++
  at++
  while (at < to) {
    const identifier = bytes[at++]!
    if (identifier === 0x21) return bytes.readUInt16BE(at)
    const width = CONNACK_PROPERTY_BYTES[identifier]
    if (width === undefined) return 65_535
    at += width === 'string' ? 2 + bytes.readUInt16BE(at) : width === 'pair' ? pairBytes(bytes, at) : width
  }
  return 65_535
}

/** Widths of the properties a CONNACK may carry [v5 3.2.2.3]. */
const CONNACK_PROPERTY_BYTES: Readonly<Record<number, number | 'string' | 'pair'>> = {
  17: 4,
  18: 'string',
  19: 2,
  21: 'string',
  22: 'string',
  26: 'string',
  28: 'string',
  31: 'string',
  34: 2,
  36: 1,
  37: 1,
  38: 'pair',
  39: 4,
  40: 1,
  41: 1,
  42: 1,
}

function pairBytes(bytes: Buffer, at: number): number {
  const nameBytes = 2 + bytes.readUInt16BE(at)
  return nameBytes + 2 + bytes.readUInt16BE(at + nameBytes)
}
