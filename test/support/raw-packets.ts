/**
 * MQTT packets as bytes, for tests only: a second, deliberately plain reading of the three specifications, so that
 * the broker's own codec is checked against something that shares no line with it.
 *
 * Encoders do not validate: a test must be able to say something wrong. Decoders throw on bytes a broker must
 * never send.
 */

/** Protocol level: 3 is MQTT 3.1, 4 is MQTT 3.1.1, 5 is MQTT 5. */
export type Version = 3 | 4 | 5
export type Qos = 0 | 1 | 2

const names = [
  'reserved',
  'connect',
  'connack',
  'publish',
  'puback',
  'pubrec',
  'pubrel',
  'pubcomp',
  'subscribe',
  'suback',
  'unsubscribe',
  'unsuback',
  'pingreq',
  'pingresp',
  'disconnect',
  'auth',
] as const

/** MQTT 5 properties by specification name in camelCase; repeatable ones hold arrays. */
export type RawProperties = Record<string, number | string | Buffer | number[] | [string, string][]>

export interface ConnackPacket {
  type: 'connack'
  sessionPresent: boolean
  /** Connect Return code (3.1, 3.1.1) or Reason Code (5). */
  code: number
  properties: RawProperties
}
export interface PublishPacket {
  type: 'publish'
  topic: string
  payload: Buffer
  qos: Qos
  retain: boolean
  dup: boolean
  /** 0 at QoS 0. */
  packetId: number
  properties: RawProperties
}
export interface AckPacket {
  type: 'puback' | 'pubrec' | 'pubrel' | 'pubcomp'
  packetId: number
  code: number
  properties: RawProperties
}
export interface SubackPacket {
  type: 'suback' | 'unsuback'
  packetId: number
  codes: number[]
  properties: RawProperties
}
export interface PingrespPacket {
  type: 'pingresp'
}
export interface DisconnectPacket {
  type: 'disconnect' | 'auth'
  code: number
  properties: RawProperties
}
/** Every packet a broker may send. */
export type BrokerPacket = ConnackPacket | PublishPacket | AckPacket | SubackPacket | PingrespPacket | DisconnectPacket
export type BrokerPacketType = BrokerPacket['type']
type Carrier<P, T> = P extends { type: infer U } ? (T extends U ? P : never) : never
export type PacketOf<T extends BrokerPacketType> = Carrier<BrokerPacket, T>

type Kind = 'byte' | 'u16' | 'u32' | 'varint' | 'string' | 'binary' | 'pair'

const propertyTable: readonly [id: number, name: string, kind: Kind, repeats?: true][] = [
  [0x01, 'payloadFormatIndicator', 'byte'],
  [0x02, 'messageExpiryInterval', 'u32'],
  [0x03, 'contentType', 'string'],
  [0x08, 'responseTopic', 'string'],
  [0x09, 'correlationData', 'binary'],
  [0x0b, 'subscriptionIdentifier', 'varint', true],
  [0x11, 'sessionExpiryInterval', 'u32'],
  [0x12, 'assignedClientIdentifier', 'string'],
  [0x13, 'serverKeepAlive', 'u16'],
  [0x15, 'authenticationMethod', 'string'],
  [0x16, 'authenticationData', 'binary'],
  [0x17, 'requestProblemInformation', 'byte'],
  [0x18, 'willDelayInterval', 'u32'],
  [0x19, 'requestResponseInformation', 'byte'],
  [0x1a, 'responseInformation', 'string'],
  [0x1c, 'serverReference', 'string'],
  [0x1f, 'reasonString', 'string'],
  [0x21, 'receiveMaximum', 'u16'],
  [0x22, 'topicAliasMaximum', 'u16'],
  [0x23, 'topicAlias', 'u16'],
  [0x24, 'maximumQos', 'byte'],
  [0x25, 'retainAvailable', 'byte'],
  [0x26, 'userProperty', 'pair', true],
  [0x27, 'maximumPacketSize', 'u32'],
  [0x28, 'wildcardSubscriptionAvailable', 'byte'],
  [0x29, 'subscriptionIdentifierAvailable', 'byte'],
  [0x2a, 'sharedSubscriptionAvailable', 'byte'],
]

