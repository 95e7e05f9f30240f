import type { Publication } from '../router/publication.ts'
import { encodeAck } from '../wire/ack.ts'
import { PacketType } from '../wire/control.ts'
import type { EncodedPublish } from '../wire/publish-writer.ts'
import type { Link } from './link.ts'

/** The packet for this connection's version. */
export function encodeFor(
  link: Link,
  message: Publication,
  prefix: Buffer | null,
  withPacketId: boolean,
): EncodedPublish {
  return prefix !== null && link.version5
    ? message.encodingWith(prefix, withPacketId)
    : message.encoding(link.version5, withPacketId)
}

/** What a first Topic Alias adds: the property, and a byte each that Property Length and Remaining Length may grow by. */
const ALIAS_BYTES_MAX = 3 + 1 + 1

/**
 * The packet with a Topic Alias, for a client that takes them; null: as it is. Only for what is sent at once, in order.
 * @param plain the packet without an alias, which the client can take [v5 MQTT-3.1.2-24]
 */
export function aliased(
  link: Link,
  message: Publication,
  prefix: Buffer | null,
  plain: EncodedPublish,
): EncodedPublish | null {
  if (link.aliases === null) return null
  const mayGrow = plain.end - plain.start + ALIAS_BYTES_MAX <= link.maximumPacketSize
  const alias = link.aliases.take(message, mayGrow)
  if (alias === null) return null
  const properties = prefix === null ? alias.prefix : Buffer.concat([alias.prefix, prefix])
  return message.encodingWith(properties, plain.packetIdOffset > 0, !alias.known)
}

/** Answers PUBREC for a Packet Identifier that is not in use [v5 3.6.2.1]. */
export function pubrelUnknown(link: Link, packetId: number): void {
  if (link.version5) link.out.write(encodeAck(PacketType.PUBREL, 5, packetId, 0x92))
  else link.out.ack(0x62, packetId)
}
