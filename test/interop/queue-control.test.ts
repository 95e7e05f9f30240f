/** Operating queues over HTTP and the command line, on a broker with real devices. */
import { afterAll, beforeAll, expect, test } from 'vitest'
import { runProgram } from '../../src/cli/program.ts'
import { type InlineBroker, startBroker } from '../support/broker-inline.ts'
import { RawClient } from '../support/raw-client.ts'
import { metricsOf } from '../support/spread.ts'

let broker: InlineBroker
let device: RawClient

beforeAll(async () => {
  broker = await startBroker({
    bridge: [{ topicFilter: 'd/{device}/#', queue: 'work', key: '{level:device}' }],
    queues: { work: { maxAttempts: 1, retention: { ms: 3_600_000 }, backoff: { minMs: 1, maxMs: 1 } } },
  })
  device = await RawClient.connected(broker.mqtt, { clientId: 'dev', version: 5 })
})
afterAll(() => broker?.stop())

async function run(...args: string[]) {
  let out = ''
  let err = ''
  const port = {
    env: { SLUICEMQ_URL: broker.http },
    out: (text: string) => {
      out += text
    },
    err: (text: string) => {
      err += text
    },
  }
  const code = await runProgram(args, port as never, (() => {}) as never)
  return { code, out, err }
}

interface Shown {
  id: string
  queue: string
  payload: string
  receipt: string
  attempt: number
}

/** What the answers of this test hold. */
interface Answer {
  messages: Shown[]
  next: string | null
  jobs: { id: string; kind: string; state: string }[]
  error: { code: string; message: string }
  measured: { workers: number }
  forecast: object
  name: string
  state: string
  leaseMs: number
}

async function http(method: string, path: string, body?: unknown): Promise<{ status: number; body: Answer }> {
  const response = await fetch(`${broker.http}/api/v1${path}`, {
    method,
    ...(body !== undefined && { body: JSON.stringify(body), headers: { 'content-type': 'application/json' } }),
  })
  const text = await response.text()
  return { status: response.status, body: JSON.parse(text) as Answer }
}

const pull = async (queue: string, max = 100): Promise<Shown[]> =>
  (await http('POST', `/queues/${queue}/pull`, { max })).body.messages

test('dead letters are listed, shown and moved back; what was done is replayed', async () => {
  for (const [topic, payload] of [
    ['d/1/t', 'a'],
    ['d/2/t', 'b'],
    ['d/1/u', 'c'],
  ] as const)
    await device.publish({ topic, payload, qos: 1 })
  // One of a device at a time.
  const first = await pull('work')
  expect(first.map(({ payload }) => payload)).toEqual(['a', 'b'])
  const entries = first.map(({ receipt }) => ({ receipt, reason: 'no such device' }))
  await http('POST', '/queues/work/nack', { entries })
  const third = (await pull('work'))[0]!
  expect(third.payload).toBe('c')
  await http('POST', '/queues/work/ack', { receipts: [third.receipt] })

  const listed = await run('queue', 'dead', 'list', 'work.dead', '--topic', 'd/2/#')
  expect(listed.out).toMatch(/^ID .*LAST FAILURE\nm\S+ +d\/2\/t +dev +\S+ +ready +1 +no such device\n$/)
  const shown = JSON.parse((await run('queue', 'dead', 'show', 'work.dead', first[0]!.id)).out)
  expect(shown).toMatchObject({
    id: first[0]!.id,
    topic: 'd/1/t',
    clientId: 'dev',
    payload: 'a',
    key: '1',
    state: 'ready',
    deadLetter: { queue: 'work', attempts: 1 },
    failures: [{ attempt: 1, reason: 'no such device' }],
  })
  expect((await run('queue', 'dead', 'show', 'work.dead', 'nobody')).err).toMatch(/^not_found: /)
  expect((await run('queue', 'redrive', 'work.dead', '--id', first[0]!.id)).out).toBe('1 messages of work.dead moved\n')
  const again = (await pull('work'))[0]!
  expect([again.id, again.attempt, again.payload]).toEqual([first[0]!.id, 1, 'a'])
  await http('POST', '/queues/work/ack', { receipts: [again.receipt] })

  expect((await run('queue', 'replay', 'work', '--client', 'dev', '--topic', 'd/1/#')).out).toBe(
    '2 messages of work replayed\n',
  )
  const kept = await http('GET', '/queues/work/retained?limit=2')
  expect([kept.body.messages.length, kept.body.messages[0]!.id]).toEqual([2, first[0]!.id])
  const rest = await http('GET', `/queues/work/retained?limit=2&after=${kept.body.next}`)
  expect([rest.body.messages.length, rest.body.next]).toEqual([1, null])
  expect((await pull('work')).map(({ id }) => id)).toEqual([first[0]!.id])
  expect((await run('queue', 'purge', 'work')).out).toBe('1 messages of work are gone\n')
  expect((await run('queue', 'replay', 'work.dead')).err).toMatch(/^nothing_retained: /)
})

test('paused and resumed; counts and settings are shown', async () => {
  await http('POST', '/queues/work/purge')
  expect((await run('queue', 'pause', 'work')).out).toBe('work is paused\n')
  await device.publish({ topic: 'd/9/t', payload: 'x', qos: 1 })
  expect(await pull('work')).toEqual([])
  expect((await run('queue', 'list')).out).toMatch(/\nwork +1 .* paused\n/)
  expect(JSON.parse((await run('queue', 'show', 'work')).out)).toMatchObject({
    paused: true,
    settings: { maxAttempts: 1 },
  })
  expect((await run('queue', 'resume', 'work')).out).toBe('work is running\n')
  expect((await pull('work')).map(({ payload }) => payload)).toEqual(['x'])
})

