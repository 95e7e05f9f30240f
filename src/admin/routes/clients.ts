/**
 * Clients over HTTP: `GET /api/v1/clients` (paged), `GET` and `DELETE /api/v1/clients/{clientId}`, and
 * `GET /api/v1/slow-readers`. The path carries the Client Identifier percent-encoded.
 */
import type { FastifyInstance } from 'fastify'
import type { Core } from '../../connection/core.ts'
import type { Session } from '../../session/session.ts'
import { type ClientInfo, clientInfo, slowReaders } from '../client-info.ts'
import { sendHttpError } from '../errors.ts'

const PAGE_DEFAULT = 100

const page = {
  limit: { type: 'string', pattern: '^([1-9][0-9]{0,2}|1000)$' },
  after: { type: 'string', pattern: '^[0-9]{1,15}$' },
  connected: { type: 'string', enum: ['true', 'false'] },
}

const query = (...names: (keyof typeof page)[]): object => ({
  querystring: {
    type: 'object',
    additionalProperties: false,
    properties: Object.fromEntries(names.map((name) => [name, page[name]])),
  },
})

interface Page {
  limit?: string
  after?: string
  connected?: 'true' | 'false'
}
type Named = { Params: { clientId: string } }

/** Fastify plugin. Register it without a prefix. */
export async function clientRoutes(app: FastifyInstance, { core }: { core: Core }): Promise<void> {
  const { sessions } = core
  const path = '/api/v1/clients'

  app.get<{ Querystring: Page }>(path, { schema: query('limit', 'after', 'connected') }, async ({ query }) =>
    clientsAfter(core, Number(query.after ?? 0), Number(query.limit ?? PAGE_DEFAULT), query.connected),
  )

  app.get<{ Querystring: Page }>('/api/v1/slow-readers', { schema: query('limit') }, async ({ query }) => ({
    slowReaders: slowReaders(core, Number(query.limit ?? PAGE_DEFAULT)),
  }))

  app.get<Named>(`${path}/:clientId`, async ({ params }, reply) => {
    const session = sessions.find(params.clientId)
    return session === undefined
      ? sendHttpError(reply, 'not_found', unknown(params.clientId))
      : clientInfo(core, session)
  })

  // Its connection is closed and nothing of its session remains; a will is published.
  app.delete<Named>(`${path}/:clientId`, async ({ params }, reply) => {
    const session = sessions.find(params.clientId)
    if (session === undefined) return sendHttpError(reply, 'not_found', unknown(params.clientId))
    session.owner?.disconnect(0x98, 'an administrator ended the session', 'administrative_action')
    sessions.end(session)
    // A will that waits for its delay is due when the session ends [v5 MQTT-3.1.2-8].
    core.wills.publish(params.clientId)
    await core.commits.done()
    return reply.code(204).send()
  })
}

/** One page in the order in which the sessions began. `next` goes into `after` for the next page; null: there is none. */
function clientsAfter(
  core: Core,
  after: number,
  limit: number,
  connected: Page['connected'],
): { clients: ClientInfo[]; next: string | null } {
  const clients: ClientInfo[] = []
  let last: Session | null = null
  for (const session of core.sessions.values()) {
    if (session.serial <= after) continue
    if (connected !== undefined && (session.link !== null) !== (connected === 'true')) continue
    if (clients.length === limit) return { clients, next: String(last!.serial) }
    clients.push(clientInfo(core, session))
    last = session
  }
  return { clients, next: null }
}

function unknown(clientId: string): string {
  return `There is no session of a client ${JSON.stringify(clientId)}`
}
