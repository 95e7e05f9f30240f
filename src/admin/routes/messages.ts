/** Putting messages into a work queue over HTTP: `POST /api/v1/queues/{queue}/messages`, one or a batch. */
import type { FastifyInstance } from 'fastify'
import type { Produced, ProducedResult, Producer } from '../../bridge/producer.ts'
import { type ErrorCode, SluiceError } from '../../errors.ts'
import { paramsSchema, requestFault } from './queue-schemas.ts'
import { sendJson } from './results-json.ts'

/** Messages of one request. */
const MESSAGES_MAX = 1000
const BODY_BYTES_MAX = 8 * 1024 * 1024
const YEAR_MS = 31_622_400_000

interface MessageBody {
  /** As text, or any JSON value, which is then the payload as JSON. */
  payload?: unknown
  payloadBase64?: string
  topic?: string
  clientId?: string
  contentType?: string
  userProperties?: [string, string][]
  key?: string
  idempotencyKey?: string
  priority?: number
  delayMs?: number
  deliverAt?: string
  ttlMs?: number
}

const message = {
  type: 'object',
  additionalProperties: false,
  properties: {
    payload: { description: 'Text as it is; any other JSON value is written as JSON.' },
    payloadBase64: { type: 'string', description: 'Bytes.' },
    topic: { type: 'string', minLength: 1, maxLength: 65_535, description: 'Default: $queue/ and the name.' },
    clientId: { type: 'string', maxLength: 65_535 },
    contentType: { type: 'string', maxLength: 65_535 },
    userProperties: {
      type: 'array',
      maxItems: 1000,
      items: { type: 'array', minItems: 2, maxItems: 2, items: { type: 'string', maxLength: 65_535 } },
    },
    key: { type: 'string', minLength: 1, maxLength: 1024, description: 'Ordering key.' },
    idempotencyKey: { type: 'string', minLength: 1, maxLength: 1024 },
    priority: { type: 'integer', minimum: 0, maximum: 9 },
    delayMs: { type: 'integer', minimum: 0, maximum: YEAR_MS },
    deliverAt: { type: 'string', format: 'date-time' },
    ttlMs: { type: 'integer', minimum: 1, maximum: YEAR_MS },
  },
}

const body = {
  type: 'object',
  additionalProperties: false,
  required: ['messages'],
  properties: { messages: { type: 'array', minItems: 1, maxItems: MESSAGES_MAX, items: message } },
}

const headers = {
  type: 'object',
  properties: {
    'idempotency-key': {
      type: 'string',
      minLength: 1,
      maxLength: 512,
      description: 'Sent again with the same key, the request adds nothing. Message n of the batch has it as KEY/n.',
    },
  },
}

/** Fastify plugin. Register it without a prefix. */
export async function messageRoutes(app: FastifyInstance, { producer }: { producer: Producer }): Promise<void> {
  app.post<{ Params: { queue: string }; Body: { messages: MessageBody[] }; Headers: { 'idempotency-key'?: string } }>(
    '/api/v1/queues/:queue/messages',
    {
      schema: { tags: ['queues'], params: paramsSchema, body, headers, summary: 'Put messages into a queue' },
      schemaErrorFormatter: requestFault,
      bodyLimit: BODY_BYTES_MAX,
    },
    async (request, reply) => {
      const key = request.headers['idempotency-key']
      const messages = request.body.messages.map((one, i) =>
        producedOf(one, i, key === undefined ? undefined : `${key}/${i}`),
      )
      const results = await producer.produce(request.params.queue, messages)
      const [first] = results
      // One message that was refused is the answer itself.
      if (results.length === 1 && first?.error !== undefined) throw errorOf(first)
      return sendJson(reply.code(201), `{"results":${producedJson(results)}}`)
    },
  )
}

function producedJson(results: readonly ProducedResult[]): string {
  let text = '['
  for (let i = 0; i < results.length; i++) {
    const result = results[i]!
    if (i > 0) text += ','
    const plain = result.ok && result.id === undefined && result.duplicate === undefined
    text += plain ? '{"ok":true}' : JSON.stringify(result)
  }
  return `${text}]`
}

function errorOf({ error }: ProducedResult): SluiceError {
  return new SluiceError(error!.code as ErrorCode, error!.message)
}

function producedOf(one: MessageBody, i: number, key: string | undefined): Produced {
  const { payload, payloadBase64, deliverAt, ...rest } = one
  if ((payload === undefined) === (payloadBase64 === undefined))
    throw Object.assign(new Error(`body/messages/${i} must have either payload or payloadBase64`), { statusCode: 400 })
  const idempotencyKey = one.idempotencyKey ?? key
  return {
    ...rest,
    ...(idempotencyKey !== undefined && { idempotencyKey }),
    ...(deliverAt !== undefined && { deliverAt: Date.parse(deliverAt) }),
    payload:
      payloadBase64 !== undefined
        ? Buffer.from(payloadBase64, 'base64')
        : Buffer.from(typeof payload === 'string' ? payload : JSON.stringify(payload)),
  }
}
