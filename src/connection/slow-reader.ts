import { SluiceError } from '../errors.ts'
import type { Session } from '../session/session.ts'
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

/**
 * Closes the connection of a client whose session is full (`sessionFullPolicy: disconnect`), once the message that found it
 * full has gone its way: the session may end with its connection.
 */
export function cutFullReader(session: Session): void {
  const { owner } = session
  setImmediate(() => {
    if (owner === null || session.owner !== owner || owner.state !== 'connected') return
    announceSlowReader(owner, true)
    owner.disconnect(0x97, 'the session is full', 'quota_exceeded')
  })
}
