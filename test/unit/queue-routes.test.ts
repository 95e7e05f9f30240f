import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Envelope } from '../../src/bridge/envelope.ts'
import { SluiceError } from '../../src/errors.ts'
import { fast, HttpBench, until } from './queue-bench.ts'

let bench: HttpBench
beforeEach(async () => {
  bench = await new HttpBench().open()
})
afterEach(() => bench.close())

const pull = async (body?: unknown): Promise<Envelope[]> => {
  const answer = await bench.post('work/pull', body)
  expect(answer.status).toBe(200)
  return answer.body['messages'] as Envelope[]
}

describe('pull', () => {
  test('answers with envelopes; max, waitMs and leaseMs may be left out', async () => {
    await bench.publish('{"n":1}', Buffer.from([0xff, 0]))
    const [first] = await pull()
    expect(first).toMatchObject({
      v: 1,
      queue: 'work',
      topic: 'devices/d1/telemetry',
      levels: ['devices', 'd1', 'telemetry'],
      clientId: 'd1',
      qos: 1,
      retain: false,
      encoding: 'utf8',
      payload: '{"n":1}',
      attempt: 1,
    })
    expect(first!.id).toMatch(/^[0-9a-f]{16}-1$/)
    const [second] = await pull({ max: 10, leaseMs: 60_000 })
    expect(second).toMatchObject({ encoding: 'base64', payload: '/wA=' })
    const leftMs = Date.parse(second!.leasedUntil) - Date.now()
    expect(leftMs).toBeGreaterThan(50_000)
    expect(leftMs).toBeLessThanOrEqual(60_000)
    expect(await pull({ max: 10 })).toEqual([])
  })

  test('waits for messages up to waitMs', async () => {
    const poll = pull({ max: 10, waitMs: 60_000 })
    await until('the poll is there', () => bench.queues.get('work').pullsWaiting === 1)
    await bench.publish('a')
    expect((await poll).map(({ payload }) => payload)).toEqual(['a'])
    expect(await pull({ waitMs: 20 })).toEqual([])
  })

  test('leases nothing to a caller that hung up while it waited', async () => {
    const { port } = new URL(bench.url)
    const socket = connect(Number(port), '127.0.0.1')
    const body = JSON.stringify({ waitMs: 60_000 })
    socket.write(
      `POST /api/v1/queues/work/pull HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    const queue = bench.queues.get('work')
    await until('the poll is there', () => queue.pullsWaiting === 1)
    socket.destroy()
    await until('the poll is gone', () => queue.pullsWaiting === 0)
    await bench.publish('a')
    expect([queue.leased, queue.ready]).toEqual([0, 1])
  })

  test('can be cancelled by the name the caller gave it, and is answered then', async () => {
    const poll = pull({ waitMs: 60_000, poll: 'p1' })
    const queue = bench.queues.get('work')
    await until('the poll is there', () => queue.pullsWaiting === 1)
    expect((await bench.post('work/cancel', { poll: 'p2' })).body).toEqual({ cancelled: false })
    expect((await bench.post('work/cancel', { poll: 'p1' })).body).toEqual({ cancelled: true })
    expect(await poll).toEqual([])
    await until('its name is forgotten', () => queue.pullsWaiting === 0)
    expect((await bench.post('work/cancel', { poll: 'p1' })).body).toEqual({ cancelled: false })
  })

  test('gives back at once what it could not write, without counting the attempt', async () => {
    // Does not fit into the buffers of the connection.
    await bench.publish('x'.repeat(20_000_000))
    const { port } = new URL(bench.url)
    const socket = connect(Number(port), '127.0.0.1')
    await once(socket, 'connect')
    socket.pause()
    const body = JSON.stringify({ leaseMs: 43_200_000 })
    socket.write(
      `POST /api/v1/queues/work/pull HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: ${body.length}\r\n\r\n${body}`,
    )
    const queue = bench.queues.get('work')
    await until('the message is leased', () => queue.counters.delivered === 1)
    socket.destroy()
    await until('the message is back', () => queue.ready === 1)
    const [again] = await pull()
    expect(again!.attempt).toBe(1)
  })

  test('beyond pullsWaitingMax is refused with 429', async () => {
    await bench.close()
    bench = await new HttpBench({ work: fast }, { pullsWaitingMax: 1 }).open()
    const poll = pull({ waitMs: 60_000 })
    await until('the poll is there', () => bench.queues.get('work').pullsWaiting === 1)
    const second = await bench.post('work/pull', { waitMs: 60_000 })
    expect(second.status).toBe(429)
    expect(second.body).toMatchObject({ error: { code: 'quota_exceeded' } })
    await bench.publish('a')
    expect((await poll).length).toBe(1)
  })

  test('a message that cannot be read does not hold up the others; it becomes a dead letter', async () => {
    const { lane } = bench.queues.get('work')
    bench.store.append(Buffer.from('this was never a message, but it is long enough'), [{ lane, tag: 0, extra: null }])
    await bench.publish('good')
    expect((await pull({ max: 10 })).map(({ payload }) => payload)).toEqual(['good'])
    await until('it is moved', () => bench.queues.find('work.dead')?.ready === 1)
  })
})

describe('a pull that acknowledges', () => {
  test('answers with the results of its receipts and the messages, after one commit', async () => {
    await bench.publish('a', 'b', 'c')
    const [a, b] = await pull({ max: 2 })
    const { commits } = bench.store.stats()
    const answer = await bench.post('work/pull', { max: 2, ack: [a!.receipt, 'nonsense', b!.receipt, '\n9-x'] })
    expect(bench.store.stats().commits).toBe(commits + 1)
    expect(answer.status).toBe(200)
    const { messages, results } = answer.body as { messages: Envelope[]; results: object[] }
    expect(messages.map(({ payload }) => payload)).toEqual(['c'])
    expect(results).toEqual([
      { receipt: a!.receipt, ok: true },
      { receipt: 'nonsense', ok: false, error: 'receipt_lost' },
      { receipt: b!.receipt, ok: true },
      { receipt: '\n9-x', ok: false, error: 'receipt_lost' },
    ])
    expect(bench.queues.get('work').counters).toMatchObject({ acked: 2, receiptsLost: 2 })
  })

  test('acknowledges at once, also when it then waits for messages', async () => {
    await bench.publish('a')
    const [a] = await pull()
    const poll = bench.post('work/pull', { waitMs: 60_000, ack: [a!.receipt] })
    const queue = bench.queues.get('work')
    await until('it is acknowledged', () => queue.waiting === 0)
    expect(queue.pullsWaiting).toBe(1)
    await bench.publish('b')
    expect((await poll).body).toMatchObject({
      messages: [{ payload: 'b' }],
      results: [{ receipt: a!.receipt, ok: true }],
    })
  })

  test('that cannot be written is an error at once, and leases nothing', async () => {
    await bench.publish('a')
    const [a] = await pull()
    const { store } = bench
    const commit = store.commit.bind(store)
    store.commit = () => Promise.reject(new SluiceError('store_full', 'no room'))
    const answer = await bench.post('work/pull', { waitMs: 60_000, ack: [a!.receipt] })
    store.commit = commit
    expect([answer.status, answer.body]).toMatchObject([507, { error: { code: 'store_full' } }])
    expect(bench.queues.get('work').pullsWaiting).toBe(0)
  })

  test('takes up to 1,000 receipts', async () => {
    const ack = Array.from({ length: 1001 }, (_, i) => `${i}-x`)
    expect((await bench.post('work/pull', { ack })).status).toBe(400)
    expect((await bench.post('work/pull', { ack: ack.slice(1) })).body['results']).toHaveLength(1000)
  })
})

describe('ack, nack, extend', () => {
  test('answer per entry', async () => {
    await bench.publish('a', 'b', 'c')
    const [a, b, c] = await pull({ max: 3 })
    expect(await bench.post('work/ack', { receipts: [a!.receipt, 'nonsense'] })).toEqual({
      status: 200,
      body: {
        results: [
          { receipt: a!.receipt, ok: true },
          { receipt: 'nonsense', ok: false, error: 'receipt_lost' },
        ],
      },
    })
    const extended = await bench.post('work/extend', { entries: [{ receipt: b!.receipt, leaseMs: 60_000 }] })
    const [result] = extended.body['results'] as { leasedUntil: string }[]
    expect(Date.parse(result!.leasedUntil)).toBeGreaterThan(Date.now() + 50_000)
    const nacked = await bench.post('work/nack', { entries: [{ receipt: c!.receipt, delayMs: 0, reason: 'busy' }] })
    expect(nacked.body).toEqual({ results: [{ receipt: c!.receipt, ok: true }] })
    const [again] = await pull()
    expect(again).toMatchObject({ id: c!.id, attempt: 2, failures: [{ attempt: 1, reason: 'busy' }] })
  })

  test('a dead letter is pulled from its own queue with id, origin and failures', async () => {
    await bench.publish('a')
    const [a] = await pull()
    await bench.post('work/nack', { entries: [{ receipt: a!.receipt, reject: true, reason: 'no JSON' }] })
    const answer = await bench.post('work.dead/pull', {})
    const [letter] = answer.body['messages'] as Envelope[]
    expect(letter).toMatchObject({
      id: a!.id,
      queue: 'work.dead',
      payload: 'a',
      attempt: 1,
      failures: [{ attempt: 1, reason: 'no JSON' }],
      deadLetter: { queue: 'work', attempts: 1 },
    })
    expect(Date.parse(letter!.deadLetter!.at)).toBeGreaterThan(0)
  })
})

describe('requests that are wrong', () => {
  test.each([
    ['pull', { max: 0 }, 'max'],
    ['pull', { max: 1001 }, 'max'],
    ['pull', { max: '5' }, 'max'],
    ['pull', { waitMs: 60_001 }, 'waitMs'],
    ['pull', { leaseMs: 99 }, 'leaseMs'],
    ['pull', { maxx: 1 }, 'maxx'],
    ['ack', {}, 'receipts'],
    ['ack', { receipts: [] }, 'receipts'],
    ['ack', { receipts: [7] }, 'receipts/0'],
    ['nack', { entries: [{ receipt: 'x', delay: 1 }] }, 'delay'],
    ['nack', { entries: [{ receipt: 'x', delayMs: -1 }] }, 'delayMs'],
    ['extend', { entries: [{ receipt: 'x' }] }, 'leaseMs'],
  ])('%s %j is refused with 400 and names %s', async (action, body, named) => {
    const answer = await bench.post(`work/${action}`, body)
    expect(answer.status).toBe(400)
    const { error } = answer.body as { error: { code: string; message: string } }
    expect(error.code).toBe('request_invalid')
    expect(error.message).toContain(named)
  })

  test('an unknown queue is refused with 404', async () => {
    for (const answer of [await bench.post('nope/pull', {}), await bench.get('/queues/nope')]) {
      expect(answer.status).toBe(404)
      expect(answer.body).toMatchObject({ error: { code: 'queue_unknown', action: expect.any(String) } })
    }
  })
})

describe('counts', () => {
  test('of one queue and of all', async () => {
    await bench.publish('a', 'b')
    await pull()
    const info = await bench.get('/queues/work')
    expect(info.body).toMatchObject({ name: 'work', ready: 1, leased: 1, delayed: 0, deadLetterQueue: 'work.dead' })
    expect(Date.parse(info.body['oldestAt'] as string)).toBeGreaterThan(0)
    expect((await bench.get('/queues')).body).toEqual({ queues: [info.body] })
  })

  test.each(['a b/c?d#e', '100%', 'größe', '..', 'ü'.repeat(100)])('of a queue named %j', async (name) => {
    await bench.close()
    bench = await new HttpBench({ [name]: fast }).open()
    const answer = await bench.post(`${encodeURIComponent(name)}/pull`.replace('..', '%2e%2e'), {})
    if (name === '..') return expect(answer.status).toBe(404)
    expect(answer.status).toBe(200)
    expect((await bench.get(`/queues/${encodeURIComponent(name)}`)).body).toMatchObject({ name })
  })
})
