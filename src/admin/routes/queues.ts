/**
 * Work queues over HTTP, under `/api/v1/queues`: pull (long poll), ack, nack, extend, counts. Everything is batched and
 * answered per entry. The path carries the queue's name percent-encoded.
 */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { type Envelope, envelopeOf } from '../../bridge/envelope.ts'
import type { Delivery } from '../../queue/delivery.ts'
import type { WorkQueue } from '../../queue/queue.ts'
import type { Queues } from '../../queue/queues.ts'
import type { ExtendEntry, NackEntry, QueueInfo } from '../../queue/requests.ts'
import {
  ackSchema,
  cancelSchema,
  extendSchema,
  nackSchema,
  paramsSchema,
  pullAnswer,
  pullSchema,
  receiptsSchema,
  rejectSchema,
  requestFault,
  resultsAnswer,
} from './queue-schemas.ts'

/** Largest request body: 1,000 entries of nack with the longest reason that is kept. */
const BODY_BYTES_MAX = 1024 * 1024

export interface QueueRoutesOptions {
  queues: Queues
}

type Named = { Params: { queue: string } }
type PullBody = { max?: number; waitMs?: number; leaseMs?: number; poll?: string } | null

/** Pulls that can be cancelled, by queue and the name the caller gave them. */
type Polls = Map<string, AbortController>

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

  const polls: Polls = new Map()
  app.post<Named & { Body: PullBody }>(
    `${path}/:queue/pull`,
    schema(pullSchema, 'Lease messages, waiting for some to come', pullAnswer),
    async (request, reply) => {
      const queue = queues.get(request.params.queue)
      const { max = 1, waitMs = 0, leaseMs = queues.leaseMs(queue.name), poll } = request.body ?? {}
      const abort = new AbortController()
      if (poll === undefined) return pull(queue, max, leaseMs, waitMs, reply, abort)
      const key = pollKey(queue.name, poll)
      polls.set(key, abort)
      try {
        return await pull(queue, max, leaseMs, waitMs, reply, abort)
      } finally {
        if (polls.get(key) === abort) polls.delete(key)
      }
    },
  )

  // Hanging up leaves open whether messages were on their way; a cancelled pull is answered, and then nothing is.
  app.post<Named & { Body: { poll: string } }>(
    `${path}/:queue/cancel`,
    schema(cancelSchema, 'Have a waiting pull answered', {}),
    async (request) => {
      const abort = polls.get(pollKey(queues.get(request.params.queue).name, request.body.poll))
      abort?.abort()
      return { cancelled: abort !== undefined }
    },
  )

  app.post<Named & { Body: { receipts: string[] } }>(
    `${path}/:queue/ack`,
    schema(ackSchema, 'The work is done'),
    async (request) => ({
      results: await queues.get(request.params.queue).ack(request.body.receipts),
    }),
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

/** Nothing is leased to a caller that has gone away, and what could not be written to it is given back at once. */
async function pull(
  queue: WorkQueue,
  max: number,
  leaseMs: number,
  waitMs: number,
  reply: FastifyReply,
  abort: AbortController,
): Promise<FastifyReply> {
  let deliveries: Delivery[] = []
  // Node says `finish` (and sets `writableFinished`) also when the socket broke with bytes still to be written.
  const { socket } = reply.raw
  let written = false
  let closed = reply.raw.destroyed
  reply.raw.once('finish', () => {
    written = socket?.destroyed !== true
  })
  reply.raw.once('close', () => {
    if (written) return
    closed = true
    abort.abort()
    queue.release(deliveries)
  })
  if (closed) abort.abort()
  deliveries = await queue.pull(max, leaseMs, waitMs, abort.signal)
  // It may have closed between the answer of the queue and this line.
  if (closed) queue.release(deliveries)
  return reply.type('application/json; charset=utf-8').send(JSON.stringify({ messages: envelopes(queue, deliveries) }))
}

function pollKey(queue: string, poll: string): string {
  return `${poll}\n${queue}`
}

function envelopes(queue: WorkQueue, deliveries: readonly Delivery[]): Envelope[] {
  const made: Envelope[] = []
  const unreadable: NackEntry[] = []
  for (const delivery of deliveries) {
    try {
      made.push(envelopeOf(delivery, queue.name, delivery.id))
    } catch (error) {
      // One message that cannot be read must not hold up the others for ever.
      unreadable.push({
        receipt: delivery.receipt,
        reject: true,
        reason: `cannot be read: ${(error as Error).message}`,
      })
    }
  }
  if (unreadable.length > 0) queue.nack(unreadable).catch(() => {})
  return made
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
