/**
 * Work queues over HTTP, under `/api/v1/queues`: pull (long poll), ack, nack, extend, counts. Everything is batched and
 * answered per entry. The path carries the queue's name percent-encoded.
 */
import type { FastifyInstance } from 'fastify'
import type { Queues } from '../../queue/queues.ts'
import type { ExtendEntry, NackEntry, QueueInfo } from '../../queue/requests.ts'
import { pullRoutes } from './pull.ts'
import {
  ackSchema,
  BODY_BYTES_MAX,
  extendSchema,
  nackSchema,
  paramsSchema,
  receiptsSchema,
  rejectSchema,
  requestFault,
  resultsAnswer,
} from './queue-schemas.ts'
import { resultsJson, sendJson } from './results-json.ts'

export interface QueueRoutesOptions {
  queues: Queues
}

type Named = { Params: { queue: string } }

/** Fastify plugin. Register it without a prefix. Errors are `SluiceError`s for the server's error handler. */
export async function queueRoutes(app: FastifyInstance, { queues }: QueueRoutesOptions): Promise<void> {
  const path = '/api/v1/queues'
  const tags = ['queues']
  const schema = (body: object, summary: string, response: object = resultsAnswer) => ({
    schema: { tags, summary, params: paramsSchema, body, response },
    schemaErrorFormatter: requestFault,
    bodyLimit: BODY_BYTES_MAX,
  })

  app.get(path, { schema: { tags, summary: 'Every queue and what waits in it' } }, async () => ({
    queues: (await queues.list()).map((info) => infoOf(info, queues)),
  }))

  app.get<Named>(
    `${path}/:queue`,
    { schema: { tags, summary: 'What waits in a queue', params: paramsSchema } },
    async (request) => infoOf(await queues.get(request.params.queue).info(), queues),
  )

  pullRoutes(app, path, queues)

  app.post<Named & { Body: { receipts: string[] } }>(
    `${path}/:queue/ack`,
    schema(ackSchema, 'The work is done'),
    async (request, reply) =>
      sendJson(reply, `{"results":${resultsJson(await queues.get(request.params.queue).ack(request.body.receipts))}}`),
  )

  app.post<Named & { Body: { entries: NackEntry[] } }>(
    `${path}/:queue/nack`,
    schema(nackSchema, 'The work failed, or is given back'),
    async (request) => ({
      results: await queues.get(request.params.queue).nack(request.body.entries),
    }),
  )

  app.post<Named & { Body: { entries: { receipt: string; reason?: string }[] } }>(
    `${path}/:queue/reject`,
    schema(rejectSchema, 'The work can never be done: to the dead letters'),
    async (request) => {
      const entries = request.body.entries.map((entry) => ({ ...entry, reject: true }))
      return { results: await queues.get(request.params.queue).nack(entries) }
    },
  )

  app.post<Named & { Body: { receipts: string[] } }>(
    `${path}/:queue/release`,
    schema(receiptsSchema, 'Given back unworked: ready at once, and the attempt does not count'),
    async (request) => {
      const entries = request.body.receipts.map((receipt) => ({ receipt, release: true }))
      return { results: await queues.get(request.params.queue).nack(entries) }
    },
  )

  app.post<Named & { Body: { entries: ExtendEntry[] } }>(
    `${path}/:queue/extend`,
    schema(extendSchema, 'The work takes longer'),
    async (request) => {
      const results = await queues.get(request.params.queue).extend(request.body.entries)
      return {
        results: results.map((result) =>
          result.ok ? { ...result, leasedUntil: new Date(result.leasedUntil).toISOString() } : result,
        ),
      }
    },
  )
}

function infoOf(info: QueueInfo, { doorOf }: Queues): object {
  const { oldestAt, ...counts } = info
  const door = doorOf(info.name)
  return {
    ...counts,
    ...(oldestAt !== undefined && { oldestAt: new Date(oldestAt).toISOString() }),
    ...(door !== undefined && {
      redisWorkers: { stream: door.place, waiting: door.lying, taken: door.taken, workers: door.workers },
    }),
  }
}
