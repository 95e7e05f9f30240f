/** The OpenAPI document of the HTTP API, made from the schemas of its routes: `GET /api/v1/openapi.json`. */
import swagger from '@fastify/swagger'
import type { FastifyInstance } from 'fastify'

/** Register it before the routes it is to describe. */
export async function openapi(app: FastifyInstance, version: string): Promise<void> {
  await app.register(swagger, {
    openapi: {
      openapi: '3.1.0',
      info: {
        title: 'SluiceMQ',
        version,
        description:
          'Work queues, bridge rules and clients of a SluiceMQ broker. Failures have the form ' +
          '{ "error": { "code", "message", "action" } }.',
      },
      tags: [
        { name: 'queues', description: 'Durable work queues: pull, answer, put' },
        { name: 'rules', description: 'Bridge rules: from Topic Filters to queues' },
        { name: 'workers', description: 'Workers that send heartbeats' },
        { name: 'clients', description: 'MQTT clients' },
      ],
    },
  })
  app.get('/api/v1/openapi.json', { schema: { hide: true } }, () => app.swagger())
}
