/** Everything under `/api/v1`. */
import type { FastifyInstance } from 'fastify'
import type { RuleBook } from '../bridge/rule-book.ts'
import type { Core } from '../connection/core.ts'
import type { Queues } from '../queue/queues.ts'
import { clientRoutes } from './routes/clients.ts'
import { queueRoutes } from './routes/queues.ts'
import { ruleRoutes } from './routes/rules.ts'

export interface ApiOptions {
  readonly core: Core
  readonly queues: Queues
  readonly rules: RuleBook
}

/** Fastify plugin. Register it without a prefix. */
export async function apiRoutes(app: FastifyInstance, { core, queues, rules }: ApiOptions): Promise<void> {
  await app.register(queueRoutes, { queues })
  await app.register(ruleRoutes, { rules, clock: core.clock })
  await app.register(clientRoutes, { core })
}
