/** Operating work queues over HTTP: look at messages, pause, purge, redrive, replay, plan. */
import type { FastifyInstance, FastifyReply } from 'fastify'
import type { z } from 'zod'
import { pathName } from '../../config/keys.ts'
import { issueLines } from '../../config/problems.ts'
import { queueSettingsSchema } from '../../config/queues.ts'
import { SluiceError } from '../../errors.ts'
import type { Queues } from '../../queue/queues.ts'
import type { Selection } from '../../queue/selection.ts'
import { sendHttpError } from '../errors.ts'
import { forecastView, jobView, messageView, pageView } from '../queue-views.ts'
import { paramsSchema, requestFault } from './queue-schemas.ts'

const PAGE_DEFAULT = 50

const time = { type: 'string', format: 'date-time' }
const selection = {
  topicFilter: { type: 'string', minLength: 1, maxLength: 65_535 },
  clientId: { type: 'string', maxLength: 65_535 },
  from: { ...time, description: 'Messages that the broker took from this time on.' },
  to: { ...time, description: 'Up to and without this time.' },
  reason: { type: 'string', maxLength: 512, description: 'A part of the reason of the last failure.' },
}
const ids = { type: 'array', minItems: 1, maxItems: 1000, items: { type: 'string', maxLength: 200 } }
const destination = { type: 'string', minLength: 1, maxLength: 255 }

const pageQuery = {
  type: 'object',
  additionalProperties: false,
  properties: {
    limit: { type: 'string', pattern: '^([1-9][0-9]{0,2}|1000)$' },
    after: { type: 'string', pattern: '^[0-9]{1,16}$' },
    id: { type: 'string', maxLength: 200 },
    ...selection,
  },
}

const moveBody = {
  type: ['object', 'null'],
  additionalProperties: false,
  properties: {
    ...selection,
    ids,
    queue: { ...destination, description: 'Where they go. Default: the queue they came from.' },
    perSecond: { type: 'number', minimum: 0, maximum: 1_000_000, description: '0: as fast as it goes.' },
  },
}

type Named = { Params: { queue: string } }
type Selected = { topicFilter?: string; clientId?: string; from?: string; to?: string; reason?: string }
type PageQuery = { Querystring: Selected & { limit?: string; after?: string; id?: string } }
type MoveBody = { Body: (Selected & { ids?: string[]; queue?: string; perSecond?: number }) | null }

