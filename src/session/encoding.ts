import type { Publication } from '../router/publication.ts'
import type { EncodedPublish } from '../wire/publish.ts'
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

/** The packet with a Topic Alias, for a client that takes them; null: as it is. Only for what is sent at once, in order. */
export function aliased(
  link: Link,
  message: Publication,
  prefix: Buffer | null,
  withPacketId: boolean,
): EncodedPublish | null {
  if (link.aliases === null) return null
  const alias = link.aliases.take(message)
  if (alias === null) return null
  const properties = prefix === null ? alias.prefix : Buffer.concat([alias.prefix, prefix])
  return message.encodingWith(properties, withPacketId, !alias.known)
}
