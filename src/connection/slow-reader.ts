import { SluiceError } from '../errors.ts'
import type { Connection } from './connection.ts'

/** Tells that the client does not read what is sent to it. */
export function announceSlowReader(c: Connection, disconnected: boolean): void {
  c.core.events.emit('slowReader', { clientId: c.clientId, bufferedBytes: c.out.waitingBytes, disconnected })
}

/** Closes the connection of a client that does not read; what was not sent is gone with it. */
export function cutSlowReader(c: Connection, reason: string): void {
  announceSlowReader(c, true)
  c.core.hooks.failed(c, new SluiceError('quota_exceeded', `the client reads nothing: ${reason}`))
  c.close(reason, 'quota_exceeded', false)
}
