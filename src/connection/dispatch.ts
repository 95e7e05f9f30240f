import { SluiceError } from '../errors.ts'
import { checkFixedHeaderFlags, PacketType } from '../wire/control.ts'
import type { Connection } from './connection.ts'
import { handleAuth, handleUnauthenticated } from './handlers/auth.ts'
import { handleConnect } from './handlers/connect.ts'
import { handleDisconnect } from './handlers/disconnect.ts'
import { handlePingreq } from './handlers/pingreq.ts'
import { handlePuback, handlePubcomp, handlePubrec } from './handlers/puback.ts'
import { handlePubrel } from './handlers/pubrel.ts'
import { handleSubscribe } from './handlers/subscribe.ts'
import { handleUnsubscribe } from './handlers/unsubscribe.ts'

/** Hands a packet of a connected client, other than PUBLISH, to its handler. */
export function dispatch(c: Connection, type: number, buf: Buffer, start: number, end: number): void {
  switch (type) {
    case PacketType.PUBACK:
      return handlePuback(c, buf, start, end)
    case PacketType.PUBREC:
      return handlePubrec(c, buf, start, end)
    case PacketType.PUBREL:
      return handlePubrel(c, buf, start, end)
    case PacketType.PUBCOMP:
      return handlePubcomp(c, buf, start, end)
    case PacketType.SUBSCRIBE:
      return handleSubscribe(c, buf, start, end)
    case PacketType.UNSUBSCRIBE:
      return handleUnsubscribe(c, buf, start, end)
    case PacketType.PINGREQ:
      return handlePingreq(c, start, end)
    case PacketType.DISCONNECT:
      return handleDisconnect(c, buf, start, end)
    case PacketType.AUTH:
      return handleAuth(c, buf, start, end)
    case PacketType.CONNECT:
      throw new SluiceError('protocol_error', 'a second CONNECT [v5 MQTT-3.1.0-2]')
    default:
      throw new SluiceError('protocol_error', `packet type ${type} from a client`)
  }
}

/** Hands a packet that came before CONNACK to its handler. */
export function dispatchUnconnected(
  c: Connection,
  type: number,
  flags: number,
  buf: Buffer,
  start: number,
  end: number,
): void {
  if (c.state === 'connecting') {
    checkFixedHeaderFlags(type, flags, c.version)
    handleUnauthenticated(c, type, buf, start, end)
    return
  }
  if (type !== PacketType.CONNECT)
    throw new SluiceError('protocol_error', 'the first packet is not CONNECT [v5 MQTT-3.1.0-1]')
  checkFixedHeaderFlags(type, flags, 5)
  handleConnect(c, buf, start, end)
}
