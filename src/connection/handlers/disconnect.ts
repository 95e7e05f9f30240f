import { SluiceError } from '../../errors.ts'
import { decodeDisconnect } from '../../wire/disconnect.ts'
import type { Connection } from '../connection.ts'

/** "Normal disconnection" ([v5 3.14.2.1]), and all that MQTT 3 can say. */
const NORMAL = 0x00

/** DISCONNECT from the client ([v5 3.14] [v3 3.14]): with the normal reason its will is discarded. */
export function handleDisconnect(c: Connection, buf: Buffer, start: number, end: number): void {
  const packet = decodeDisconnect(buf, start, end, c.version)
  const session = c.session!
  const expirySeconds = packet.properties?.sessionExpiryInterval
  if (expirySeconds !== undefined) {
    // [v5 MQTT-3.1.2-23] a session that was to end with its connection cannot be given a longer life now.
    if (session.expirySeconds === 0 && expirySeconds > 0)
      throw new SluiceError('protocol_error', 'DISCONNECT sets a Session Expiry Interval where CONNECT had 0')
    session.expirySeconds = Math.min(expirySeconds, c.limits.sessionExpirySecondsMax)
  }
  // [v5 MQTT-3.14.4-3] [v3 MQTT-3.14.4-3]; any other reason leaves the will to be published [v5 MQTT-3.1.2-8].
  if (packet.reasonCode === NORMAL && c.hasWill) {
    c.hasWill = false
    c.core.wills.withdraw(c.clientId)
  }
  c.close('the client disconnected', null, true)
}
