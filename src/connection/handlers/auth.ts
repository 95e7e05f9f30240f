import { SluiceError } from '../../errors.ts'
import { decodeAuth } from '../../wire/auth.ts'
import { PacketType } from '../../wire/control.ts'
import { decodeDisconnect } from '../../wire/disconnect.ts'
import type { Connection } from '../connection.ts'

/** AUTH ([v5 3.15]): only within an exchange that CONNECT began with an Authentication Method. */
export function handleAuth(c: Connection, buf: Buffer, start: number, end: number): void {
  const packet = decodeAuth(buf, start, end)
  if (c.enhancedAuth === null)
    throw new SluiceError('protocol_error', 'AUTH without an Authentication Method in CONNECT [v5 MQTT-4.12.0-7]')
  c.enhancedAuth.received(packet)
}

/** Between CONNECT and CONNACK a client that authenticates sends AUTH or DISCONNECT and nothing else [v5 MQTT-3.1.2-30]. */
export function handleUnauthenticated(c: Connection, type: number, buf: Buffer, start: number, end: number): void {
  if (type === PacketType.AUTH) {
    handleAuth(c, buf, start, end)
    return
  }
  if (type !== PacketType.DISCONNECT)
    throw new SluiceError('protocol_error', 'neither AUTH nor DISCONNECT before CONNACK [v5 MQTT-3.1.2-30]')
  decodeDisconnect(buf, start, end, c.version)
  c.close('the client disconnected before it was authenticated', null, true)
}
