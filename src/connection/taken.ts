/**
 * QoS 2 messages taken from a publisher and not yet released by its PUBREL ([v5 MQTT-4.3.3-10] [v3 MQTT-4.3.3-2]).
 *
 *     free ──PUBLISH──▶ taken, under way ──commit──▶ taken ──PUBREL──▶ free
 *       ▲                      │
 *       └──── not stored ──────┘
 */
import type { Connection } from './connection.ts'

/** False when the message with this Packet Identifier was taken before. */
export function takeQos2(c: Connection, packetId: number): boolean {
  const session = c.session!
  if (session.inbound?.has(packetId)) return false
  if (session.kept) c.core.store.putInboundPacketId(session.clientId, packetId)
  session.inbound ??= new Set()
  session.inbound.add(packetId)
  return true
}

/** Its writes wait for the commit. */
export function qos2UnderWay(c: Connection, packetId: number): void {
  c.session!.inboundUnderWay ??= new Set()
  c.session!.inboundUnderWay.add(packetId)
}

/** It could not be written: the identifier is free, and what is sent under it again is taken as new. */
export function giveBackQos2(c: Connection, packetId: number): void {
  const session = c.session!
  session.inbound?.delete(packetId)
  if (session.kept) c.core.store.deleteInboundPacketId(session.clientId, packetId)
}

/**
 * A commit failed on which a PUBREC waited. True when that was not about the message: it is a retransmission of what was
 * stored before, and PUBREC is right.
 */
export function qos2WasStored(c: Connection, packetId: number): boolean {
  const { session } = c
  if (session?.inboundUnderWay?.delete(packetId) === true) {
    session.inbound?.delete(packetId)
    return false
  }
  return session?.inbound?.has(packetId) === true
}
