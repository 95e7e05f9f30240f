/**
 * How long a broker with many stored sessions takes to be ready, and what it needs: the real process, on a store made here.
 *
 *     node dist/bench/million-sessions.js [--sessions 1000000] [--backlog 0] [--dir DIR] [--keep]
 *
 * Every session is persistent and has one subscription of its own; `--backlog N` gives every hundredth session N messages that
 * wait. Prints one JSON line: seconds from spawn to the `ready` line (and processor time till then, for busy machines), resident bytes (with and without pages of the data
 * file, which the kernel takes back when it needs them) then and five seconds later.
 */
import { type ChildProcess, spawn } from 'node:child_process'
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { setTimeout as wait } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import { encodeMessage, NO_EXPIRY } from '../src/router/message.ts'
import { lmdbStore } from '../src/stores/lmdb.ts'

const { values: args } = parseArgs({
  options: {
    sessions: { type: 'string', default: '1000000' },
    backlog: { type: 'string', default: '0' },
    dir: { type: 'string' },
    keep: { type: 'boolean', default: false },
  },
})
const sessions = Number(args.sessions)
const backlog = Number(args.backlog)
const GROUP = 5000
/** Clock ticks a second in /proc. */
const TICKS = 100
const BACKLOG_EVERY = 100

const topicFilterOf = (i: number): string =>
  i % 10 === 9 ? `devices/device-${i}/#` : i % 10 === 8 ? `devices/device-${i}/+/set` : `devices/device-${i}/commands`

async function fill(dir: string): Promise<void> {
  const store = lmdbStore({ dir, clock: systemClock })
  await store.open()
  const disconnectedAt = systemClock.now()
  const message = encodeMessage({
    topic: 'devices/all/commands',
    clientId: 'operator',
    qos: 1,
    retain: false,
    time: disconnectedAt,
    properties: Buffer.alloc(0),
    payload: Buffer.alloc(200, 'x'),
    expirySeconds: NO_EXPIRY,
  })
  for (let i = 0; i < sessions; i++) {
    const clientId = `device-${i}`
    const lane = `s/${clientId}`
    store.putSession({ clientId, version: 4, expirySeconds: 604_800, disconnectedAt, maybeSentBefore: 0, lane })
    const usual = { noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 } as const
    store.putSubscription(clientId, { topicFilter: topicFilterOf(i), qos: 1, ...usual })
    if (backlog > 0 && i % BACKLOG_EVERY === 0) {
      const target = [{ lane: store.lane(lane), tag: 1, extra: null }]
      for (let n = 0; n < backlog; n++) store.append(message, target)
    }
    if (i % GROUP === GROUP - 1) await store.commit()
  }
  await store.close()
}

function memory(pid: number): { rss: number; anonymous: number } {
  const status = fs.readFileSync(`/proc/${pid}/status`, 'utf8')
  const kib = (name: string): number => Number(new RegExp(`${name}:\\s+(\\d+) kB`).exec(status)?.[1] ?? 0)
  return { rss: kib('VmRSS') * 1024, anonymous: kib('RssAnon') * 1024 }
}

/** Processor time the process has used, in seconds. */
function cpuSeconds(pid: number): number {
  const fields = fs.readFileSync(`/proc/${pid}/stat`, 'utf8').split(') ')[1]!.split(' ')
  return (Number(fields[11]) + Number(fields[12])) / TICKS
}

async function ready(child: ChildProcess): Promise<void> {
  let text = ''
  let errors = ''
  child.stderr!.setEncoding('utf8').on('data', (more: string) => {
    errors += more
  })
  await new Promise<void>((resolve, reject) => {
    child.on('exit', (code) => reject(new Error(`the broker ended with ${code}: ${errors}`)))
    child.stdout!.setEncoding('utf8').on('data', (more: string) => {
      text += more
      if (text.includes('ready ')) resolve()
    })
  })
}

async function start(dir: string): Promise<Record<string, number>> {
  const main = fileURLToPath(new URL('../src/main.js', import.meta.url))
  const options = ['--mqtt-port', '0', '--http-port', '0', '--data-dir', dir]
  const from = performance.now()
  const child = spawn(process.execPath, [main, 'start', ...options], { stdio: ['ignore', 'pipe', 'pipe'] })
  const exited = new Promise((resolve) => child.on('close', resolve))
  try {
    await ready(child)
    const readySeconds = (performance.now() - from) / 1000
    const cpu = cpuSeconds(child.pid!)
    const then = memory(child.pid!)
    await wait(5000)
    const later = memory(child.pid!)
    return {
      readySeconds,
      cpuSeconds: cpu,
      rssBytes: then.rss,
      anonymousBytes: then.anonymous,
      laterRssBytes: later.rss,
      laterAnonymousBytes: later.anonymous,
    }
  } finally {
    child.kill('SIGKILL')
    await exited
  }
}

const own = args.dir ?? fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-million-'))
try {
  if (!fs.existsSync(path.join(own, 'sluicemq.mdb'))) await fill(own)
  const fileBytes = fs.statSync(path.join(own, 'sluicemq.mdb')).size
  console.log(JSON.stringify({ sessions, backlog, fileBytes, ...(await start(own)) }))
} finally {
  if (!args.keep) fs.rmSync(own, { recursive: true, force: true })
}
