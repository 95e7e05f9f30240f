/** Everything under `/api/v1`. */
import type { FastifyInstance } from 'fastify'
import type { Core } from '../connection/core.ts'
import type { Queues } from '../queue/queues.ts'
import { clientRoutes } from './routes/clients.ts'
import { queueRoutes } from './routes/queues.ts'

export interface ApiOptions {
  readonly core: Core
  readonly queues: Queues
}

/** Fastify plugin. Register it without a prefix. */
export async function apiRoutes(app: FastifyInstance, { core, queues }: ApiOptions): Promise<void> {
  await app.register(queueRoutes, { queues })
  await app.register(clientRoutes, { core })
}
