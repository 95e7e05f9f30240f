/**
 * Clients over HTTP: `GET /api/v1/clients` (paged), `GET` and `DELETE /api/v1/clients/{clientId}`, and
 * `GET /api/v1/slow-readers`. The path carries the Client Identifier percent-encoded.
 */
import type { FastifyInstance } from 'fastify'
import type { Core } from '../../connection/core.ts'
import { ClientDirectory } from '../client-directory.ts'
import { sendHttpError } from '../errors.ts'

const PAGE_DEFAULT = 100

const page = {
  limit: { type: 'string', pattern: '^([1-9][0-9]{0,2}|1000)$' },
  after: { type: 'string', pattern: '^[0-9]{1,15}([.][cd][.].{1,300})?$' },
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
  const clients = new ClientDirectory(core)
  const path = '/api/v1/clients'

  app.get<{ Querystring: Page }>(
    path,
    { schema: query('limit', 'after', 'connected') },
    async ({ query: { after = '0', limit = PAGE_DEFAULT, connected } }) =>
      clients.page(after, Number(limit), connected === undefined ? undefined : connected === 'true'),
  )

  app.get<{ Querystring: Page }>('/api/v1/slow-readers', { schema: query('limit') }, async ({ query }) => ({
    slowReaders: await clients.slow(Number(query.limit ?? PAGE_DEFAULT)),
  }))

  app.get<Named>(`${path}/:clientId`, async ({ params }, reply) => {
    const found = await clients.find(params.clientId)
    return found ?? sendHttpError(reply, 'not_found', unknown(params.clientId))
  })

  // Its connection is closed and nothing of its session remains; a will is published.
  app.delete<Named>(`${path}/:clientId`, async ({ params }, reply) =>
    (await clients.end(params.clientId))
      ? reply.code(204).send()
      : sendHttpError(reply, 'not_found', unknown(params.clientId)),
  )
}

function unknown(clientId: string): string {
  return `There is no session of a client ${JSON.stringify(clientId)}`
}
