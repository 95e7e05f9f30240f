/** Everything under `/api/v1`. */
import type { FastifyInstance } from 'fastify'
import { packageVersion } from '../base/version.ts'
import { Producer } from '../bridge/producer.ts'
import type { RuleBook } from '../bridge/rule-book.ts'
import type { Core } from '../connection/core.ts'
import type { SluiceError } from '../errors.ts'
import type { Intake } from '../queue/intake.ts'
import type { Queues } from '../queue/queues.ts'
import { openapi } from './openapi.ts'
import { clientRoutes } from './routes/clients.ts'
import { messageRoutes } from './routes/messages.ts'
import { nodeRoutes } from './routes/nodes.ts'
import { queueControlRoutes } from './routes/queue-control.ts'
import { queueRoutes } from './routes/queues.ts'
import { ruleRoutes } from './routes/rules.ts'
import { workerRoutes } from './routes/workers.ts'

export interface ApiOptions {
  readonly core: Core
  readonly queues: Queues
  readonly rules: RuleBook
}

/** Fastify plugin. Register it without a prefix. */
export async function apiRoutes(app: FastifyInstance, { core, queues, rules }: ApiOptions): Promise<void> {
  // Schemas of answers are for the document only: what is said is written as it is.
  app.setSerializerCompiler(() => JSON.stringify)
  await openapi(app, packageVersion())
  const intakeOf = (queue: string): Intake => queues.intake(queue)
  const { store, clock, commits, storeRoom } = core
  const shortage = (): SluiceError | null => storeRoom.shortage
  const producer = new Producer({ store, clock, intakeOf, shortage, commit: () => commits.done() })
  await app.register(queueRoutes, { queues })
  await app.register(queueControlRoutes, { queues })
  await app.register(messageRoutes, { producer })
  await app.register(ruleRoutes, { rules, clock })
  await app.register(workerRoutes, { workers: queues.workers })
  await app.register(clientRoutes, { core })
  await app.register(nodeRoutes, { core, version: packageVersion() })
}