export const u16 = (n: number): Buffer => Buffer.from([(n >> 8) & 0xff, n & 0xff])
const u32 = (n: number): Buffer => Buffer.from([(n >>> 24) & 0xff, (n >>> 16) & 0xff, (n >>> 8) & 0xff, n & 0xff])

/** Variable Byte Integer. */
export function varint(n: number): Buffer {
  const bytes: number[] = []
  do {
    let byte = n % 128
    n = Math.floor(n / 128)
    if (n > 0) byte |= 128
    bytes.push(byte)
  } while (n > 0)
  return Buffer.from(bytes)
}

/** Length-prefixed bytes; a string becomes UTF-8. */
export function field(value: string | Buffer): Buffer {
  const bytes = typeof value === 'string' ? Buffer.from(value) : value
  return Buffer.concat([u16(bytes.length), bytes])
}

/** Any packet: type by number 0..15, the flags nibble and the body; Remaining Length is computed. */
export function frame(type: number, flags: number, ...body: Buffer[]): Buffer {
  const bytes = Buffer.concat(body)
  return Buffer.concat([Buffer.from([(type << 4) | flags]), varint(bytes.length), bytes])
}

function encodeOne(id: number, kind: Kind, value: unknown): Buffer {
  const head = Buffer.from([id])
  if (kind === 'byte') return Buffer.concat([head, Buffer.from([value as number])])
  if (kind === 'u16') return Buffer.concat([head, u16(value as number)])
  if (kind === 'u32') return Buffer.concat([head, u32(value as number)])
  if (kind === 'varint') return Buffer.concat([head, varint(value as number)])
  if (kind === 'pair') return Buffer.concat([head, ...(value as string[]).map((part) => field(part))])
  return Buffer.concat([head, field(value as string | Buffer)])
}

/** The property section with its length in front. */
export function encodeRawProperties(properties: RawProperties = {}): Buffer {
  const parts: Buffer[] = []
  for (const [name, value] of Object.entries(properties)) {
    const row = propertyTable.find((entry) => entry[1] === name)
    if (!row) throw new Error(`no MQTT 5 property is called ${name}`)
    const [id, , kind, repeats] = row
    for (const one of repeats && Array.isArray(value) ? value : [value]) parts.push(encodeOne(id, kind, one))
  }
  const body = Buffer.concat(parts)
  return Buffer.concat([varint(body.length), body])
}

export interface RawWill {
  topic: string | Buffer
  payload?: string | Buffer
  qos?: number
  retain?: boolean
  properties?: RawProperties
}

export interface RawConnect {
  version?: Version
  clientId?: string | Buffer
  /** Clean Session (3.1, 3.1.1) or Clean Start (5). Default true. */
  clean?: boolean
  keepAliveSeconds?: number
  will?: RawWill
  userName?: string | Buffer
  password?: string | Buffer
  properties?: RawProperties
  /** Replaces the computed Connect Flags byte. */
  connectFlags?: number
  /** Appended behind the payload. */
  trailing?: Buffer
}

export function encodeRawConnect(options: RawConnect = {}): Buffer {
  const { version = 4, clientId = '', clean = true, keepAliveSeconds = 0, will, userName, password } = options
  let flags = clean ? 2 : 0
  if (will) flags |= 4 | ((will.qos ?? 0) << 3) | (will.retain ? 0x20 : 0)
  if (password !== undefined) flags |= 0x40
  if (userName !== undefined) flags |= 0x80
  const body = [
    field(version === 3 ? 'MQIsdp' : 'MQTT'),
    Buffer.from([version, options.connectFlags ?? flags]),
    u16(keepAliveSeconds),
  ]
  if (version === 5) body.push(encodeRawProperties(options.properties))
  body.push(field(clientId))
  if (will) {
    if (version === 5) body.push(encodeRawProperties(will.properties))
    body.push(field(will.topic), field(will.payload ?? ''))
  }
  if (userName !== undefined) body.push(field(userName))
  if (password !== undefined) body.push(field(password))
  if (options.trailing) body.push(options.trailing)
  return frame(1, 0, ...body)
}

export interface RawPublish {
  topic: string | Buffer
  payload?: string | Buffer
  qos?: number
  retain?: boolean
  dup?: boolean
  /** Needed at QoS 1 and 2. */
  packetId?: number
  properties?: RawProperties
}

