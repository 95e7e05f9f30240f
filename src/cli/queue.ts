/** `sluicemq queue …`: work queues of a running broker. */
import { callApi, speaking, table } from './api.ts'
import type { ProcessPort } from './start.ts'

type Port = Pick<ProcessPort, 'out' | 'err'>

interface Info {
  name: string
  ready: number
  leased: number
  delayed: number
  bytes: number
  deadLetterQueue: string
  paused: boolean
  oldestAt?: string
}

interface Job {
  id: string
  kind: string
  from: string
  to?: string
  state: string
  count: number
  perSecond: number
  startedAt: string
  error?: string
  waitsFor?: string
}

interface Shown {
  id: string
  topic: string
  clientId: string
  time: string
  state: string
  attempts: number
  failures: { at: string; attempt: number; reason: string }[]
  deadLetter?: { queue: string; attempts: number; at: string }
}

/** Which messages are meant, as given on the command line. */
export interface Selected {
  topic?: string
  client?: string
  from?: string
  to?: string
  reason?: string
  id?: string[]
}

/** A job that runs is asked again after this, in ms. */
const WAIT_MS = 30_000

export function listQueues(url: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const { queues } = (await callApi(url, 'GET', '/queues')) as { queues: Info[] }
    const rows = queues.map(({ name, ready, leased, delayed, bytes, paused, oldestAt = '' }) => {
      return [name, `${ready}`, `${leased}`, `${delayed}`, `${bytes}`, oldestAt, paused ? 'paused' : '']
    })
    process.out(table(['QUEUE', 'READY', 'LEASED', 'DELAYED', 'BYTES', 'OLDEST', ''], rows))
  })
}

/** The queue's counts and settings as JSON. */
export function showQueue(url: string, name: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const info = (await callApi(url, 'GET', pathOf(name))) as object
    const settings = await callApi(url, 'GET', `${pathOf(name)}/settings`)
    process.out(`${JSON.stringify({ ...info, settings }, null, 2)}\n`)
  })
}

export function pauseQueue(url: string, name: string, paused: boolean, process: Port): Promise<number> {
  return speaking(process, async () => {
    await callApi(url, 'POST', `${pathOf(name)}/${paused ? 'pause' : 'resume'}`)
    process.out(`${name} is ${paused ? 'paused' : 'running'}\n`)
  })
}

export function purgeQueue(url: string, name: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const { count } = (await callApi(url, 'POST', `${pathOf(name)}/purge`)) as { count: number }
    process.out(`${count} messages of ${name} are gone\n`)
  })
}

/** Every redrive and replay that the broker knows of. */
export function listJobs(url: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const { jobs } = (await callApi(url, 'GET', '/queue-jobs')) as { jobs: Job[] }
    const rows = jobs.map(({ id, kind, from, to = '', state, count, perSecond, startedAt, error = '', waitsFor }) => {
      const note = waitsFor === undefined ? error : `waits: ${waitsFor}`
      return [id, kind, from, to, state, `${count}`, perSecond === 0 ? '' : `${perSecond}/s`, startedAt, note]
    })
    process.out(table(['ID', 'KIND', 'FROM', 'TO', 'STATE', 'COUNT', 'RATE', 'STARTED', ''], rows))
  })
}

export function cancelJob(url: string, id: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const { state, count } = (await callApi(url, 'DELETE', `/queue-jobs/${encodeURIComponent(id)}`)) as Job
    process.out(`${id} is ${state}; ${count} messages stay where they went\n`)
  })
}

/** Starts a redrive or replay and waits for its end, unless it is not to. The job goes on when the command is ended. */
export function runJob(
  url: string,
  name: string,
  kind: 'redrive' | 'replay',
  { selected, queue, rate, wait }: { selected: Selected; queue?: string; rate?: string; wait: boolean },
  process: Port,
): Promise<number> {
  return speaking(process, async () => {
    const { id: ids, topic: topicFilter, client: clientId, ...rest } = selected
    const perSecond = rate === undefined ? undefined : Number(rate)
    const body = { ...rest, topicFilter, clientId, ids, queue, perSecond }
    let job = (await callApi(url, 'POST', `${pathOf(name)}/${kind}`, body)) as Job
    if (!wait) {
      process.out(`${job.id}\n`)
      return
    }
    for (let told: string | undefined; job.state === 'running'; ) {
      job = (await callApi(url, 'GET', `/queue-jobs/${job.id}?waitMs=${WAIT_MS}`)) as Job
      if (job.waitsFor !== undefined && job.waitsFor !== told) process.err(`${job.id} waits: ${job.waitsFor}\n`)
      told = job.waitsFor
    }
    const said = kind === 'redrive' ? 'moved' : 'replayed'
    process.out(
      `${job.count} messages of ${name} ${said}${job.state === 'done' ? '' : `, then ${job.state}: ${job.error}`}\n`,
    )
  })
}

export function listMessages(
  url: string,
  name: string,
  { selected, limit }: { selected: Selected; limit: string },
  process: Port,
): Promise<number> {
  return speaking(process, async () => {
    const { topic: topicFilter, client: clientId, id, ...rest } = selected
    const query = new URLSearchParams({ limit })
    for (const [key, value] of Object.entries({ topicFilter, clientId, id: id?.[0], ...rest }))
      if (value !== undefined) query.set(key, value)
    const page = (await callApi(url, 'GET', `${pathOf(name)}/messages?${query}`)) as {
      messages: Shown[]
      next: string | null
    }
    const rows = page.messages.map(({ id, topic, clientId, time, state, attempts, failures, deadLetter }) => {
      const made = deadLetter?.attempts ?? attempts
      return [id, topic, clientId, time, state, `${made}`, failures.at(-1)?.reason ?? '']
    })
    process.out(table(['ID', 'TOPIC', 'CLIENT', 'TIME', 'STATE', 'ATTEMPTS', 'LAST FAILURE'], rows))
    if (page.next !== null) process.out('there are more: --limit\n')
  })
}

export function showMessage(url: string, name: string, id: string, process: Port): Promise<number> {
  return speaking(process, async () => {
    const message = await callApi(url, 'GET', `${pathOf(name)}/messages/${encodeURIComponent(id)}`)
    process.out(`${JSON.stringify(message, null, 2)}\n`)
  })
}

function pathOf(name: string): string {
  return `/queues/${encodeURIComponent(name)}`
}
