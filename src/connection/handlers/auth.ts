import { SluiceError } from '../../errors.ts'
import { decodeAuth } from '../../wire/auth.ts'
import type { Connection } from '../connection.ts'

/** AUTH ([v5 3.15]): only within an exchange that CONNECT began with an Authentication Method. */
export function handleAuth(_c: Connection, buf: Buffer, start: number, end: number): void {
  decodeAuth(buf, start, end)
  throw new SluiceError('protocol_error', 'AUTH without an Authentication Method in CONNECT [v5 MQTT-4.12.0-6]')
}
