import type { Config } from '../config/schema.ts'
import { SluiceError } from '../errors.ts'
import type { Session } from '../session/session.ts'
import type { ConnectPacket } from '../wire/connect.ts'
import type { Connection } from './connection.ts'
import { OutboundAliases } from './topic-alias.ts'

/** The user that was checked; one without a name is a user too. Undefined: nobody was checked. */
export function identityOf({ authenticated, userName }: Connection): string | undefined {
  return authenticated ? (userName ?? '') : undefined
}

/** The user name, as far as it counts: where clients have to authenticate, only when it was checked. */
function userOf(c: Connection): string | undefined {
  const { hooks, authenticationMethods } = c.core
  const checks = hooks.authenticate !== null || authenticationMethods.size > 0
  return c.authenticated || !checks ? c.userName : undefined
}

/** True when the client is connected already, by a connection that this one will replace. */
export function takesOver(c: Connection): boolean {
  const owner = c.clientId === '' ? null : c.core.sessions.find(c.clientId)?.owner
  return owner !== null && owner !== undefined
}

/** Whether the session may become that of a client of this user; undefined: nobody was checked. */
export function mayHave(
  { sessionsBelongToUsers }: Config['mqtt'],
  session: Session | undefined,
  user: string | undefined,
): boolean {
  const owner = session?.identity
  return !sessionsBelongToUsers || owner === undefined || owner === user
}

/**
 * The session of the Client Identifier has to be the client's own.
 * @throws SluiceError not_authorized
 */
export function checkOwner(c: Connection): void {
  if (!mayHave(c.core.config.mqtt, c.core.sessions.find(c.clientId), identityOf(c)))
    throw new SluiceError('not_authorized', 'the session of this Client Identifier belongs to another user')
}

/**
 * It is settled who the client is: the limits of its user are in force, and its session has to be its own.
 * @throws SluiceError quota_exceeded, not_authorized
 */
export function becomeUser(c: Connection, { properties }: ConnectPacket): void {
  const { gate, limitsBook } = c.core
  const user = userOf(c)
  c.limitTo(limitsBook.of(c.stream.peer.protocol, user))
  checkOwner(c)
  if (user !== undefined) {
    gate.checkUser(c, user, takesOver(c))
    gate.connectedAs(c, user)
  }
  const { inflightMax, topicAliasMaximum } = c.limits
  c.window = Math.min(properties?.receiveMaximum ?? inflightMax, inflightMax)
  const aliases = Math.min(properties?.topicAliasMaximum ?? 0, topicAliasMaximum)
  if (aliases > 0) c.aliases = new OutboundAliases(aliases)
}
