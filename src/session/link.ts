import type { Outbound } from '../connection/outbound.ts'
import type { OutboundAliases } from '../connection/topic-alias.ts'
import type { Publication } from '../router/publication.ts'

/** Hears what becomes of the QoS 1 and 2 messages sent to a client. */
export interface AckListener {
  /** A message of a persistent session goes out, in its stored form. */
  sent(packetId: number, message: Buffer): void
  /** The client has it: PUBACK, or PUBCOMP. */
  acknowledged(packetId: number, qos: 1 | 2): void
}

/** What a session needs of the connection that serves it. */
export interface Link {
  readonly out: Outbound
  /** Whether the connection speaks MQTT 5. */
  readonly version5: boolean
  /** QoS 1 and 2 messages that may be unacknowledged: the client's Receive Maximum and our own limit. */
  readonly window: number
  /** Largest packet the client takes, in bytes. */
  readonly maximumPacketSize: number
  /** Unsent bytes at which QoS 0 messages are dropped. */
  readonly outboundBytesMax: number
  /** Packet Identifiers in use by messages of work queues; null: none. Their places are taken off `window`. */
  readonly queues: { has(packetId: number): boolean } | null
  /** Why they are dropped then. */
  readonly fullCause: 'memory' | 'outbound_full'
  /** Topic Aliases towards the client; null: it takes none. */
  readonly aliases: OutboundAliases | null
  /** Aedes' authorizeForward: what to send instead, or null for nothing. Null: not hooked. */
  readonly forward: ((publication: Publication) => Publication | null) | null
  /** Another connection takes the session over [v5 MQTT-3.1.4-3] [v3 MQTT-3.1.4-2]. */
  takenOver(): void
  /** Who hears of acknowledgements (Aedes' `ack` event); null: nobody. */
  readonly acks: AckListener | null
}

/** Whether QoS 0 packets of this form can be copied to the connection as they are. */
export function takesCopies(link: Link | null, version5: boolean): link is Link {
  if (link === null || link.version5 !== version5) return false
  return link.forward === null && link.aliases === null && link.maximumPacketSize >= 65_536
}