/** Fastify plugin. Register it without a prefix. */
export async function queueControlRoutes(app: FastifyInstance, { queues }: { queues: Queues }): Promise<void> {
  const path = '/api/v1/queues/:queue'
  const { control } = queues
  const tags = ['queues']
  const schema = (summary: string, more: object = {}) => ({
    schema: { tags, summary, params: paramsSchema, ...more },
    schemaErrorFormatter: requestFault,
  })

  app.get<Named & PageQuery>(
    `${path}/messages`,
    schema('A page of the messages of a queue; none is taken', { querystring: pageQuery }),
    async ({ params, query }) => {
      const { limit, after } = query
      const cursor = after === undefined ? undefined : Number(after)
      const page = await control.browse(params.queue, selected(query), Number(limit ?? PAGE_DEFAULT), cursor)
      return pageView(page)
    },
  )

  app.get<{ Params: { queue: string; id: string } }>(
    `${path}/messages/:id`,
    { schema: { tags, summary: 'One message of a queue by its id' } },
    async ({ params }, reply) => {
      const found = await control.find(params.queue, params.id)
      return found === null ? noMessage(reply, params.queue, params.id) : messageView(found)
    },
  )

  app.get<Named & PageQuery>(
    `${path}/retained`,
    schema('A page of what a queue keeps for replay', { querystring: pageQuery }),
    async ({ params, query }) => {
      const cursor = query.after === undefined ? undefined : Number(query.after)
      const limit = Number(query.limit ?? PAGE_DEFAULT)
      return pageView(await control.browseRetained(params.queue, selected(query), limit, cursor))
    },
  )

  for (const [command, paused] of [
    ['pause', true],
    ['resume', false],
  ] as const) {
    app.post<Named>(`${path}/${command}`, schema(`${command} handing out messages`), async ({ params }) => {
      await queues.pause(params.queue, paused)
      return queues.get(params.queue).info()
    })
  }

  app.post<Named>(`${path}/purge`, schema('Give up every message that no worker holds'), async ({ params }) => ({
    count: await queues.get(params.queue).purge(),
  }))

  app.post<Named & MoveBody>(
    `${path}/redrive`,
    schema('Move dead letters back into their queue, or all of them into another', { body: moveBody }),
    async ({ params, body }, reply) => {
      const { queue, perSecond = 0, ...rest } = body ?? {}
      return reply.code(202).send(jobView(await control.redrive(params.queue, selected(rest), perSecond, queue)))
    },
  )

  app.post<Named & MoveBody>(
    `${path}/replay`,
    schema('Copy kept messages into the queue, or another, once more', { body: moveBody }),
    async ({ params, body }, reply) => {
      const { queue, perSecond = 0, ...rest } = body ?? {}
      return reply.code(202).send(jobView(await control.replay(params.queue, selected(rest), perSecond, queue)))
    },
  )

  app.get<Named & { Querystring: { targetWaitMs?: string; workers?: string } }>(
    `${path}/forecast`,
    schema('Rates, capacity and what follows from them; null: never, or without end', {
      querystring: {
        type: 'object',
        additionalProperties: false,
        properties: {
          targetWaitMs: { type: 'string', pattern: '^[0-9]{1,9}$' },
          workers: { type: 'string', pattern: '^[0-9]{1,7}$' },
        },
      },
    }),
    async ({ params, query }) => {
      const { targetWaitMs = '1000', workers } = query
      const count = workers === undefined ? undefined : Number(workers)
      return forecastView(control.forecast(params.queue, Number(targetWaitMs) / 1000, count))
    },
  )

  app.get(
    '/api/v1/queue-forecasts',
    { schema: { tags, summary: 'The forecast of every queue, with what is in it' } },
    async () => ({
      queues: [...queues]
        .sort((a, b) => (a.name < b.name ? -1 : 1))
        .map(({ name, ready, leased, delayed, paused }) => ({
          ...forecastView(control.forecast(name)),
          ...{ ready, leased, delayed, paused },
        })),
    }),
  )

  app.put<Named & { Body: unknown }>(
    `${path}/settings`,
    schema('Give a queue, made when absent, settings in place of those of the config file'),
    async ({ params, body }, reply) => {
      const parsed = queueSettingsSchema.safeParse(body ?? {})
      if (!parsed.success)
        return sendHttpError(reply, 'request_invalid', faultsOf(parsed.error.issues, params.queue, body))
      await queues.define(params.queue, parsed.data)
      return queues.settingsOf(params.queue)
    },
  )
  app.get<Named>(`${path}/settings`, schema('The settings of a queue'), async ({ params }) => {
    return queues.get(params.queue).settings
  })
  app.delete<Named>(`${path}/settings`, schema('Back to the settings of the config file'), async ({ params }) => {
    await queues.define(queues.get(params.queue).name, null)
    return queues.settingsOf(params.queue)
  })

  app.put<{ Params: { queue: string; group: string } }>(
    `${path}/groups/:group`,
    { schema: { tags, summary: 'Add a consumer group: it sees every message from now on' } },
    async ({ params }, reply) => {
      if (!/^[A-Za-z0-9][A-Za-z0-9._-]{0,62}$/.test(params.group))
        return sendHttpError(reply, 'request_invalid', 'a group is named by letters, digits, dot, dash and underscore')
      return (await queues.addGroup(params.queue, params.group)).info()
    },
  )

  const jobs = '/api/v1/queue-jobs'
  app.get(jobs, { schema: { tags, summary: 'Redrives and replays, newest first' } }, async () => ({
    jobs: control.jobs.list().map(jobView),
  }))
  const waitQuery = {
    type: 'object',
    additionalProperties: false,
    properties: { waitMs: { type: 'string', pattern: '^[0-9]{1,5}$', description: 'Answer when it ends, or then.' } },
  }
  app.get<{ Params: { id: string }; Querystring: { waitMs?: string } }>(
    `${jobs}/:id`,
    { schema: { tags, summary: 'How far a job is', querystring: waitQuery } },
    async ({ params, query }) => jobView(await control.jobs.ended(params.id, Number(query.waitMs ?? 0))),
  )
  app.delete<{ Params: { id: string } }>(
    `${jobs}/:id`,
    { schema: { tags, summary: 'End a job; what it moved stays moved' } },
    async ({ params }) => jobView(await control.jobs.cancel(params.id)),
  )
}

/** In the words of the config file, without where the queue stands in it. */
function faultsOf(issues: readonly z.core.$ZodIssue[], queue: string, body: unknown): string {
  const place = ['queues', queue]
  const placed = issues.map((issue) => ({ ...issue, path: [...place, ...issue.path] }))
  const lines = issueLines(placed, { queues: { [queue]: body } }, () => '')
  return lines.map((line) => line.replaceAll(`${pathName(place)}.`, '')).join('\n')
}

function noMessage(reply: FastifyReply, queue: string, id: string): FastifyReply {
  return sendHttpError(reply, 'not_found', `the queue ${queue} holds no message ${JSON.stringify(id)}`)
}

function selected({
  topicFilter,
  clientId,
  from,
  to,
  reason,
  ...more
}: Selected & { ids?: string[]; id?: string }): Selection {
  const selection: Selection = {}
  if (topicFilter !== undefined) selection.topicFilter = topicFilter
  if (clientId !== undefined) selection.clientId = clientId
  if (from !== undefined) selection.from = timeOf(from)
  if (to !== undefined) selection.to = timeOf(to)
  if (reason !== undefined) selection.reason = reason
  if (more.ids !== undefined) selection.ids = more.ids
  if (more.id !== undefined) selection.ids = [more.id]
  return selection
}

function timeOf(text: string): number {
  const ms = Date.parse(text)
  if (Number.isNaN(ms)) throw new SluiceError('protocol_error', `${JSON.stringify(text)} is no time`)
  return ms
}
