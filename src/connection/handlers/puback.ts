import { type AckType, decodeAck, readPacketId } from '../../wire/ack.ts'
import { PacketType } from '../../wire/control.ts'
import type { Connection } from '../connection.ts'

/** The reason code and the identifier; the two-byte form is read without an object. */
function read(
  c: Connection,
  type: AckType,
  buf: Buffer,
  start: number,
  end: number,
): [packetId: number, reasonCode: number] {
  if (end - start === 2) return [readPacketId(buf, start, end), 0]
  const ack = decodeAck(type, buf, start, end, c.version)
  return [ack.packetId, ack.reasonCode]
}

/** PUBACK from a subscriber ([v5 3.4] [v3 3.4]): the message is delivered, or refused for good. */
export function handlePuback(c: Connection, buf: Buffer, start: number, end: number): void {
  if (end - start === 2) {
    const packetId = readPacketId(buf, start, end)
    if (c.queues?.puback(packetId, 0, null)) return
    c.session!.delivery.puback(packetId, 0)
    c.queues?.pump()
    return
  }
  const ack = decodeAck(PacketType.PUBACK, buf, start, end, c.version)
  if (c.queues?.puback(ack.packetId, ack.reasonCode, ack)) return
  c.session!.delivery.puback(ack.packetId, ack.reasonCode)
  c.queues?.pump()
}

/** PUBREC from a subscriber ([v5 3.5] [v3 3.5]). */
export function handlePubrec(c: Connection, buf: Buffer, start: number, end: number): void {
  const [packetId, reasonCode] = read(c, PacketType.PUBREC, buf, start, end)
  c.session!.delivery.pubrec(packetId, reasonCode)
  c.queues?.pump()
}

/** PUBCOMP from a subscriber ([v5 3.7] [v3 3.7]). */
export function handlePubcomp(c: Connection, buf: Buffer, start: number, end: number): void {
  const [packetId] = read(c, PacketType.PUBCOMP, buf, start, end)
  c.session!.delivery.pubcomp(packetId)
  c.queues?.pump()
}
