/** The HTTP server: API, health, metrics, the page at `/`. It also carries the WebSocket upgrades. */
import { createServer, type Server } from 'node:http'
import type { Socket } from 'node:net'
import Fastify, { type FastifyInstance, type FastifyReply } from 'fastify'
import type { Registry } from 'prom-client'
import { type BindOptions, bindError, boundAddress } from '../base/bind.ts'
import { systemClock } from '../base/clock.ts'
import { originAllowed } from '../base/origin.ts'
import type { Config } from '../config/schema.ts'
import type { Logger } from '../telemetry/log.ts'
import { answerError, answerNonHttp, installErrors, sendHttpError } from './errors.ts'
import { healthRoutes, type Readiness } from './health.ts'
import { homePage } from './home.ts'
import { metricsRoute } from './metrics.ts'

export interface AdminServerOptions {
  readonly config: Pick<Config, 'bridge' | 'webSocket'>
  /** The bridge rules in force, for the page at `/`; absent: those of the config file. */
  readonly rules?: () => Config['bridge']
  readonly readiness: () => Readiness
  readonly registry: Registry
  readonly log: Logger
}

/** Time for a client to send the head of a request and all of it, in ms. A long poll is an answer and may take longer. */
const headersTimeoutMs = 20_000
const requestTimeoutMs = 60_000
/** Longer than the 60 s after which common proxies close a kept connection, so that they never meet a closed one. */
const keepAliveTimeoutMs = 75_000

/**
 * A Fastify instance that does not listen yet: register routes on it, give `app.server` to the WebSocket listener, then
 * `listenAdmin`. Every failure has the shape of admin/errors.ts.
 */
export function createAdminServer({ config, rules, readiness, registry, log }: AdminServerOptions): FastifyInstance {
  const app = Fastify({
    logger: false,
    serverFactory(handler) {
      const server = createServer({ headersTimeout: headersTimeoutMs, requestTimeout: requestTimeoutMs }, handler)
      server.keepAliveTimeout = keepAliveTimeoutMs
      watchConnections(server)
      return server
    },
    // Requests that are under way are answered; kept connections without one are closed.
    forceCloseConnections: 'idle',
    // A percent-encoded queue name is up to three times as long as the name.
    routerOptions: { maxParamLength: 2048 },
    clientErrorHandler: answerNonHttp,
    frameworkErrors: (error, request, reply) => void answerError(error, request, reply as FastifyReply, log),
    // A number written as text is a mistake to report, not to repair.
    ajv: { customOptions: { coerceTypes: false, removeAdditional: false } },
  })
  // A page may send text/plain to any host without asking; JSON it may not.
  app.removeContentTypeParser('text/plain')
  app.addHook('onRequest', (request, reply, done) => {
    const { origin, host } = request.headers
    if (originAllowed(origin, host, config.webSocket.origins)) done()
    else sendHttpError(reply, 'forbidden_origin', `Pages of ${origin} may not call this broker`)
  })
  installErrors(app, log)
  healthRoutes(app, readiness)
  metricsRoute(app, registry)
  homePage(app, rules ?? (() => config.bridge))
  return app
}

/** Listens; resolves with the address really bound. Rejects with `address_in_use` or `config_invalid`. */
export async function listenAdmin(app: FastifyInstance, options: BindOptions): Promise<{ host: string; port: number }> {
  try {
    await app.listen(options)
  } catch (error) {
    throw bindError(error as NodeJS.ErrnoException, options)
  }
  return boundAddress(app.server, options.host)
}

/**
 * Closes the server. Requests under way may finish within `timeoutMs`; connections without one are closed at once, also
 * those that never sent a request.
 */
export async function closeAdmin(app: FastifyInstance, timeoutMs: number): Promise<void> {
  const cancel = systemClock.after(timeoutMs, () => app.server.closeAllConnections())
  try {
    closeQuiet.get(app.server)?.()
    await app.close()
  } finally {
    cancel()
  }
}

/** What closes a server's connections that have no request under way. */
const closeQuiet = new WeakMap<Server, () => void>()

function watchConnections(server: Server): void {
  const quiet = new Set<Socket>()
  let closing = false
  server.on('connection', (socket: Socket) => {
    quiet.add(socket)
    socket.once('close', () => quiet.delete(socket))
  })
  server.on('upgrade', (_request, socket: Socket) => quiet.delete(socket))
  server.on('request', (request, response) => {
    quiet.delete(request.socket)
    response.once('close', () => {
      if (closing) request.socket.end()
      else if (!request.socket.destroyed) quiet.add(request.socket)
    })
  })
  closeQuiet.set(server, () => {
    closing = true
    for (const socket of quiet) socket.destroy()
  })
}
