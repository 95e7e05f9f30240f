/** The worker SDK over HTTP and over MQTT: the same worker, the same outcome; and what is new in it. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { z } from 'zod'
import {
  createWorker,
  FakeQueue,
  type Middleware,
  RejectError,
  RetryError,
  type Worker,
  type WorkerMessage,
  type WorkerOptions,
} from '../../src/worker/index.ts'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'

let broker: InlineBroker
const workers: Worker<never>[] = []
const errors: Error[] = []

const settings = { maxAttempts: 5, backoff: { minMs: 1, maxMs: 1, jitter: 'none' as const } }
beforeEach(async () => {
  errors.length = 0
  broker = await startBroker({ bridge: [{ topicFilter: 'd/+/t', queue: 'work' }], queues: { work: settings } })
})
afterEach(async () => {
  await Promise.all(workers.splice(0).map((worker) => worker.stop(500)))
  await broker.stop()
})

const urlOf = (scheme: string) => (scheme === 'http' ? broker.http : `mqtt://127.0.0.1:${broker.mqtt.port}`)

function start<T = unknown>(options: Partial<WorkerOptions<T>> & Pick<WorkerOptions<T>, 'handler'>): Worker<T> {
  const worker = createWorker<T>({ queue: 'work', onError: (error) => errors.push(error), ...options })
  workers.push(worker as never)
  return worker
}

async function publish(...payloads: string[]): Promise<void> {
  const device = await RawClient.connected(broker.mqtt, { version: 5, clientId: 'device-7' })
  const properties = { contentType: 'application/json', userProperty: [['site', 'north']] } as never
  for (const payload of payloads) await device.publish({ topic: 'd/7/t', qos: 1, payload, properties })
  await device.disconnect()
}

async function counts(queue = 'work'): Promise<object> {
  return (await (await fetch(`${broker.http}/api/v1/queues/${queue}`)).json()) as object
}
const until = (queue: string, wanted: object) =>
  expect.poll(() => counts(queue), { interval: 10 }).toMatchObject(wanted)

describe.each(['http', 'mqtt'])('over %s', (scheme) => {
  test('messages are worked and acknowledged, with their origin', async () => {
    const got: WorkerMessage[] = []
    start({ url: urlOf(scheme), concurrency: 4, batch: 20, handler: (message) => void got.push(message) })
    await publish(...Array.from({ length: 100 }, (_, n) => `{"n":${n}}`))
    await until('work', { ready: 0, leased: 0 })
    expect(got.map((message) => (message.json() as { n: number }).n)).toEqual(Array.from({ length: 100 }, (_, n) => n))
    const [first] = got
    expect([first!.topic, first!.clientId, first!.attempt, first!.levels[1], first!.queue]).toEqual([
      'd/7/t',
      'device-7',
      1,
      '7',
      'work',
    ])
    expect(first!.properties).toEqual({ contentType: 'application/json', userProperties: [['site', 'north']] })
    expect(Math.abs(first!.time.getTime() - Date.now())).toBeLessThan(60_000)
    expect(new Set(got.map(({ id }) => id)).size).toBe(100)
    expect(errors).toEqual([])
  })

  test('errors, RetryError and RejectError mean what they mean', async () => {
    const seen: [string, number][] = []
    start({
      url: urlOf(scheme),
      handler: (message) => {
        seen.push([message.text(), message.attempt])
        if (message.text() === 'again' && message.attempt === 1) throw new Error('not yet')
        if (message.text() === 'later' && message.attempt === 1) throw new RetryError('later', 300)
        if (message.text() === 'never') throw new RejectError('broken')
      },
    })
    const begun = performance.now()
    await publish('later', 'again', 'never')
    await until('work.dead', { ready: 1 })
    await until('work', { ready: 0, leased: 0, delayed: 0 })
    expect(performance.now() - begun).toBeGreaterThan(290)
    expect(seen.toSorted().map(String)).toEqual(['again,1', 'again,2', 'later,1', 'later,2', 'never,1'])
    const pulled = await fetch(`${broker.http}/api/v1/queues/work.dead/pull`, { method: 'POST' })
    expect(await pulled.json()).toMatchObject({ messages: [{ failures: [{ reason: 'broken' }] }] })
  })

  test('leases are extended while handlers run', async () => {
    let attempts = 0
    let release = () => {}
    const running = new Promise<void>((resolve) => {
      release = resolve
    })
    start({
      url: urlOf(scheme),
      leaseMs: 1000,
      handler: async () => {
        attempts++
        await running
      },
    })
    await publish('slow')
    await until('work', { leased: 1 })
    await new Promise((resolve) => setTimeout(resolve, 1200))
    expect(attempts).toBe(1)
    release()
    await until('work', { ready: 0, leased: 0, delayed: 0 })
    expect([attempts, errors]).toEqual([1, []])
  })

  test('stopping waits for running handlers and gives the rest back, without counting an attempt', async () => {
    let release = () => {}
    const gate = new Promise<void>((resolve) => {
      release = resolve
    })
    const worker = start({ url: urlOf(scheme), batch: 10, handler: () => gate })
    await publish('a', 'b', 'c')
    await until('work', { ready: 0, leased: 3 })
    // What was sent ahead may still be on its way.
    await expect.poll(() => worker.stats).toMatchObject({ pulled: 3, running: 1 })
    const stopped = worker.stop()
    release()
    await stopped
    await until('work', { ready: 2, leased: 0 })
    const pulled = (await (await fetch(`${broker.http}/api/v1/queues/work/pull`, { method: 'POST' })).json()) as {
      messages: { attempt: number; payload: string }[]
    }
    expect(pulled.messages).toMatchObject([{ attempt: 1, payload: 'b' }])
  })

  test('a queue that is not there is reported, and the worker goes on trying', async () => {
    const worker = start({ url: urlOf(scheme), queue: 'none', handler: () => {} })
    await expect.poll(() => errors.length).toBeGreaterThan(0)
    expect(errors[0]).toMatchObject({ code: 'queue_unknown' })
    await worker.stop()
  })
})

test.each(['http', 'mqtt'])(
  'over %s, a worker that is told to be quiet takes nothing, works on when told to run, and stops',
  async (scheme) => {
    const api = async (
      path: string,
      init: RequestInit = {},
    ): Promise<{ workers: { id: string; running: number; queue: string }[] }> =>
      (await (await fetch(`${broker.http}/api/v1/workers${path}`, init)).json()) as never
    const tell = (command: string) =>
      api('/w%2F1', {
        method: 'PUT',
        body: JSON.stringify({ command }),
        headers: { 'content-type': 'application/json' },
      })
    let slow = true
    const got: string[] = []
    const worker = start({
      url: urlOf(scheme),
      heartbeat: { id: 'w/1', everyMs: 50 },
      batch: 10,
      handler: async (message) => {
        got.push(message.text())
        while (slow) await new Promise((resolve) => setTimeout(resolve, 5))
      },
    })
    await expect.poll(() => api('')).toMatchObject({ workers: [{ id: 'w/1', queue: 'work', pid: expect.any(Number) }] })
    await publish('1', '2', '3')
    await expect.poll(() => got).toEqual(['1'])
    await tell('quiet')
    await expect.poll(async () => (await api('')).workers[0]!.running).toBe(1)
    await new Promise((resolve) => setTimeout(resolve, 200))
    slow = false
    await expect.poll(async () => (await api('')).workers[0]!.running).toBe(0)
    const { length } = got
    await publish('4')
    await new Promise((resolve) => setTimeout(resolve, 150))
    expect(got).toHaveLength(length)
    expect(await counts()).toMatchObject({ leased: 0, ready: 4 - length })
    await tell('run')
    await expect.poll(() => [...got].sort()).toEqual(['1', '2', '3', '4'])
    await tell('stop')
    await worker.stopped
    await until('work', { ready: 0, leased: 0, delayed: 0 })
    expect(errors).toEqual([])
  },
)

test('over mqtt, the end of the connection takes the leases: handlers are told, and another worker gets the messages', async () => {
  const lost: boolean[] = []
  const worker = start({
    url: urlOf('mqtt'),
    handler: (message) =>
      new Promise<void>((resolve) => message.signal.addEventListener('abort', () => resolve(void lost.push(true)))),
  })
  await publish('x')
  await until('work', { leased: 1 })
  const { body } = (await (await fetch(`${broker.http}/api/v1/clients`)).json().then((body) => ({ body }))) as {
    body: { clients: { clientId: string }[] }
  }
  const id = body.clients.map(({ clientId }) => clientId).find((clientId) => clientId.startsWith('worker-'))!
  await fetch(`${broker.http}/api/v1/clients/${id}`, { method: 'DELETE' })
  await expect.poll(() => lost).toEqual([true])
  expect(errors.map(({ name }) => name)).toContain('LeaseLostError')
  await until('work', { leased: 1 })
  await worker.stop(50)
})

describe('what is around the handler', () => {
  const run = async <T>(options: Partial<WorkerOptions<T>>, ...payloads: unknown[]) => {
    const queue = new FakeQueue()
    for (const payload of payloads) queue.put({ payload })
    start<T>({ source: queue, handler: () => {}, ...options })
    await queue.settled()
    return queue
  }

  test('a schema types and checks payloads; what does not fit is rejected', async () => {
    const schema = z.object({ celsius: z.coerce.number() })
    const values: number[] = []
    const queue = await run<{ celsius: number }>(
      { schema, handler: (message) => void values.push(message.value.celsius) },
      { celsius: '21' },
      { celsius: 'warm' },
      'no json',
    )
    expect(values).toEqual([21])
    expect(queue.results.map(({ outcome, reason = '' }) => [outcome, reason.split(':')[0]])).toEqual([
      ['acked', ''],
      ['rejected', 'the payload does not fit'],
      ['rejected', 'the payload is not JSON'],
    ])
    const own = await run<number>(
      { schema: (value) => Number(value) + 1, handler: (m) => void values.push(m.value) },
      1,
    )
    expect([values.at(-1), own.results[0]!.outcome]).toEqual([2, 'acked'])
  })

  test('middleware runs around the handler, the first one outermost, and may answer for it', async () => {
    const order: string[] = []
    const named =
      (name: string): Middleware<unknown> =>
      async (message, next) => {
        order.push(`${name} before ${message.id}`)
        await next()
        order.push(`${name} after`)
      }
    const skip: Middleware<unknown> = (message, next) => (message.text() === 'skip' ? undefined : next())
    const queue = await run(
      { use: [named('a'), named('b'), skip], handler: () => void order.push('handler') },
      'x',
      'skip',
    )
    expect(order).toEqual([
      'a before 1',
      'b before 1',
      'handler',
      'b after',
      'a after',
      'a before 2',
      'b before 2',
      'b after',
      'a after',
    ])
    expect(queue.results.map(({ outcome }) => outcome)).toEqual(['acked', 'acked'])
  })

  test('heartbeats say what the worker does, and it does what they are answered', async () => {
    const queue = new FakeQueue('work')
    const worker = start({ source: queue, heartbeat: { everyMs: 5 }, handler: () => {} })
    queue.command = 'quiet'
    await expect.poll(() => worker.quiet).toBe(true)
    queue.put({ payload: 'x' })
    const beats = queue.heartbeats.length
    await expect.poll(() => queue.heartbeats.length).toBeGreaterThan(beats + 3)
    expect(queue.results).toEqual([])
    queue.command = 'run'
    await queue.settled()
    expect(queue.heartbeats.at(-1)).toMatchObject({ queue: 'work', failed: 0 })
    queue.command = 'stop'
    await worker.stopped
  })

  test('over HTTP the broker hears them', async () => {
    const worker = start({ url: broker.http, heartbeat: { id: 'w9', everyMs: 20 }, handler: () => {} })
    const workersOf = async () => (await (await fetch(`${broker.http}/api/v1/workers`)).json()) as object
    await expect.poll(workersOf).toMatchObject({ workers: [{ id: 'w9', queue: 'work', command: 'run' }] })
    const body = JSON.stringify({ command: 'stop' })
    const headers = { 'content-type': 'application/json' }
    await fetch(`${broker.http}/api/v1/workers/w9`, { method: 'PUT', body, headers })
    await worker.stopped
  })

  test('a signal of the process drains the worker', async () => {
    const queue = new FakeQueue()
    const worker = start({ source: queue, drainOn: ['SIGUSR2'], handler: () => {} })
    process.kill(process.pid, 'SIGUSR2')
    await worker.stopped
    expect(process.listenerCount('SIGUSR2')).toBe(0)
  })

  test('lost leases of the fake reach the handler', async () => {
    const queue = new FakeQueue()
    let times = 0
    start({
      source: queue,
      handler: (message) => {
        if (++times > 1) return
        queue.loseLeases()
        expect(message.signal.aborted).toBe(true)
      },
    })
    queue.put({ payload: 'x' })
    await queue.settled()
    expect([times, queue.results.length]).toEqual([2, 1])
  })
})

test('the type of a message follows from the schema', () => {
  const schema = z.object({ celsius: z.number() })
  const source = new FakeQueue()
  const worker = createWorker({ source, queue: 'q', schema, handler: (message) => message.value.celsius.toFixed(1) })
  // @ts-expect-error there is no such member
  const other = createWorker({ source, queue: 'q', schema, handler: (message) => message.value.fahrenheit })
  workers.push(worker as never, other as never)
})
