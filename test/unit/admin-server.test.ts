import { once } from 'node:events'
import { connect } from 'node:net'
import type { FastifyInstance, InjectOptions } from 'fastify'
import { afterEach, describe, expect, test } from 'vitest'
import { statusOf } from '../../src/admin/errors.ts'
import type { Readiness } from '../../src/admin/health.ts'
import { homeHtml } from '../../src/admin/home.ts'
import { createAdminServer } from '../../src/admin/server.ts'
import { defaultConfig } from '../../src/config/schema.ts'
import { type ErrorCode, errorTable, SluiceError } from '../../src/errors.ts'
import { noDrops } from '../../src/telemetry/drops.ts'
import { Events } from '../../src/telemetry/events.ts'
import { createLog } from '../../src/telemetry/log.ts'
import { createMetrics, type Sample } from '../../src/telemetry/metrics.ts'

const sample: Sample = {
  connections: 3,
  sessions: 4,
  subscriptions: 5,
  retainedMessages: 6,
  messagesReceived: 7,
  messagesSent: 8,
  bytesReceived: 9,
  bytesSent: 10,
  dropped: { ...noDrops(), outbound_full: 42 },
  unsentBytes: 15,
  memoryLevel: 0,
  storeRoom: { level: 0, usedBytes: 0, diskFreeBytes: null },
  store: { commits: 11, lastCommitMs: 12, pendingBytes: 13, bytesOnDisk: 14 },
  queues: [{ name: 'jobs', ready: 1, leased: 2, delayed: 3, bytes: 4 }],
}

let app: FastifyInstance
let state: Readiness = { ready: true }
let lines: string[] = []
const events = new Events()
afterEach(() => app.close())

function server(origins: string[] = []): FastifyInstance {
  state = { ready: true }
  lines = []
  const log = createLog({ level: 'info', format: 'json' }, { write: (line) => void lines.push(line) })
  const config = { ...defaultConfig(), webSocket: { origins } }
  const registry = createMetrics(events, () => sample)
  app = createAdminServer({ config, readiness: () => state, registry, log: log.logger })
  const schema = { body: { type: 'object', required: ['max'], properties: { max: { type: 'integer', minimum: 1 } } } }
  app.post('/echo', { schema, bodyLimit: 100 }, async (request) => request.body)
  app.post('/empty', async () => ({ ok: true }))
  app.get('/name/:queue', async (request) => request.params)
  app.get<{ Params: { code: ErrorCode } }>('/fail/:code', async (request) => {
    throw new SluiceError(request.params.code, 'what went wrong')
  })
  app.get('/bug', async () => {
    throw new TypeError('secret detail')
  })
  return app
}

describe('health', () => {
  test('live is 200 as long as the process turns, ready follows the readiness', async () => {
    server()
    expect((await app.inject('/health/live')).json()).toEqual({ status: 'live' })
    const ready = await app.inject('/health/ready')
    expect([ready.statusCode, ready.json()]).toEqual([200, { status: 'ready' }])
    state = { ready: true, degraded: 'no queues' }
    const degraded = await app.inject('/health/ready')
    expect([degraded.statusCode, degraded.json()]).toEqual([200, { status: 'degraded', reason: 'no queues' }])
    state = { ready: false, reason: 'starting' }
    const not = await app.inject('/health/ready')
    expect([not.statusCode, not.json()]).toEqual([503, { status: 'not ready', reason: 'starting' }])
    expect(not.headers['cache-control']).toBe('no-store')
    expect((await app.inject('/health/live')).statusCode).toBe(200)
  })
})

describe('errors have one shape', () => {
  async function failure(options: string | InjectOptions): Promise<[number, string, string]> {
    const response = await app.inject(options)
    const { error } = response.json()
    expect(Object.keys(error).sort()).toEqual(['action', 'code', 'message'])
    expect(error.action).toMatch(/.\.$/)
    return [response.statusCode, error.code, error.message]
  }

  test('unknown path and unknown method', async () => {
    server()
    expect(await failure('/nothing?x=1')).toEqual([404, 'not_found', 'There is nothing at GET /nothing'])
    expect(await failure({ method: 'DELETE', url: '/echo' })).toEqual([
      404,
      'not_found',
      'There is nothing at DELETE /echo',
    ])
  })

  test('broken JSON, wrong field, wrong type of content, too large', async () => {
    server()
    const post = (body: string, type = 'application/json') => ({
      method: 'POST' as const,
      url: '/echo',
      headers: { 'content-type': type },
      body,
    })
    expect((await failure(post('{"max":'))).slice(0, 2)).toEqual([400, 'request_invalid'])
    expect(await failure(post('{"max":0}'))).toEqual([400, 'request_invalid', 'body/max must be >= 1'])
    expect((await failure(post('{"max":"1"}')))[2]).toBe('body/max must be integer')
    expect((await failure(post('{"max":1}', 'text/plain'))).slice(0, 2)).toEqual([415, 'content_type_invalid'])
    expect((await failure(post(`{"max":1,"x":"${'x'.repeat(100)}"}`))).slice(0, 2)).toEqual([413, 'request_too_large'])
    expect((await app.inject(post('{"max":1,"more":2}'))).json()).toEqual({ max: 1, more: 2 })
  })

  test('an error of the table has its code and action, and a status for everyone who looks only at that', async () => {
    server()
    expect(await failure('/fail/queue_unknown')).toEqual([404, 'queue_unknown', 'what went wrong'])
    expect((await failure('/fail/store_unavailable'))[0]).toBe(503)
    for (const code of Object.keys(errorTable) as ErrorCode[]) {
      expect(statusOf(code), code).toBeGreaterThanOrEqual(400)
      if (errorTable[code].retryable && errorTable[code].kind === 'dependency')
        expect(statusOf(code)).toBeGreaterThan(500)
    }
  })

  test('a bug of ours is a 500 that says nothing about the inside; the log has it', async () => {
    server()
    const [status, code, message] = await failure('/bug')
    expect([status, code]).toEqual([500, 'invariant'])
    expect(message).not.toContain('secret')
    expect(lines.join()).toContain('secret detail')
    expect((await failure('/fail/invariant'))[0]).toBe(500)
  })

  test('a path that is no URL', async () => {
    server()
    expect(await failure('/name/%zz')).toEqual([400, 'request_invalid', "'/name/%zz' is not a valid url component"])
  })

  test('a request that is no HTTP is answered with 400 and costs only its connection', async () => {
    const address = new URL(await server().listen({ host: '127.0.0.1', port: 0 }))
    const socket = connect(Number(address.port), '127.0.0.1')
    socket.end('\x10\x0c\x00\x04MQTT\r\n\r\n')
    const [answer] = await once(socket, 'data')
    const [head, body] = String(answer).split('\r\n\r\n')
    expect(head).toMatch(/^HTTP\/1\.1 400 /)
    expect(JSON.parse(body!).error.code).toBe('request_invalid')
    expect((await fetch(new URL('/health/live', address))).status).toBe(200)
  })
})

