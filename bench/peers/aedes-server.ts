/**
 * Program: stock Aedes on a free port of 127.0.0.1. Prints `ready PORT`.
 *
 *     aedes-server.js [--websocket] [--level | --redis PORT]
 *
 * `--level` keeps its data in the working directory, `--redis` in the Redis server on that port. Their packages are no
 * dependencies of this project.
 */
import http from 'node:http'
import net, { type AddressInfo } from 'node:net'
import { parseArgs } from 'node:util'
import { Aedes, type AedesOptions } from 'aedes'
import { createWebSocketStream, WebSocketServer } from 'ws'
import { packageEntry } from './installed.ts'

const { values } = parseArgs({
  options: { websocket: { type: 'boolean' }, level: { type: 'boolean' }, redis: { type: 'string' } },
})

/** A package without types here: whatever it exports. */
async function load(name: string): Promise<Record<string, unknown>> {
  return (await import(packageEntry(name))) as Record<string, unknown>
}

/** The default export of a factory package. */
async function make(name: string, options: unknown): Promise<unknown> {
  const { default: factory } = await load(name)
  return (factory as (options: unknown) => unknown)(options)
}

async function stores(): Promise<AedesOptions> {
  if (values.level) {
    const { ClassicLevel } = (await load('classic-level')) as {
      ClassicLevel: new (path: string, options: object) => unknown
    }
    const level = new ClassicLevel('level', { valueEncoding: 'binary' })
    return { persistence: await make('aedes-persistence-level', level) } as AedesOptions
  }
  if (values.redis === undefined) return {}
  const server = { host: '127.0.0.1', port: Number(values.redis) }
  return {
    mq: await make('mqemitter-redis', server),
    persistence: await make('aedes-persistence-redis', server),
  } as AedesOptions
}

const broker = await Aedes.createBroker(await stores())
let server: net.Server
if (values.websocket) {
  const web = http.createServer()
  new WebSocketServer({ server: web }).on('connection', (socket, request) => {
    broker.handle(createWebSocketStream(socket), request)
  })
  server = web
} else {
  // Without noDelay a QoS 1 round trip takes 44 ms: comparing with that would be cheap.
  server = net.createServer({ noDelay: true }, (socket) => broker.handle(socket))
}
server.listen(0, '127.0.0.1', () => {
  process.stdout.write(`ready ${(server.address() as AddressInfo).port}\n`)
})
process.on('SIGTERM', () => process.exit(0))
