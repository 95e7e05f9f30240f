/** The HTTP API beyond pull and ack: putting messages in, heartbeats, reject and release, the OpenAPI document. */
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { WORKERS_MAX, Workers } from '../../src/queue/workers.ts'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'

let broker: InlineBroker

beforeAll(async () => {
  const limits = { messagesMax: 2, whenFull: 'refuse' as const }
  broker = await startBroker({
    bridge: ['q', 'r', 'full', 'once'].map((queue) => ({ topicFilter: queue, queue })),
    queues: { full: { limits } },
  })
})
afterAll(() => broker.stop())

async function call(method: string, path: string, body?: unknown, headers: Record<string, string> = {}) {
  const init = body === undefined ? {} : { body: JSON.stringify(body) }
  const type = body === undefined ? {} : { 'content-type': 'application/json' }
  const response = await fetch(`${broker.http}/api/v1${path}`, { method, ...init, headers: { ...type, ...headers } })
  return { status: response.status, body: JSON.parse(await response.text()) }
}

describe('putting messages into a queue', () => {
  test('text, JSON and bytes come out as they went in, with topic, client and properties', async () => {
    const messages = [
      { payload: 'text', topic: 'a/b', clientId: 'me', contentType: 'text/plain', userProperties: [['k', 'v']] },
      { payload: { n: 1 } },
      { payloadBase64: '/w==' },
    ]
    const put = await call('POST', '/queues/q/messages', { messages })
    expect([put.status, put.body.results.map((one: { ok: boolean }) => one.ok)]).toEqual([201, [true, true, true]])
    const { body } = await call('POST', '/queues/q/pull', { max: 10 })
    expect(body.messages).toMatchObject([
      {
        payload: 'text',
        topic: 'a/b',
        clientId: 'me',
        properties: { contentType: 'text/plain', userProperties: [['k', 'v']] },
      },
      { payload: '{"n":1}', topic: '$queue/q', clientId: '' },
      { payload: '/w==', encoding: 'base64' },
    ])
    const receipts = body.messages.map((one: { receipt: string }) => one.receipt)
    const release = await call('POST', '/queues/q/release', { receipts: receipts.slice(0, 1) })
    expect(release.body.results).toEqual([{ receipt: receipts[0], ok: true }])
    const reject = await call('POST', '/queues/q/reject', { entries: [{ receipt: receipts[1], reason: 'no' }] })
    expect(reject.body.results[0].ok).toBe(true)
    const dead = await call('POST', '/queues/q.dead/pull', {})
    expect(dead.body.messages[0].failures[0].reason).toBe('no')
    const again = await call('POST', '/queues/q/pull', {})
    expect(again.body.messages[0]).toMatchObject({ payload: 'text', attempt: 1 })
  })

  test('a request that is sent again with its Idempotency-Key adds nothing', async () => {
    const put = () =>
      call(
        'POST',
        '/queues/once/messages',
        { messages: [{ payload: 'a' }, { payload: 'b' }] },
        { 'idempotency-key': 'k1' },
      )
    expect((await put()).body.results).toMatchObject([{ ok: true }, { ok: true }])
    expect((await put()).body.results).toEqual([
      { ok: true, duplicate: true },
      { ok: true, duplicate: true },
    ])
    expect((await call('GET', '/queues/once')).body.ready).toBe(2)
  })

  test.each([
    [{ messages: [{}] }, 400, 'body/messages/0 must have either payload or payloadBase64'],
    [{ messages: [{ payload: 'x', payloadBase64: '' }] }, 400, 'either payload or payloadBase64'],
    [{ messages: [{ payload: 'x', priority: 10 }] }, 400, 'body/messages/0/priority must be <= 9'],
    [{ messages: [{ payload: 'x', pri: 1 }] }, 400, 'body/messages/0 has no key named "pri"'],
    [{ messages: [{ payload: 'x', topic: 'a/+' }] }, 400, 'a/+ is no Topic Name'],
    [{ messages: [] }, 400, 'body/messages'],
  ])('%j is refused', async (body, status, message) => {
    const answer = await call('POST', '/queues/r/messages', body)
    expect([answer.status, answer.body.error.message]).toEqual([status, expect.stringContaining(message)])
  })

  test('a queue that is not there, and one that is full', async () => {
    expect((await call('POST', '/queues/none/messages', { messages: [{ payload: 'x' }] })).status).toBe(404)
    const { body } = await call('POST', '/queues/full/messages', {
      messages: [1, 2, 3].map((payload) => ({ payload })),
    })
    expect(body.results.map((one: { ok: boolean; error?: { code: string } }) => one.error?.code ?? one.ok)).toEqual([
      true,
      true,
      'queue_full',
    ])
    expect((await call('POST', '/queues/full/messages', { messages: [{ payload: 'x' }] })).body.error.code).toBe(
      'queue_full',
    )
  })
})

describe('heartbeats', () => {
  test('a worker is told to run until somebody says otherwise', async () => {
    const beat = () => call('POST', '/workers/w1/heartbeat', { queue: 'q', running: 2 })
    expect((await beat()).body).toEqual({ command: 'run' })
    expect((await call('PUT', '/workers/w1', { command: 'quiet' })).body).toMatchObject({ id: 'w1', command: 'quiet' })
    expect((await beat()).body).toEqual({ command: 'quiet' })
    const { body } = await call('GET', '/workers')
    expect(body.workers).toMatchObject([{ id: 'w1', queue: 'q', running: 2, command: 'quiet' }])
    expect((await call('PUT', '/workers/none', { command: 'stop' })).body.error.code).toBe('worker_unknown')
    expect((await call('PUT', '/workers/w1', { command: 'die' })).status).toBe(400)
  })

  test('silent workers are forgotten, and there is a limit', () => {
    let now = 0
    const workers = new Workers({ now: () => now, monotonic: () => now, after: () => () => {} })
    for (let i = 0; i <= WORKERS_MAX; i++) workers.heard(`w${i}`, {})
    expect(workers.list()).toHaveLength(WORKERS_MAX)
    expect(() => workers.tell('w0', 'stop')).toThrow('no worker named "w0"')
    now += 120_001
    workers.heard('late', {})
    expect(workers.list().map(({ id }) => id)).toEqual(['late'])
  })
})

test('the OpenAPI document has every route with its summary', async () => {
  const { body } = await call('GET', '/openapi.json')
  expect(body.openapi).toBe('3.1.0')
  const operations = Object.entries(body.paths as Record<string, Record<string, { summary?: string; tags?: string[] }>>)
  const named = operations.flatMap(([path, methods]) =>
    Object.entries(methods).map(([method, one]) => ({ path, method, ...one })),
  )
  for (const path of ['pull', 'ack', 'nack', 'extend', 'reject', 'release', 'cancel', 'messages'])
    expect(body.paths).toHaveProperty([`/api/v1/queues/{queue}/${path}`, 'post'])
  for (const path of ['/api/v1/rules/{name}', '/api/v1/workers/{id}/heartbeat', '/api/v1/rules/test'])
    expect(body.paths).toHaveProperty([path])
  const mine = named.filter(({ path }) => /^\/api\/v1\/(queues|rules|workers)/.test(path))
  expect(mine.filter(({ summary, tags }) => summary === undefined || tags === undefined)).toEqual([])
  const pull = body.paths['/api/v1/queues/{queue}/pull'].post
  expect(pull.responses['200'].content['application/json'].schema.properties.messages.items.properties).toHaveProperty(
    'leasedUntil',
  )
})
