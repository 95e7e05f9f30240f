/**
 * Nodes over HTTP: `GET /api/v1/nodes`, and for this one `POST /api/v1/node/drain` and `DELETE /api/v1/node/drain`.
 */
import type { FastifyInstance } from 'fastify'
import type { Core } from '../../connection/core.ts'

const DRAIN_MS = 10_000

const drainSchema = {
  body: {
    type: ['object', 'null'],
    additionalProperties: false,
    properties: {
      overMs: { type: 'integer', minimum: 0, maximum: 3_600_000 },
      serverReference: { type: 'string', minLength: 1, maxLength: 1024 },
    },
  },
} as const

interface DrainRequest {
  overMs?: number
  serverReference?: string
}

/** Fastify plugin. Register it without a prefix. */
export async function nodeRoutes(
  app: FastifyInstance,
  { core, version }: { core: Core; version: string },
): Promise<void> {
  const { drain, sessions, nodes, events } = core

  const own = (): object => ({
    nodeId: sessions.nodeId,
    self: true,
    leads: nodes?.cluster.leads ?? true,
    version,
    draining: drain.state !== 'serving',
    drain: drain.state,
    clients: sessions.online,
  })

  app.get('/api/v1/nodes', async () => {
    const leader = nodes?.cluster.leader ?? null
    const others = [...(nodes?.cluster.others.values() ?? [])].map(
      ({ nodeId, version, startedAt, address, draining }) => ({
        nodeId,
        self: false,
        leads: nodeId === leader,
        version,
        startedAt: new Date(startedAt).toISOString(),
        address,
        draining,
      }),
    )
    return { nodes: [own(), ...others] }
  })

  app.get('/api/v1/node', async () => own())

  // Answered at once; GET /api/v1/node tells how far it is.
  app.post<{ Body: DrainRequest | null }>('/api/v1/node/drain', { schema: drainSchema }, async ({ body }, reply) => {
    const { overMs = DRAIN_MS, serverReference = null } = body ?? {}
    drain
      .begin(overMs, serverReference)
      .catch((error: unknown) => events.emit('internalError', { where: 'draining', error }))
    return reply.code(202).send(own())
  })

  app.delete('/api/v1/node/drain', async () => {
    await drain.cancel()
    return own()
  })
}