describe('browsers', () => {
  test('a foreign page may call nothing, the same host and listed origins may', async () => {
    server(['https://app.example.com'])
    const from = (origin: string) => ({ method: 'POST' as const, url: '/empty', headers: { origin, host: 'b:8080' } })
    const refused = await app.inject(from('https://evil.example.com'))
    expect([refused.statusCode, refused.json().error.code]).toEqual([403, 'forbidden_origin'])
    expect((await app.inject(from('http://b:8080'))).statusCode).toBe(200)
    expect((await app.inject(from('https://app.example.com'))).statusCode).toBe(200)
    expect((await app.inject({ method: 'POST', url: '/empty' })).statusCode).toBe(200)
  })

  test('the page at / names the rules and runs no script but its own', async () => {
    server()
    const page = await app.inject('/')
    expect(page.headers['content-type']).toBe('text/html; charset=utf-8')
    expect(page.headers['content-security-policy']).toContain("default-src 'none'")
    expect(page.headers['content-security-policy']).toContain("script-src 'self'")
    expect(page.body).toContain('devices/+/telemetry')
    const [src] = /<script src="([^"]+)"/.exec(page.body)!.slice(1)
    const script = await app.inject(src!)
    expect([script.statusCode, script.headers['content-type']]).toEqual([200, 'text/javascript; charset=utf-8'])
    expect(() => new Function(script.body)).not.toThrow()
    expect(script.body).not.toMatch(/innerHTML|insertAdjacentHTML|document\.write|eval\(/)
    const html = homeHtml({ bridge: [{ topicFilter: '<script>', queue: '"><b>/' }] })
    expect(html).not.toContain('<script>')
    expect(html).toContain('/api/v1/queues/%22%3E%3Cb%3E%2F')
  })
})

test('long percent-encoded names reach their route', async () => {
  server()
  const queue = 'ü/'.repeat(80)
  expect((await app.inject(`/name/${encodeURIComponent(queue)}`)).json()).toEqual({ queue })
})

describe('metrics', () => {
  test('values are sampled at the scrape, the queue gauges of the same moment', async () => {
    server()
    const text = (await app.inject('/metrics')).body
    expect(text).toContain('sluicemq_connections 3\n')
    expect(text).toContain('sluicemq_messages_received_total 7\n')
    expect(text).toContain('sluicemq_store_last_commit_seconds 0.012\n')
    expect(text).toContain('sluicemq_queue_messages{queue="jobs",state="leased"} 2\n')
    expect(text).toContain('sluicemq_queue_bytes{queue="jobs"} 4\n')
    expect(text).toMatch(/process_resident_memory_bytes \d{7,}\n/)
    sample.messagesReceived = 70
    sample.queues = [{ name: 'other', ready: 1, leased: 0, delayed: 0, bytes: 44 }]
    const later = (await app.inject('/metrics')).body
    expect(later).toContain('sluicemq_messages_received_total 70\n')
    expect(later).toContain('sluicemq_queue_bytes{queue="other"} 44\n')
    expect(later).not.toContain('jobs')
  })

  test('events are counted by their cause', async () => {
    server()
    const gone = { userName: null, address: '', version: 4, reason: 'x' }
    events.emit('clientDisconnected', { ...gone, clientId: 'c', error: 'keep_alive_timeout' })
    events.emit('clientDisconnected', { ...gone, clientId: 'd', error: null })
    events.emit('deadLettered', { queue: 'q', deadLetterQueue: 'q.dead', count: 2, reason: 'r' })
    const text = (await app.inject('/metrics')).body
    expect(text).toContain('sluicemq_messages_dropped_total{cause="outbound_full"} 42\n')
    expect(text).toContain('sluicemq_disconnects_total{error="keep_alive_timeout"} 1\n')
    expect(text).toContain('sluicemq_disconnects_total{error="none"} 1\n')
    expect(text).toContain('sluicemq_queue_dead_letters_total{queue="q"} 2\n')
  })
})
