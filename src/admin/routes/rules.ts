/** Bridge rules over HTTP, under `/api/v1/rules`: list, show, apply, delete, test. */
import type { FastifyInstance } from 'fastify'
import { type Clock, systemClock } from '../../base/clock.ts'
import { systemRandom } from '../../base/random.ts'
import type { Rule } from '../../bridge/rule.ts'
import type { RuleBook, RuleSource } from '../../bridge/rule-book.ts'
import { ruleOf } from '../../bridge/rule-input.ts'
import { type RuleTrial, tryRules } from '../../bridge/try-rules.ts'
import { SluiceError } from '../../errors.ts'
import { isTopicName } from '../../wire/topic.ts'
import { requestFault } from './queue-schemas.ts'

export interface RuleRoutesOptions {
  readonly rules: RuleBook
  readonly clock?: Clock
}

type Named = { Params: { name: string } }

interface TestBody {
  topic: string
  payload?: string
  payloadBase64?: string
  clientId?: string
  userName?: string
  qos?: 0 | 1 | 2
  retain?: boolean
  userProperties?: [string, string][]
  rule?: unknown
}

const params = {
  type: 'object',
  properties: { name: { type: 'string', minLength: 1, maxLength: 200 } },
  required: ['name'],
}

const testSchema = {
  type: 'object',
  additionalProperties: false,
  required: ['topic'],
  properties: {
    topic: { type: 'string', minLength: 1, maxLength: 65_535 },
    payload: { type: 'string' },
    payloadBase64: { type: 'string' },
    clientId: { type: 'string', maxLength: 65_535 },
    userName: { type: 'string', maxLength: 65_535 },
    qos: { type: 'integer', enum: [0, 1, 2] },
    retain: { type: 'boolean' },
    userProperties: {
      type: 'array',
      maxItems: 1000,
      items: { type: 'array', minItems: 2, maxItems: 2, items: { type: 'string', maxLength: 65_535 } },
    },
    rule: { type: 'object' },
  },
}

/** Fastify plugin. Register it without a prefix. */
export async function ruleRoutes(app: FastifyInstance, options: RuleRoutesOptions): Promise<void> {
  const { rules, clock = systemClock } = options
  const path = '/api/v1/rules'

  const tags = ['rules']
  app.get(path, { schema: { tags, summary: 'The rules in force' } }, async () => ({
    rules: [...rules].map(({ rule, source }) => describe(rule, source)),
  }))

  app.get<Named>(
    `${path}/:name`,
    { schema: { tags, params, summary: 'One rule, with what it counted' } },
    async (request) => {
      const { rule, source } = rules.get(request.params.name)
      return describe(rule, source)
    },
  )

  app.put<Named>(`${path}/:name`, { schema: { tags, params, summary: 'Put a rule into force' } }, async (request) =>
    describe(await rules.apply(request.params.name, request.body), 'api'),
  )

  app.delete<Named>(
    `${path}/:name`,
    { schema: { tags, params, summary: 'Take a rule out of force' } },
    async (request, reply) => {
      await rules.delete(request.params.name)
      return reply.code(204).send()
    },
  )

  const schema = {
    schema: { tags, body: testSchema, summary: 'What rules make of a message' },
    schemaErrorFormatter: requestFault,
  }
  app.post<{ Body: TestBody }>(`${path}/test`, schema, async ({ body }): Promise<{ results: RuleTrial[] }> => {
    const { topic, rule, userProperties } = body
    if (!isTopicName(topic)) throw new SluiceError('topic_name_invalid', `${JSON.stringify(topic)} is no Topic Name`)
    const tried =
      rule === undefined ? [...rules].map((one) => one.rule) : [ruleOf(rule, { clock, random: systemRandom }, '')]
    const payload =
      body.payloadBase64 === undefined ? Buffer.from(body.payload ?? '') : Buffer.from(body.payloadBase64, 'base64')
    const { clientId = '', userName, qos = 1, retain = false } = body
    const facts = { topic, payload, clientId, userName, qos, retain, time: clock.now() }
    const configs = tried.map((one) => one.config)
    return { results: tryRules(configs, userProperties === undefined ? facts : { ...facts, userProperties }) }
  })
}

function describe(rule: Rule, source: RuleSource): object {
  return { ...rule.config, name: rule.name, source, plain: rule.plain, counters: { ...rule.counters } }
}
