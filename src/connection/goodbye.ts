import { type ErrorCode, SluiceError } from '../errors.ts'
import { Publication } from '../router/publication.ts'
import { encodeAck } from '../wire/ack.ts'
import { encodeConnack } from '../wire/connack.ts'
import { PacketType } from '../wire/control.ts'
import { encodeDisconnect } from '../wire/disconnect.ts'
import type { Properties } from '../wire/properties.ts'
import { isReasonCodeFor } from '../wire/reason-codes.ts'
import type { Connection } from './connection.ts'
import { qos2WasStored } from './taken.ts'

/** Something went wrong on this connection: says so where the version can, and closes. */
export function fail(c: Connection, cause: unknown): void {
  if (c.state === 'closed') return
  const error = cause instanceof SluiceError ? cause : new SluiceError('invariant', String(cause), { cause })
  if (error.kind === 'invariant') c.core.events.emit('internalError', { where: 'connection', error: cause })
  if (c.state === 'connected') {
    c.core.hooks.failed(c, error)
    disconnect(c, error.reasonCode, error.message, error.code)
  } else {
    refuse(c, error.reasonCode, error.message, error.code, null, error)
  }
}

/**
 * Answers CONNECT with a refusal and closes [v5 MQTT-3.2.2-7] [v3 MQTT-3.2.2-5].
 * @param error what the embedding program is told, once the answer is on its way; null: nothing
 */
export function refuse(
  c: Connection,
  reasonCode: number,
  message: string,
  code: ErrorCode | null,
  properties: Properties | null,
  error: Error | null = null,
): void {
  if (c.state === 'closed') return
  if (error !== null) setImmediate(() => c.core.hooks.failed(c, error))
  c.core.counters.connectionsRefused++
  const { address } = c.stream.peer
  c.core.events.emit('connectionRefused', { address, clientId: c.clientId || null, reason: message, error: code })
  if (c.state === 'connecting') {
    const reason = isReasonCodeFor(PacketType.CONNACK, reasonCode) ? reasonCode : 0x80
    const connack = encodeConnack(c.version, { sessionPresent: false, reasonCode: reason, properties })
    if (connack.length > 0 && connack.length <= c.maximumPacketSize) {
      c.out.write(connack)
      c.core.hooks.connackSent(c, reason, false)
    }
  }
  // Without an answer there is nothing to wait for.
  c.close(message, code, c.state === 'connecting')
}

/** Ends a connection that stands: DISCONNECT with a reason in MQTT 5, then the end of the stream [v5 MQTT-4.13.2-1]. */
export function disconnect(c: Connection, reasonCode: number, message: string, code: ErrorCode | null): void {
  if (c.state === 'closed') return
  if (c.version5 && c.state === 'connected') {
    const reason = isReasonCodeFor(PacketType.DISCONNECT, reasonCode, 'server') ? reasonCode : 0x80
    c.out.write(fitting(c, (properties) => encodeDisconnect(5, reason, properties), message))
  }
  c.close(message, code, true)
}

/** Sends the client to another server [v5 4.11]: to the one named, or to one it knows. */
export function move(c: Connection, serverReference: string | null): void {
  if (c.state !== 'connected') return
  if (c.version5) {
    const packet = encodeDisconnect(5, 0x9d, serverReference === null ? null : { serverReference })
    c.out.write(packet.length <= c.maximumPacketSize ? packet : encodeDisconnect(5, 0x9d))
  }
  c.close('the node is being drained', 'server_shutting_down', true)
}

/** Sends what a packet asked for. An answer that is larger than the client takes ends the connection [v5 MQTT-3.1.2-24]. */
export function reply(c: Connection, answer: Buffer): void {
  if (answer.length <= c.maximumPacketSize) c.out.write(answer)
  else disconnect(c, 0x95, `an answer of ${answer.length} bytes; you take ${c.maximumPacketSize}`, 'packet_too_large')
}

/** A PUBACK or PUBREC that says no. */
export function negative(
  c: Connection,
  type: typeof PacketType.PUBACK | typeof PacketType.PUBREC,
  packetId: number,
  reasonCode: number,
  why: string,
): void {
  c.out.write(fitting(c, (properties) => encodeAck(type, 5, packetId, reasonCode, properties), why))
}

/** A refusal that waited for the acknowledgements before it; the reason code lies above the first byte. */
export function refusedBefore(c: Connection, firstByte: number, packetId: number): void {
  if (c.state === 'closed') return
  const type = (firstByte & 255) >> 4 === PacketType.PUBACK ? PacketType.PUBACK : PacketType.PUBREC
  negative(c, type, packetId, firstByte >> 8, 'something this message has to be kept in is full')
}

/** What a packet asked for did not become durable: MQTT 5 hears it; MQTT 3 has no way to say no, so the connection ends. */
export function notCommitted(c: Connection, firstByte: number, packetId: number, error: unknown): void {
  const type = firstByte >> 4
  if (type === PacketType.PUBREC && qos2WasStored(c, packetId)) {
    c.out.ack(firstByte, packetId)
    return
  }
  // Its release is not on disk: the identifier is as taken as it was, and the client will ask again.
  if (type === PacketType.PUBCOMP) c.session?.inbound?.add(packetId)
  if (c.state === 'closed') return
  const code = notCommittedCode(error)
  if (c.version5 && (type === PacketType.PUBACK || type === PacketType.PUBREC))
    negative(c, type, packetId, code, code === 0x97 ? 'the store is full' : 'the store takes no writes')
  else fail(c, error)
}

/** Reason code of MQTT 5 for what did not become durable: Quota exceeded where room would help, else Unspecified error. */
export function notCommittedCode(error: unknown): number {
  return error instanceof SluiceError && error.code === 'store_full' ? 0x97 : 0x80
}

/**
 * The packet with a reason string, or without where the client does not want one [v5 MQTT-3.1.2-29] or it would be larger
 * than the client takes [v5 MQTT-3.1.2-24].
 */
function fitting(c: Connection, encode: (properties: Properties | null) => Buffer, reasonString: string): Buffer {
  if (!c.problemInformation) return encode(null)
  const packet = encode({ reasonString })
  return packet.length <= c.maximumPacketSize ? packet : encode(null)
}

/** Tells that a client's connection ended. */
export function announceEnd(c: Connection): void {
  c.core.events.emit('clientDisconnected', {
    clientId: c.clientId,
    userName: c.userName ?? null,
    address: c.stream.peer.address,
    version: c.version,
    reason: c.closeReason,
    error: c.closeError,
  })
}

/** The connection is gone and its will is still there: the client did not say goodbye. A hook may forbid it. */
export function publishWill(c: Connection, expirySeconds: number): void {
  const { wills, hooks, clock } = c.core
  const record = wills.get(c.clientId)
  if (record === undefined) return
  const delaySeconds = Math.min(record.delaySeconds, expirySeconds)
  if (hooks.authorizePublish === null) {
    wills.connectionLost(c.clientId, delaySeconds)
    return
  }
  const publication = new Publication()
  publication.load(record.message, clock.now())
  hooks.authorizePublish(c, publication, (refusal) => {
    if (wills.get(c.clientId) !== record) return
    if (refusal === null) wills.connectionLost(c.clientId, delaySeconds)
    else wills.discard(c.clientId)
  })
}
