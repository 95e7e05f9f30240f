/** Answers of many small entries, written without the detour over objects and schemas. */
import type { FastifyReply } from 'fastify'
import type { JsonBytes } from '../../bridge/json-bytes.ts'
import type { Result } from '../../queue/requests.ts'

/** What `JSON.stringify` makes of them. */
export function resultsJson(results: readonly Result[]): string {
  let text = '['
  for (let i = 0; i < results.length; i++) text += i > 0 ? `,${resultJson(results[i]!)}` : resultJson(results[i]!)
  return `${text}]`
}

/** As `resultsJson`, to what is written already. */
export function writeResults(results: readonly Result[], out: JsonBytes): void {
  out.ascii('[')
  for (let i = 0; i < results.length; i++) {
    const result = results[i]!
    if (i > 0) out.ascii(',')
    if (result.ok) out.ascii(resultJson(result))
    else out.json(resultJson(result))
  }
  out.ascii(']')
}

function resultJson(result: Result): string {
  // What counted is a receipt we made: there is nothing in it to escape.
  return result.ok ? `{"receipt":"${result.receipt}","ok":true}` : JSON.stringify(result)
}

export function sendJson(reply: FastifyReply, text: string | Buffer): FastifyReply {
  return reply.type('application/json; charset=utf-8').send(text)
}
