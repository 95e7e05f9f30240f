/** JSON Schemas of the queue requests, and what is said about requests that do not fit. */
import type { FastifySchemaValidationError } from 'fastify/types/schema.js'
import { REASON_BYTES_MAX } from '../../queue/marks.ts'

/** Largest request body: 1,000 entries of nack with the longest reason that is kept. */
export const BODY_BYTES_MAX = 1024 * 1024

/** Entries of one request. */
const ENTRIES_MAX = 1000
const DELAY_MS_MAX = 604_800_000

const leaseMs = { type: 'integer', minimum: 100, maximum: 43_200_000 }
const poll = { type: 'string', minLength: 1, maxLength: 64 }
const receipt = { type: 'string', minLength: 1, maxLength: 64 }

function object(properties: Record<string, object>, required: string[], type: string | string[] = 'object'): object {
  return { type, additionalProperties: false, properties, required }
}

function list(items: object): object {
  return { type: 'array', minItems: 1, maxItems: ENTRIES_MAX, items }
}

export const paramsSchema = {
  type: 'object',
  properties: { queue: { type: 'string', minLength: 1, maxLength: 255 } },
  required: ['queue'],
}

/** The body may be left out. */
export const pullSchema = object(
  {
    max: { type: 'integer', minimum: 1, maximum: ENTRIES_MAX },
    waitMs: { type: 'integer', minimum: 0, maximum: 60_000 },
    leaseMs,
    poll,
    ack: { ...list(receipt), description: 'Receipts of messages that are done: acknowledged before the pull.' },
  },
  [],
  ['object', 'null'],
)

export const cancelSchema = object({ poll }, ['poll'])

export const ackSchema = object({ receipts: list(receipt) }, ['receipts'])

export const nackSchema = object(
  {
    entries: list(
      object(
        {
          receipt,
          delayMs: { type: 'integer', minimum: 0, maximum: DELAY_MS_MAX },
          // Cut, not refused: see REASON_BYTES_MAX.
          reason: { type: 'string', maxLength: 128 * REASON_BYTES_MAX },
          reject: { type: 'boolean' },
          release: { type: 'boolean' },
        },
        ['receipt'],
      ),
    ),
  },
  ['entries'],
)

export const extendSchema = object({ entries: list(object({ receipt, leaseMs }, ['receipt', 'leaseMs'])) }, ['entries'])

export const receiptsSchema = object({ receipts: list(receipt) }, ['receipts'])

export const rejectSchema = object(
  { entries: list(object({ receipt, reason: { type: 'string', maxLength: 128 * REASON_BYTES_MAX } }, ['receipt'])) },
  ['entries'],
)

const time = { type: 'string', format: 'date-time' }
const words = { type: 'string' }

/** What src/bridge/envelope.ts describes. */
const envelope = {
  type: 'object',
  properties: {
    v: { const: 1 },
    id: { ...words, description: 'The same for every delivery of this message; of no other message ever.' },
    queue: words,
    receipt: { ...words, description: 'Proves who holds the lease: ack, nack and extend ask for it.' },
    topic: words,
    levels: { type: 'array', items: words },
    clientId: words,
    userName: words,
    qos: { type: 'integer', enum: [0, 1, 2] },
    retain: { type: 'boolean' },
    time,
    encoding: { type: 'string', enum: ['utf8', 'base64'] },
    payload: words,
    properties: { type: 'object' },
    attempt: { type: 'integer', minimum: 1 },
    leasedUntil: time,
    failures: {
      type: 'array',
      items: { type: 'object', properties: { at: time, attempt: { type: 'integer' }, reason: words } },
    },
    deadLetter: { type: 'object', properties: { queue: words, attempts: { type: 'integer' }, at: time } },
  },
  required: ['v', 'id', 'queue', 'receipt', 'topic', 'payload', 'encoding', 'attempt', 'leasedUntil'],
}

const result = {
  type: 'object',
  properties: { receipt: words, ok: { type: 'boolean' }, error: words, leasedUntil: time },
  required: ['receipt', 'ok'],
}

function answer(lists: Readonly<Record<string, object>>): object {
  const properties = Object.fromEntries(Object.entries(lists).map(([name, items]) => [name, { type: 'array', items }]))
  return { 200: { description: 'One for each', type: 'object', properties } }
}

/** `results`: where the pull had `ack`. */
export const pullAnswer = answer({ messages: envelope, results: result })

export const resultsAnswer = answer({ results: result })

/** The first fault of a request in words: `body/entries/0 has no key named "delay"`. */
export function requestFault(faults: FastifySchemaValidationError[], part: string): Error {
  const [fault] = faults
  const place = `${part}${fault?.instancePath ?? ''}`
  if (fault?.keyword === 'additionalProperties')
    return new Error(`${place} has no key named ${JSON.stringify(fault.params['additionalProperty'])}`)
  return new Error(`${place} ${fault?.message ?? 'is not valid'}`)
}
