import { request as ask } from 'node:http'
import { pipeline } from 'node:stream'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'

/** Paths whose answers only the node has that keeps the work queues. */
const KEPT_ELSEWHERE = /^\/api\/v1\/(queues|queue-jobs|queue-forecasts|rules|workers)(\/|\?|$)/

/** Said on a request that was passed on once: it goes no further. */
const PASSED_ON = 'x-sluicemq-passed-on'

/**
 * Passes requests about queues, rules and workers on to the node that keeps them, body and answer as they are.
 * @param keeper base URL of that node's HTTP face; null: this node keeps them; undefined: nobody does at the moment
 */
export function forwardToKeeper(app: FastifyInstance, keeper: () => string | null | undefined): void {
  app.addHook('onRequest', (request, reply, done) => {
    const url = KEPT_ELSEWHERE.test(request.url) ? keeper() : null
    if (url === null) return done()
    if (url === undefined || request.headers[PASSED_ON] !== undefined)
      return void reply.code(503).send({ error: { ...UNREACHABLE, message: 'No node keeps the queues at the moment' } })
    pass(request, reply, url)
  })
}

function pass(request: FastifyRequest, reply: FastifyReply, base: string): void {
  reply.hijack()
  const { raw } = request
  const answer = reply.raw
  const headers = { ...raw.headers, [PASSED_ON]: '1' }
  const onwards = ask(new URL(request.url, base), { method: request.method, headers }, (response) => {
    answer.writeHead(response.statusCode ?? 502, response.headers)
    // Where that node dies in the middle, this answer ends with it.
    pipeline(response, answer, () => {})
  })
  onwards.on('error', () => {
    if (!answer.headersSent) answer.writeHead(503, { 'content-type': 'application/json' })
    answer.end(JSON.stringify({ error: UNREACHABLE }))
  })
  answer.on('close', () => onwards.destroy())
  raw.pipe(onwards)
}

const UNREACHABLE = {
  code: 'server_unavailable',
  message: 'The node that keeps the queues does not answer',
  action: 'Try again later.',
}