export function encodeRawPublish(options: RawPublish, version: Version = 4): Buffer {
  const { topic, payload = '', qos = 0, retain = false, dup = false, packetId = 0 } = options
  const body = [field(topic)]
  if (qos > 0) body.push(u16(packetId))
  if (version === 5) body.push(encodeRawProperties(options.properties))
  body.push(Buffer.from(payload as string))
  return frame(3, (dup ? 8 : 0) | (qos << 1) | (retain ? 1 : 0), ...body)
}

/** PUBACK, PUBREC, PUBREL or PUBCOMP in the two-byte form, or with a Reason Code (5). */
export function encodeRawAck(type: AckPacket['type'], packetId: number, code?: number): Buffer {
  const body = code === undefined ? u16(packetId) : Buffer.concat([u16(packetId), Buffer.from([code])])
  return frame(names.indexOf(type), type === 'pubrel' ? 2 : 0, body)
}

export interface RawSubscription {
  topicFilter: string | Buffer
  /** Requested QoS, or the whole Subscription Options byte (5). */
  options?: number
}

export function encodeRawSubscribe(
  packetId: number,
  subscriptions: RawSubscription[],
  version: Version = 4,
  properties?: RawProperties,
): Buffer {
  const body = [u16(packetId)]
  if (version === 5) body.push(encodeRawProperties(properties))
  for (const { topicFilter, options = 0 } of subscriptions) body.push(field(topicFilter), Buffer.from([options]))
  return frame(8, 2, ...body)
}

export function encodeRawUnsubscribe(packetId: number, filters: (string | Buffer)[], version: Version = 4): Buffer {
  const body = [u16(packetId)]
  if (version === 5) body.push(encodeRawProperties())
  return frame(10, 2, ...body, ...filters.map((filter) => field(filter)))
}

export const pingreq: Buffer = frame(12, 0)
export function encodeRawDisconnect(version: Version = 4, code?: number, properties?: RawProperties): Buffer {
  if (version !== 5 || code === undefined) return frame(14, 0)
  return frame(14, 0, Buffer.from([code]), ...(properties ? [encodeRawProperties(properties)] : []))
}

/** Reads fields of one body front to back; running over the end is the broker's mistake and throws. */
class Cursor {
  private readonly bytes: Buffer
  at = 0
  constructor(bytes: Buffer) {
    this.bytes = bytes
  }
  get left(): number {
    return this.bytes.length - this.at
  }
  take(count: number): Buffer {
    if (count > this.left) throw new Error(`field of ${count} bytes runs over the end of the packet`)
    this.at += count
    return this.bytes.subarray(this.at - count, this.at)
  }
  number(width: 1 | 2 | 4): number {
    return this.take(width).readUIntBE(0, width)
  }
  varint(): number {
    let value = 0
    for (let shift = 0; shift < 28; shift += 7) {
      const byte = this.number(1)
      value += (byte & 127) * 2 ** shift
      if (byte < 128) return value
    }
    throw new Error('variable byte integer of more than four bytes')
  }
  field(): Buffer {
    return this.take(this.number(2))
  }
  properties(): RawProperties {
    const found: RawProperties = {}
    const end = this.varint() + this.at
    if (end > this.bytes.length) throw new Error('properties run over the end of the packet')
    while (this.at < end) {
      const id = this.varint()
      const row = propertyTable.find((entry) => entry[0] === id)
      if (!row) throw new Error(`unknown property 0x${id.toString(16)}`)
      const [, name, kind, repeats] = row
      const value = this.value(kind)
      if (repeats) found[name] = [...((found[name] as never[]) ?? []), value as never]
      else if (name in found) throw new Error(`property ${name} given twice`)
      else found[name] = value as string
    }
    if (this.at !== end) throw new Error('properties run over their length')
    return found
  }
  private value(kind: Kind): unknown {
    if (kind === 'byte') return this.number(1)
    if (kind === 'u16') return this.number(2)
    if (kind === 'u32') return this.number(4)
    if (kind === 'varint') return this.varint()
    if (kind === 'pair') return [this.field().toString(), this.field().toString()]
    return kind === 'string' ? this.field().toString() : Buffer.from(this.field())
  }
}

