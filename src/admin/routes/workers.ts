/** Workers over HTTP: `POST /api/v1/workers/{id}/heartbeat`, answered run, quiet or stop; list them; tell them. */
import type { FastifyInstance } from 'fastify'
import type { Heartbeat, WorkerCommand, WorkerInfo, Workers } from '../../queue/workers.ts'
import { requestFault } from './queue-schemas.ts'

type Named = { Params: { id: string } }

const params = {
  type: 'object',
  properties: { id: { type: 'string', minLength: 1, maxLength: 200 } },
  required: ['id'],
}
const count = { type: 'integer', minimum: 0 }
const name = { type: 'string', maxLength: 255 }
const heartbeat = {
  type: ['object', 'null'],
  additionalProperties: false,
  properties: { queue: name, host: name, pid: count, version: name, running: count, done: count, failed: count },
}
const command = {
  type: 'object',
  additionalProperties: false,
  required: ['command'],
  properties: { command: { type: 'string', enum: ['run', 'quiet', 'stop'] } },
}

/** Fastify plugin. Register it without a prefix. */
export async function workerRoutes(app: FastifyInstance, { workers }: { workers: Workers }): Promise<void> {
  const path = '/api/v1/workers'
  const tags = ['workers']
  const common = { schemaErrorFormatter: requestFault }

  app.get(path, { schema: { tags, summary: 'Workers that send heartbeats' } }, async () => ({
    workers: workers.list().map(infoOf),
  }))

  app.post<Named & { Body: Heartbeat | null }>(
    `${path}/:id/heartbeat`,
    { ...common, schema: { tags, params, body: heartbeat, summary: 'I am alive; what am I to do?' } },
    async ({ params: { id }, body }) => ({ command: workers.heard(id, body ?? {}) }),
  )

  app.put<Named & { Body: { command: WorkerCommand } }>(
    `${path}/:id`,
    { ...common, schema: { tags, params, body: command, summary: 'What its next heartbeat is answered' } },
    async (request) => infoOf(workers.tell(request.params.id, request.body.command)),
  )
}

function infoOf({ since, seen, ...worker }: WorkerInfo): object {
  return { ...worker, since: new Date(since).toISOString(), seen: new Date(seen).toISOString() }
}
