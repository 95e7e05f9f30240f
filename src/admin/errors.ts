/**
 * Every failure of the HTTP API as one shape: `{ "error": { "code", "message", "action" } }` with the fitting status.
 */
import type { Socket } from 'node:net'
import type { FastifyError, FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorCode, errorTable, SluiceError } from '../errors.ts'
import type { Logger } from '../telemetry/log.ts'

export interface ErrorBody {
  error: { code: string; message: string; action: string }
}

/** Errors that only HTTP has; the others are in `errorTable`. */
const httpErrors = {
  request_invalid: { status: 400, action: 'Correct the request; the message names the field.' },
  forbidden_origin: { status: 403, action: 'Add the page to webSocket.origins, or call from a program.' },
  not_found: { status: 404, action: 'Check method and path; the API is under /api/v1.' },
  request_too_large: { status: 413, action: 'Send fewer entries in one request.' },
  content_type_invalid: { status: 415, action: 'Send Content-Type: application/json.' },
} as const

export type HttpErrorCode = keyof typeof httpErrors

/** HTTP status of the errors of the table; those not listed follow their kind. */
const statuses: Partial<Record<ErrorCode, number>> = {
  bad_user_name_or_password: 401,
  not_authorized: 403,
  queue_unknown: 404,
  job_unknown: 404,
  nothing_retained: 409,
  rule_unknown: 404,
  worker_unknown: 404,
  receipt_lost: 409,
  packet_too_large: 413,
  quota_exceeded: 429,
  store_full: 507,
}

const statusOfKind = { protocol: 400, refused: 400, dependency: 503, config: 500, invariant: 500 } as const

export function statusOf(code: ErrorCode): number {
  return statuses[code] ?? (errorTable[code].retryable ? 503 : statusOfKind[errorTable[code].kind])
}

/** Answers with an error that only HTTP has. */
export function sendHttpError(reply: FastifyReply, code: HttpErrorCode, message: string): FastifyReply {
  return reply.code(httpErrors[code].status).send(httpErrorBody(code, message))
}

function httpErrorBody(code: HttpErrorCode, message: string): ErrorBody {
  return { error: { code, message, action: httpErrors[code].action } }
}

/** Bytes on the HTTP port that are no HTTP: an MQTT client at the wrong port, a request that never ends. */
export function answerNonHttp(error: Error & { code?: string }, socket: Socket): void {
  if (!socket.writable || error.code === 'ECONNRESET') {
    socket.destroy()
    return
  }
  const timedOut = error.code === 'ERR_HTTP_REQUEST_TIMEOUT'
  const body = JSON.stringify(
    httpErrorBody('request_invalid', timedOut ? 'The request took too long' : 'This is not an HTTP request'),
  )
  socket.end(
    `HTTP/1.1 ${timedOut ? '408 Request Timeout' : '400 Bad Request'}\r\nConnection: close\r\n` +
      `Content-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\n\r\n${body}`,
    () => socket.destroy(),
  )
}

/** Gives `app` the one shape for thrown errors, invalid requests and unknown paths. */
export function installErrors(app: FastifyInstance, logger: Logger): void {
  app.setNotFoundHandler((request, reply) => {
    return sendHttpError(reply, 'not_found', `There is nothing at ${request.method} ${request.url.split('?', 1)[0]}`)
  })
  app.setErrorHandler((error, request, reply) => answerError(error, request, reply, logger))
}

/** The answer to anything thrown on the way of a request. */
export function answerError(
  error: unknown,
  request: Pick<FastifyRequest, 'method' | 'url'>,
  reply: FastifyReply,
  logger: Logger,
): FastifyReply {
  if (error instanceof SluiceError && error.kind !== 'invariant') {
    const { action } = errorTable[error.code]
    return reply.code(statusOf(error.code)).send({ error: { code: error.code, message: error.message, action } })
  }
  const { statusCode = 500, message } = error as Partial<FastifyError>
  if (statusCode === 413) return sendHttpError(reply, 'request_too_large', message ?? 'The body is too large')
  if (statusCode === 415) return sendHttpError(reply, 'content_type_invalid', message ?? 'Unsupported content type')
  if (statusCode >= 400 && statusCode < 500) {
    return sendHttpError(reply, 'request_invalid', requestFault(error as FastifyError))
  }
  logger.error({ err: error, method: request.method, url: request.url }, 'a request failed through a fault of ours')
  const body = {
    code: 'invariant',
    message: 'The broker failed to answer; its log says why',
    action: errorTable.invariant.action,
  }
  return reply.code(500).send({ error: body } satisfies ErrorBody)
}

/** "body/entries/0 must have required property 'receipt'"; broken JSON comes with the parser's own words. */
function requestFault(error: FastifyError): string {
  const [first] = error.validation ?? []
  const names = first?.keyword === 'propertyNames' ? ` (${JSON.stringify(first.params['propertyName'])})` : ''
  return `${error.message}${names}`
}
