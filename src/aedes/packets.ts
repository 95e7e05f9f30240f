import { decodeMessage, encodeMessage, type Message, NO_EXPIRY } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import { PacketType } from '../wire/control.ts'
import { decodeProperties, encodeProperties, type Properties } from '../wire/properties.ts'
import { isTopicName } from '../wire/topic.ts'
import { varintBytes, writeVarint } from '../wire/varint.ts'

/** A PUBLISH as Aedes' hooks, events and subscribers see it. */
export interface AedesPacket {
  cmd: 'publish'
  brokerId?: string
  brokerCounter?: number
  topic: string
  payload: Buffer | string
  qos: 0 | 1 | 2
  retain: boolean
  dup: boolean
  messageId?: number
  clientId?: string
  properties?: Properties
}

/** What an embedding program may pass to `publish`: everything but the topic has a default. */
export type PublishRequest = Partial<AedesPacket> & { topic: string }

const NOTHING = Buffer.alloc(0)

/** The packet for a message that passes the router. */
export function packetOf(publication: Publication, brokerId: string, counter: number): AedesPacket {
  const packet: AedesPacket = {
    cmd: 'publish',
    brokerId,
    brokerCounter: counter,
    topic: publication.topic,
    payload: Buffer.from(publication.payload),
    qos: publication.qos,
    retain: publication.retain,
    dup: publication.dup,
  }
  if (publication.packetId > 0) packet.messageId = publication.packetId
  if (publication.propsEnd > publication.propsStart) packet.properties = propertiesOf(publication)
  return packet
}

function propertiesOf(publication: Publication): Properties {
  return decodePropertyBytes(publication.propsBuf.subarray(publication.propsStart, publication.propsEnd))
}

/** Decodes the property bytes of a PUBLISH (without their length). */
export function decodePropertyBytes(bytes: Buffer): Properties {
  const whole = Buffer.allocUnsafe(varintBytes(bytes.length) + bytes.length)
  bytes.copy(whole, writeVarint(whole, 0, bytes.length))
  return decodeProperties(whole, 0, whole.length, PacketType.PUBLISH).properties
}

/** Encodes properties of a PUBLISH without their length; what cannot be forwarded is left out. */
export function encodePropertyBytes(properties: Properties): Buffer {
  const { topicAlias: _alias, subscriptionIdentifiers: _identifiers, ...kept } = properties
  const encoded = encodeProperties(kept, PacketType.PUBLISH)
  let at = 0
  while (encoded[at]! > 127) at++
  return encoded.subarray(at + 1)
}

/** @throws Error when the topic is not a Topic Name */
export function publicationOf(request: PublishRequest, clientId: string, now: number): Publication {
  const publication = new Publication()
  publication.load(encodeMessage(messageOf(request, clientId, now)), now)
  return publication
}

function messageOf(request: PublishRequest, clientId: string, now: number): Message {
  if (typeof request.topic !== 'string' || !isTopicName(request.topic))
    throw new Error(`not a Topic Name: ${String(request.topic)}`)
  const payload = request.payload ?? NOTHING
  const properties = request.properties
  return {
    topic: request.topic,
    clientId,
    qos: request.qos ?? 0,
    retain: request.retain ?? false,
    time: now,
    properties: properties === undefined ? NOTHING : encodePropertyBytes(properties),
    payload: typeof payload === 'string' ? Buffer.from(payload) : payload,
    expirySeconds: properties?.messageExpiryInterval ?? NO_EXPIRY,
  }
}

/** True when a hook changed what travels. */
export function wasChanged(packet: AedesPacket, publication: Publication): boolean {
  const payload = typeof packet.payload === 'string' ? Buffer.from(packet.payload) : packet.payload
  return (
    packet.topic !== publication.topic ||
    packet.qos !== publication.qos ||
    packet.retain !== publication.retain ||
    !payload.equals(publication.payload)
  )
}

/** The packet for a stored message. */
export function packetOfStored(stored: Buffer, brokerId: string): AedesPacket {
  const message = decodeMessage(stored)
  const packet: AedesPacket = {
    cmd: 'publish',
    brokerId,
    topic: message.topic,
    payload: message.payload,
    qos: message.qos,
    retain: message.retain,
    dup: false,
  }
  if (message.properties.length > 0) packet.properties = decodePropertyBytes(message.properties)
  return packet
}