test('settings and groups change while the broker runs; what is wrong is named', async () => {
  const wrong = await http('PUT', '/queues/live/settings', { limits: { messagesMax: 0 } })
  expect([wrong.status, wrong.body.error.message]).toEqual([400, expect.stringMatching(/^limits\.messagesMax: /)])
  expect((await http('PUT', '/queues/live/settings', { leaseMs: 1234 })).body.leaseMs).toBe(1234)
  expect((await http('PUT', '/queues/live/groups/audit')).body.name).toBe('live@audit')
  expect((await http('PUT', '/queues/live/groups/a@b')).status).toBe(400)
  await http('POST', '/queues/live/messages', { messages: [{ payload: 'p' }] })
  expect((await pull('live')).length).toBe(1)
  expect((await pull('live@audit')).map(({ queue, payload }) => [queue, payload])).toEqual([['live@audit', 'p']])
  expect((await http('DELETE', '/queues/live/settings')).body.leaseMs).toBe(30_000)
})

test('settings and groups are changed on the command line; slips are named with what may have been meant', async () => {
  const set = await run('queue', 'set', 'shell', 'leaseMs=5000', 'limits.messagesMax=1000', 'limits.whenFull=block')
  expect(JSON.parse(set.out)).toMatchObject({ leaseMs: 5000, limits: { messagesMax: 1000, whenFull: 'block' } })
  expect(JSON.parse((await run('queue', 'set', 'shell', 'maxAttempts=2')).out)).toMatchObject({
    ...{ leaseMs: 5000, maxAttempts: 2, limits: { messagesMax: 1000 } },
  })
  expect(await run('queue', 'set', 'shell', 'leasMs=5')).toMatchObject({
    ...{ code: 78, err: expect.stringContaining('leasMs: unknown key; did you mean leaseMs?') },
  })
  expect((await run('queue', 'set', 'shell', 'limits.messagesMax=lots')).err).toMatch(
    /limits\.messagesMax: expected an? .*, got "lots"/,
  )
  expect((await run('queue', 'set', 'shell', 'x')).code).toBe(64)
  expect((await run('queue', 'group', 'shell', 'audit')).out).toBe(
    'shell@audit sees every message of shell from now on\n',
  )
  expect(JSON.parse((await run('queue', 'unset', 'shell')).out)).toMatchObject({ leaseMs: 30_000 })
  expect((await run('queue', 'show', 'shel')).err).toContain('no queue named "shel"; did you mean "shell"?')
  expect((await run('queue', 'dead', 'list', 'shell.dead')).err).toContain(
    'nothing of "shell" has gone to the dead letters yet',
  )
  expect((await run('queue', 'redrive', 'shell', '--rate', 'fast')).err).toContain('It takes a number.')
  expect((await run('queue', 'replay', 'shell', '--from', 'yesterday')).err).toContain('It takes a time such as')
})

test('the forecast, for people and for Prometheus', async () => {
  const { body } = await http('GET', '/queues/work/forecast?targetWaitMs=100&workers=3')
  expect(body.measured.workers).toBe(3)
  expect(Object.keys(body.forecast)).toContain('workersNeeded')
  for (const id of ['w1', 'w2', 'w3']) await http('POST', `/workers/${id}/heartbeat`, { queue: 'work' })
  expect((await http('GET', '/queues/work/forecast')).body.measured.workers).toBeGreaterThanOrEqual(3)
  expect((await run('queue', 'forecast', 'work')).out).toMatch(/C = W\/R +\S+ +above 1 the queue grows\n/)
  expect((await http('GET', '/queues/none/forecast')).status).toBe(404)
  const metrics = await metricsOf(broker)
  expect(metrics).toMatch(/^sluicemq_queue_congestion\{queue="work"\} \S+$/m)
  expect(metrics).toMatch(/^sluicemq_queue_messages\{queue="work",state="ready"\} \d+$/m)
  expect(metrics).toMatch(/^sluicemq_queue_acked_total\{queue="work"\} 2$/m)
})

test('jobs are listed, and an unknown one is refused', async () => {
  const { jobs } = (await http('GET', '/queue-jobs')).body
  expect(jobs.map(({ kind, state }) => [kind, state])).toEqual([
    ['replay', 'done'],
    ['redrive', 'done'],
  ])
  expect((await http('DELETE', `/queue-jobs/${jobs[0]!.id}`)).body.state).toBe('done')
  expect((await http('GET', '/queue-jobs/none')).body.error.code).toBe('job_unknown')
  const id = (await run('queue', 'redrive', 'work', '--rate', '1', '--no-wait')).out.trim()
  expect((await run('queue', 'job', 'list')).out).toMatch(new RegExp(`\\n${id} +redrive +work +running|${id} .* done`))
  expect((await run('queue', 'job', 'cancel', id)).out).toMatch(new RegExp(`^${id} is (cancelled|done); 0 messages`))
  expect(await run('queue', 'job', 'cancel', 'none')).toMatchObject({
    code: 78,
    err: expect.stringContaining('job_unknown: there is no job "none"'),
  })
})
