import { decodeMessage, encodeMessage, type Message, NO_EXPIRY } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import { PacketType } from '../wire/control.ts'
import type { Properties } from '../wire/properties.ts'
import { decodePropertyBytes, encodePropertyBytes } from '../wire/property-bytes.ts'
import { isTopicName } from '../wire/topic.ts'

/** A PUBLISH as Aedes' hooks, events and subscribers see it. */
export interface AedesPacket {
  cmd: 'publish'
  /** The broker that took it, and its number there. */
  brokerId?: string
  brokerCounter?: number
  topic: string
  payload: Buffer | string
  qos: 0 | 1 | 2
  retain: boolean
  dup: boolean
  /** Packet Identifier. Undefined while it has none; absent at QoS 0. */
  messageId?: number | undefined
  /** Remaining Length of the packet that came. */
  length?: number
  /** The publisher; absent when the broker itself publishes. */
  clientId?: string
  properties?: Properties
}

/** What an embedding program may pass to `publish`: everything but the topic has a default. */
export type PublishRequest = Partial<AedesPacket> & { topic: string }

const NOTHING = Buffer.alloc(0)

/** The packet as it came from the client, before anything is decided about it. */
export function publishPacketOf(publication: Publication): AedesPacket {
  const packet: AedesPacket = {
    cmd: 'publish',
    retain: publication.retain,
    qos: publication.qos,
    dup: publication.dup,
    topic: publication.topic,
    payload: Buffer.from(publication.payload),
  }
  // A will does not come as a PUBLISH.
  if (publication.buf[publication.start]! >> 4 === PacketType.PUBLISH) packet.length = remainingLengthOf(publication)
  if (publication.packetId > 0) packet.messageId = publication.packetId
  addProperties(packet, publication)
  return packet
}

/** What is between the fixed header and the end. */
function remainingLengthOf({ buf, start, end }: Publication): number {
  let at = start + 1
  while (buf[at]! > 127) at++
  return end - at - 1
}

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
  const clientId = publication.publisherId
  if (clientId !== '') packet.clientId = clientId
  if (publication.qos > 0) packet.messageId = undefined
  addProperties(packet, publication)
  return packet
}

function addProperties(packet: AedesPacket, publication: Publication): void {
  const { propsBuf, propsStart, propsEnd } = publication
  if (propsEnd > propsStart)
    packet.properties = decodePropertyBytes(propsBuf.subarray(propsStart, propsEnd), PacketType.PUBLISH)
}

/** The property bytes of a PUBLISH; what cannot be forwarded is left out. */
function forwardedBytes(properties: Properties): Buffer {
  const { topicAlias: _alias, subscriptionIdentifiers: _identifiers, ...kept } = properties
  return encodePropertyBytes(kept, PacketType.PUBLISH)
}

/** @throws Error when there is no such message: not a Topic Name, not a QoS */
export function publicationOf(request: PublishRequest, clientId: string, now: number): Publication {
  const publication = new Publication()
  publication.load(encodeMessage(messageOf(request, clientId, now)), now)
  return publication
}

/** @throws Error as `publicationOf` does */
export function messageOf(request: PublishRequest, clientId: string, now: number): Message {
  if (typeof request.topic !== 'string' || !isTopicName(request.topic))
    throw new Error(`not a Topic Name: ${String(request.topic)}`)
  const qos = request.qos ?? 0
  if (qos !== 0 && qos !== 1 && qos !== 2) throw new Error(`not a QoS: ${String(qos)}`)
  const properties = request.properties
  return {
    topic: request.topic,
    clientId,
    qos,
    retain: request.retain ?? false,
    time: now,
    properties: properties === undefined ? NOTHING : forwardedBytes(properties),
    payload: bytesOf(request.payload ?? NOTHING),
    expirySeconds: properties?.messageExpiryInterval ?? NO_EXPIRY,
  }
}

/** True when a hook changed what travels. */
export function wasChanged(packet: AedesPacket, publication: Publication): boolean {
  return (
    packet.topic !== publication.topic ||
    packet.qos !== publication.qos ||
    packet.retain !== publication.retain ||
    !bytesOf(packet.payload).equals(publication.payload) ||
    propertiesWereChanged(packet, publication)
  )
}

function propertiesWereChanged({ properties }: AedesPacket, { propsBuf, propsStart, propsEnd }: Publication): boolean {
  if (properties === undefined) return propsEnd > propsStart
  return !forwardedBytes(properties).equals(propsBuf.subarray(propsStart, propsEnd))
}

function bytesOf(payload: Buffer | string): Buffer {
  return typeof payload === 'string' ? Buffer.from(payload) : payload
}

/** The packet for a stored message. */
export function packetOfStored(stored: Buffer): AedesPacket {
  const message = decodeMessage(stored)
  const packet: AedesPacket = {
    cmd: 'publish',
    topic: message.topic,
    payload: message.payload,
    qos: message.qos,
    retain: message.retain,
    dup: false,
  }
  if (message.clientId !== '') packet.clientId = message.clientId
  if (message.properties.length > 0) packet.properties = decodePropertyBytes(message.properties, PacketType.PUBLISH)
  return packet
}