function decodePublish(flags: number, cursor: Cursor, version: Version): PublishPacket {
  const qos = (flags >> 1) & 3
  if (qos === 3) throw new Error('PUBLISH with QoS 3')
  const dup = (flags & 8) !== 0
  if (dup && qos === 0) throw new Error('PUBLISH with DUP at QoS 0 [v3 MQTT-3.3.1-2]')
  const topic = cursor.field().toString()
  const packetId = qos > 0 ? cursor.number(2) : 0
  if (qos > 0 && packetId === 0) throw new Error('PUBLISH with Packet Identifier 0 [v3 MQTT-2.3.1-1]')
  const properties = version === 5 ? cursor.properties() : {}
  if (/[+#]/.test(topic)) throw new Error(`PUBLISH to a Topic Name with wildcards: ${topic} [v3 MQTT-3.3.2-2]`)
  const payload = Buffer.from(cursor.take(cursor.left))
  return { type: 'publish', topic, payload, qos: qos as Qos, retain: (flags & 1) !== 0, dup, packetId, properties }
}

function decodeBody(type: string, flags: number, cursor: Cursor, version: Version): BrokerPacket {
  if (type === 'publish') return decodePublish(flags, cursor, version)
  const wantedFlags = type === 'pubrel' ? 2 : 0
  if (flags !== wantedFlags) throw new Error(`${type} with flags ${flags}`)
  const rest = (): { code: number; properties: RawProperties } => ({
    code: version === 5 && cursor.left > 0 ? cursor.number(1) : 0,
    properties: version === 5 && cursor.left > 0 ? cursor.properties() : {},
  })
  switch (type) {
    case 'connack': {
      const acknowledge = cursor.number(1)
      if (acknowledge > 1) throw new Error(`CONNACK flags ${acknowledge}`)
      const code = cursor.number(1)
      return { type, sessionPresent: acknowledge === 1, code, properties: cursor.left > 0 ? cursor.properties() : {} }
    }
    case 'puback':
    case 'pubrec':
    case 'pubrel':
    case 'pubcomp':
      return { type, packetId: cursor.number(2), ...rest() }
    case 'suback':
    case 'unsuback': {
      const packetId = cursor.number(2)
      const properties = version === 5 ? cursor.properties() : {}
      return { type, packetId, properties, codes: [...cursor.take(cursor.left)] }
    }
    case 'pingresp':
      return { type }
    case 'disconnect':
    case 'auth':
      if (version === 5) return { type, ...rest() }
  }
  throw new Error(`a broker must not send ${type} in MQTT level ${version}`)
}

/** Cuts a byte stream into packets. */
export class RawPacketReader {
  /** Set before the CONNACK of an MQTT 5 connection arrives. */
  version: Version = 4
  private held: Buffer = Buffer.alloc(0)

  /** Calls `take` for every packet completed by these bytes. Throws on what no broker may send. */
  push(bytes: Buffer, take: (packet: BrokerPacket) => void): void {
    let at = 0
    const all = this.held.length > 0 ? Buffer.concat([this.held, bytes]) : bytes
    for (;;) {
      let length = 0
      let width = 0
      for (; width < 4; width++) {
        const byte = all[at + 1 + width]
        if (byte === undefined) break
        length += (byte & 127) * 2 ** (7 * width)
        if (byte < 128) break
      }
      if (width === 4) throw new Error('Remaining Length of more than four bytes')
      const start = at + 2 + width
      if (start > all.length || start + length > all.length) break
      const head = all[at]!
      at = start + length
      const cursor = new Cursor(all.subarray(start, at))
      const packet = decodeBody(names[head >> 4]!, head & 15, cursor, this.version)
      if (cursor.left > 0) throw new Error(`${packet.type} with ${cursor.left} stray bytes`)
      take(packet)
    }
    this.held = Buffer.from(all.subarray(at))
  }
}

/** One line per packet, for messages of failed expectations. */
export function describePacket(packet: BrokerPacket): string {
  if (packet.type === 'publish') {
    const flags = `${packet.dup ? ' dup' : ''}${packet.retain ? ' retain' : ''}`
    const payload = packet.payload.length > 40 ? `${packet.payload.length} bytes` : `'${packet.payload.toString()}'`
    return `publish(${packet.topic} ${payload} qos ${packet.qos} id ${packet.packetId}${flags})`
  }
  const { type, ...rest } = packet
  return `${type}(${JSON.stringify(rest)})`
}
