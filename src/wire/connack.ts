import { BodyReader } from './body-reader.ts'
import { BodyWriter } from './body-writer.ts'
import { PacketType } from './control.ts'
import { malformed, protocolError } from './malformed.ts'
import { decodeProperties, type Properties, writeProperties } from './properties.ts'
import { connackReturnCode, isReasonCodeFor, reasonCodeOfReturnCode } from './reason-codes.ts'
import type { ProtocolVersion } from './versions.ts'

export interface Connack {
  sessionPresent: boolean
  /** Of MQTT 5, in every version; the return codes of 3.1 and 3.1.1 exist only on the wire. */
  reasonCode: number
  /** Ignored before MQTT 5. */
  properties?: Properties | null
}

const NOTHING = Buffer.alloc(0)

/**
 * CONNACK in the form of the version. Session Present goes out only with success [v5 MQTT-3.2.2-6] [v3 MQTT-3.2.2-4], and not in 3.1,
 * which has no such flag.
 *
 * Empty when 3.1 or 3.1.1 has no return code for the reason code: the connection is then closed without an answer [v3 MQTT-3.2.2-6].
 */
export function encodeConnack(version: ProtocolVersion, connack: Connack): Buffer {
  const present = connack.sessionPresent && connack.reasonCode === 0 && version !== 3 ? 1 : 0
  if (version < 5) {
    const returnCode = connackReturnCode(connack.reasonCode)
    return returnCode < 0 ? NOTHING : Buffer.from([PacketType.CONNACK << 4, 2, present, returnCode])
  }
  const writer = new BodyWriter().uint8(present).uint8(connack.reasonCode)
  writeProperties(writer, connack.properties, PacketType.CONNACK)
  return writer.packet(PacketType.CONNACK, 0)
}

/**
 * The client's side of it.
 *
 * @throws SluiceError malformed_packet, protocol_error
 */
export function decodeConnack(buf: Buffer, start: number, end: number, version: ProtocolVersion): Connack {
  const reader = new BodyReader(buf, start, end, 'CONNACK')
  const flags = reader.uint8('Connect Acknowledge Flags')
  if (flags > 1) throw malformed('CONNACK: reserved flags are set')
  const code = reader.uint8('reason code')
  const reasonCode = version === 5 ? code : reasonCodeOfReturnCode(code)
  if (reasonCode === undefined || !isReasonCodeFor(PacketType.CONNACK, reasonCode)) {
    throw protocolError(`CONNACK: code ${code} is not allowed here`)
  }
  if (flags === 1 && reasonCode !== 0) throw protocolError('CONNACK: Session Present with a refusal')
  const connack: Connack = { sessionPresent: flags === 1, reasonCode, properties: null }
  if (version === 5) {
    const decoded = decodeProperties(buf, reader.pos, end, PacketType.CONNACK)
    connack.properties = decoded.properties
    reader.pos = decoded.end
  }
  reader.finish()
  return connack
}
