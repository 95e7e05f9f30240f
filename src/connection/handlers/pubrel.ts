import { decodeAck, encodeAck, readPacketId } from '../../wire/ack.ts'
import { PacketType } from '../../wire/control.ts'
import type { Connection } from '../connection.ts'

/**
 * PUBREL from a publisher ([v5 3.6] [v3 3.6]): its Packet Identifier is free again. PUBCOMP goes out when that is
 * durable; otherwise a crash would take the identifier's next message for the old one and lose it.
 */
export function handlePubrel(c: Connection, buf: Buffer, start: number, end: number): void {
  const packetId =
    end - start === 2
      ? readPacketId(buf, start, end)
      : decodeAck(PacketType.PUBREL, buf, start, end, c.version).packetId
  const session = c.session!
  const known = session.inbound?.has(packetId) ?? false
  if (known && session.kept) c.core.store.deleteInboundPacketId(session.clientId, packetId)
  session.inbound?.delete(packetId)
  if (c.unacknowledged > 0 || (known && session.kept)) {
    c.unacknowledged++
    c.core.commits.ack(c, 0x70, packetId)
  } else if (known || !c.version5) {
    c.out.ack(0x70, packetId)
  } else {
    c.out.write(encodeAck(PacketType.PUBCOMP, 5, packetId, 0x92))
  }
}
