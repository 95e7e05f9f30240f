import type { Session } from '../session/session.ts'
import type { Client } from './client.ts'

/** What the registry reads. */
export interface ClientSource {
  find(clientId: string): Session | undefined
  values(): Iterable<Session>
}

/**
 * Aedes' `broker.clients`: the connected clients by Client Identifier, as an object to read and to iterate. It holds
 * nothing: it looks at the sessions, and the client of a connection is made when somebody asks for it.
 */
export function clientRegistry(
  sessions: ClientSource,
  clientOf: (session: Session) => Client | undefined,
): Record<string, Client> {
  const find = (key: string | symbol): Client | undefined => {
    const session = typeof key === 'string' ? sessions.find(key) : undefined
    return session === undefined ? undefined : clientOf(session)
  }
  const connected = (): string[] => {
    const ids: string[] = []
    for (const { clientId, owner } of sessions.values()) if (owner?.state === 'connected') ids.push(clientId)
    return ids
  }
  return new Proxy<Record<string, Client>>(Object.create(null), {
    get: (_, key) => find(key),
    has: (_, key) => find(key) !== undefined,
    ownKeys: connected,
    getOwnPropertyDescriptor: (_, key) => {
      const value = find(key)
      return value && { value, enumerable: true, configurable: true, writable: true }
    },
    // Clients come and go with their connections, not by assignment.
    set: () => false,
    deleteProperty: () => true,
  })
}
