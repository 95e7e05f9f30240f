/** Health for supervisors: is the process alive, and may it be sent traffic. */
import type { FastifyInstance } from 'fastify'

/**
 * `reason` says what is missing, e.g. "starting" or "the store does not accept writes"; `degraded` what is, where the rest is worth
 * being sent traffic.
 */
export type Readiness =
  | { readonly ready: true; readonly degraded?: string }
  | { readonly ready: false; readonly reason: string }

/**
 * `/health/live`: 200 as long as the event loop turns. `/health/ready`: 200 when clients are served and the store takes
 * writes, else 503 with the reason. 200 with the status `degraded` and a reason: some of it, see `Readiness`.
 */
export function healthRoutes(app: FastifyInstance, readiness: () => Readiness): void {
  app.get('/health/live', (_request, reply) => reply.header('cache-control', 'no-store').send({ status: 'live' }))
  app.get('/health/ready', (_request, reply) => {
    const state = readiness()
    reply.header('cache-control', 'no-store')
    if (!state.ready) return reply.code(503).send({ status: 'not ready', reason: state.reason })
    const { degraded: reason } = state
    return reply.send(reason === undefined ? { status: 'ready' } : { status: 'degraded', reason })
  })
}
