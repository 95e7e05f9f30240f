/** Answers of many small entries, written without the detour over objects and schemas. */
import type { FastifyReply } from 'fastify'
import type { Result } from '../../queue/requests.ts'

/** What `JSON.stringify` makes of them. */
export function resultsJson(results: readonly Result[]): string {
  let text = '['
  for (let i = 0; i < results.length; i++) {
    const result = results[i]!
    if (i > 0) text += ','
    // What counted is a receipt we made: there is nothing in it to escape.
    text += result.ok ? `{"receipt":"${result.receipt}","ok":true}` : JSON.stringify(result)
  }
  return `${text}]`
}

export function sendJson(reply: FastifyReply, text: string): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(text)
}
