/** `POST …/pull`, which may acknowledge in the same breath, and `POST …/cancel`. */
import type { FastifyInstance, FastifyReply } from 'fastify'
import { EnvelopeWriter } from '../../bridge/envelope-json.ts'
import { JsonBytes } from '../../bridge/json-bytes.ts'
import type { Delivery } from '../../queue/delivery.ts'
import type { WorkQueue } from '../../queue/queue.ts'
import type { Queues } from '../../queue/queues.ts'
import type { NackEntry, Result } from '../../queue/requests.ts'
import { BODY_BYTES_MAX, cancelSchema, paramsSchema, pullAnswer, pullSchema, requestFault } from './queue-schemas.ts'
import { sendJson, writeResults } from './results-json.ts'

type Named = { Params: { queue: string } }
type PullBody = { max?: number; waitMs?: number; leaseMs?: number; poll?: string; ack?: string[] } | null

/** One pull under way. */
interface Pull {
  readonly max: number
  readonly waitMs: number
  readonly leaseMs: number
  /** Receipts of what was done before. */
  readonly ack: readonly string[] | undefined
  readonly abort: AbortController
}

const writer = new EnvelopeWriter()

/** @param path that of all queues */
export function pullRoutes(app: FastifyInstance, path: string, queues: Queues): void {
  const schema = (body: object, summary: string, response: object) => ({
    schema: { tags: ['queues'], summary, params: paramsSchema, body, response },
    schemaErrorFormatter: requestFault,
    bodyLimit: BODY_BYTES_MAX,
  })
  /** Pulls that can be cancelled, by queue and the name the caller gave them. */
  const polls = new Map<string, AbortController>()

  app.post<Named & { Body: PullBody }>(
    `${path}/:queue/pull`,
    schema(pullSchema, 'Lease messages, waiting for some to come; acknowledge others at once', pullAnswer),
    async (request, reply) => {
      const queue = queues.get(request.params.queue)
      const { max = 1, waitMs = 0, leaseMs = queues.leaseMs(queue.name), poll, ack } = request.body ?? {}
      const abort = new AbortController()
      const pull = { max, waitMs, leaseMs, ack, abort }
      if (poll === undefined) return answer(queue, pull, reply)
      const key = pollKey(queue.name, poll)
      polls.set(key, abort)
      try {
        return await answer(queue, pull, reply)
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
}

function pollKey(queue: string, poll: string): string {
  return `${poll}\n${queue}`
}

/** Nothing is leased to a caller that has gone away, and what could not be written to it is given back at once. */
async function answer(
  queue: WorkQueue,
  { max, waitMs, leaseMs, ack, abort }: Pull,
  reply: FastifyReply,
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
  // Written in one turn: one flush makes both durable.
  const acked = ack === undefined ? undefined : queue.ack(ack)
  acked?.catch(() => abort.abort())
  deliveries = await queue.pull(max, leaseMs, waitMs, abort.signal)
  // It may have closed between the answer of the queue and this line.
  if (closed) queue.release(deliveries)
  const results = await resultsOf(acked, queue, deliveries)
  const out = new JsonBytes(answerBytes(deliveries, results))
  out.ascii('{"messages":[')
  writeEnvelopes(queue, deliveries, out)
  out.ascii(']')
  if (results !== undefined) {
    out.ascii(',"results":')
    writeResults(results, out)
  }
  out.ascii('}')
  return sendJson(reply, out.bytes)
}

/** Rejects when the acknowledgements could not be written: the answer is an error, and nobody hears of the messages. */
async function resultsOf(
  acked: Promise<Result[]> | undefined,
  queue: WorkQueue,
  deliveries: Delivery[],
): Promise<Result[] | undefined> {
  try {
    return await acked
  } catch (error) {
    queue.release(deliveries)
    throw error
  }
}

/** About what the answer will take. */
function answerBytes(deliveries: readonly Delivery[], results: readonly Result[] | undefined): number {
  let bytes = 64 + 64 * (results?.length ?? 0)
  for (let i = 0; i < deliveries.length; i++) bytes += 320 + deliveries[i]!.message.length
  return bytes
}

function writeEnvelopes(queue: WorkQueue, deliveries: readonly Delivery[], out: JsonBytes): void {
  const unreadable: NackEntry[] = []
  let separator = ''
  for (const delivery of deliveries) {
    const before = out.length
    try {
      out.ascii(separator)
      writer.write(delivery, queue.name, delivery.id, out)
      separator = ','
    } catch (error) {
      out.cut(before)
      // One message that cannot be read must not hold up the others for ever.
      unreadable.push({
        receipt: delivery.receipt,
        reject: true,
        reason: `cannot be read: ${(error as Error).message}`,
      })
    }
  }
  if (unreadable.length > 0) queue.nack(unreadable).catch(() => {})
}
