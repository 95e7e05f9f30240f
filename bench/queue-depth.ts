/**
 * What a work queue costs when little and when much waits in it:
 *
 *     node --expose-gc dist/bench/queue-depth.js [--messages 10000000] [--store lmdb|memory|redis] [--rounds 600] [--dir DIR]
 *
 * Two queues, each with a store of its own: an empty one and one in which so many messages wait. Enqueues and leases with
 * their acknowledgements are measured in batches of 1,000 that are committed one after the other, on the two in turn, so that
 * a disk that is busy with others is so for both. Wall time is the median of the batches, CPU time (all threads) the mean.
 * Memory is looked at after each quarter of the filling, with all garbage collected: own memory, without the pages of the data
 * file, which the kernel takes back when it needs them. Over Redis each queue has a server of its own (appendfsync always, on the
 * disk of DIR), and memory and CPU time are those of this process.
 *
 * Prints a verdict for each target of issue 7, then one JSON line; the exit code is 1 when one is missed. With ten million
 * messages about two minutes and 1 GB of disk.
 */
import { mkdtempSync, readFileSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import { systemRandom } from '../src/base/random.ts'
import type { WorkQueue } from '../src/queue/queue.ts'
import { Queues } from '../src/queue/queues.ts'
import { encodeMessage, NO_EXPIRY } from '../src/router/message.ts'
import { messageCodec } from '../src/router/message-codec.ts'
import type { LaneTarget, Store } from '../src/store.ts'
import { lmdbStore } from '../src/stores/lmdb.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { redisStore } from '../src/stores/redis.ts'
import { type RedisServer, startRedisServer } from './peers/redis-server.ts'

const { values } = parseArgs({
  options: {
    messages: { type: 'string', default: '10000000' },
    store: { type: 'string', default: 'lmdb' },
    rounds: { type: 'string', default: '600' },
    dir: { type: 'string', default: tmpdir() },
  },
})
const messages = Number(values.messages)
const rounds = Number(values.rounds)
const BATCH = 1000
/** A group while filling: as large as the store lets one grow. */
const FILL = 10 * BATCH
/** Rounds before those that count: code is compiled, caches are filled. */
const WARM_UP = 20
/** Rates "within 25 %" of those of an empty queue. */
const RATE_MIN = 0.75
/** By so much own memory may differ between a quarter and all of the messages: what the garbage collector leaves, in MiB. */
const GROWTH_MIB_MAX = 32

/** A queue with a store of its own. */
interface Bed {
  readonly store: Store
  readonly queues: Queues
  readonly queue: WorkQueue
  readonly targets: readonly LaneTarget[]
  readonly enqueue: Figures
  readonly lease: Figures
}

/** Per message, one for each batch. */
interface Figures {
  readonly cpuMicroseconds: number[]
  readonly wallMicroseconds: number[]
}

const servers: RedisServer[] = []
const dir = mkdtempSync(join(values.dir, 'sluicemq-depth-'))

async function makeStore(name: string): Promise<Store> {
  if (values.store === 'memory') return memoryStore({ clock: systemClock })
  if (values.store !== 'redis') return lmdbStore({ dir: join(dir, name), clock: systemClock })
  const server = await startRedisServer(dir, { appendfsync: 'always', nodes: 1 }, undefined)
  servers.push(server)
  const redis = { url: `redis://127.0.0.1:${server.port}` }
  return redisStore({ redis, clock: systemClock, random: systemRandom, codec: messageCodec })
}

async function makeBed(name: string): Promise<Bed> {
  const clock = systemClock
  const store = await makeStore(name)
  await store.open()
  const queues = new Queues({ store, clock, names: ['work'] })
  await queues.open()
  const queue = queues.get('work')
  const figures = (): Figures => ({ cpuMicroseconds: [], wallMicroseconds: [] })
  const targets = [{ lane: queue.lane, tag: 0, extra: null }]
  return { store, queues, queue, targets, enqueue: figures(), lease: figures() }
}

function message(): Buffer {
  return encodeMessage({
    topic: 'devices/d0001/telemetry',
    clientId: 'd0001',
    qos: 1,
    retain: false,
    time: systemClock.now(),
    properties: Buffer.alloc(0),
    payload: Buffer.from('{"temperature":21.5,"humidity":40}'),
    expirySeconds: NO_EXPIRY,
  })
}

async function enqueue({ store, targets }: Bed, count: number): Promise<void> {
  for (let i = 0; i < count; i++) store.append(message(), targets)
  await store.commit()
}

async function work({ queue }: Bed): Promise<void> {
  const got = await queue.pull(BATCH, 60_000)
  if (got.length !== BATCH) throw new Error(`a pull of ${BATCH} brought ${got.length}`)
  await queue.ack(got.map(({ receipt }) => receipt))
}

async function measured({ cpuMicroseconds, wallMicroseconds }: Figures, step: () => Promise<void>): Promise<void> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  await step()
  wallMicroseconds.push(((performance.now() - start) * 1000) / BATCH)
  const { user, system } = process.cpuUsage(cpu)
  cpuMicroseconds.push((user + system) / BATCH)
}

/** What enters leaves again, so that what waits does not change. */
async function round(beds: readonly Bed[]): Promise<void> {
  for (const bed of beds) await measured(bed.enqueue, () => enqueue(bed, BATCH))
  for (const bed of beds) await measured(bed.lease, () => work(bed))
}

interface Memory {
  readonly messages: number
  /** MiB: everything resident, without pages of files, and what of it JavaScript's heap takes. */
  readonly resident: number
  readonly own: number
  readonly heap: number
}

async function memory(at: number): Promise<Memory> {
  // What weak references and finalizers keep is gone after the second time.
  for (let i = 0; i < 3; i++) {
    globalThis.gc?.()
    await new Promise((resolve) => setTimeout(resolve, 50))
  }
  const { rss, heapUsed } = process.memoryUsage()
  const anonymous = /^RssAnon:\s+(\d+) kB/m.exec(readFileSync('/proc/self/status', 'utf8'))
  const mib = (bytes: number): number => Math.round(bytes / 1024 / 1024)
  return { messages: at, resident: mib(rss), own: mib(Number(anonymous?.[1] ?? 0) * 1024), heap: mib(heapUsed) }
}

function summary({ cpuMicroseconds, wallMicroseconds }: Figures): { cpu: number; wall: number } {
  const sorted = wallMicroseconds.slice(WARM_UP).sort((a, b) => a - b)
  const cpu = cpuMicroseconds.slice(WARM_UP)
  return { cpu: rounded(cpu.reduce((a, b) => a + b, 0) / cpu.length), wall: rounded(sorted[sorted.length >> 1]!) }
}

function rounded(n: number): number {
  return Math.round(n * 1000) / 1000
}

let missed = false

function verdict(met: boolean, text: string): void {
  missed ||= !met
  process.stdout.write(`${met ? 'met   ' : 'MISSED'} ${text}\n`)
}

try {
  const empty = await makeBed('empty')
  const deep = await makeBed('deep')
  const began = performance.now()
  const fills: Memory[] = []
  for (let quarter = 1; quarter <= 4; quarter++) {
    const until = Math.round((messages * quarter) / 4)
    while (deep.queue.waiting < until) await enqueue(deep, Math.min(FILL, until - deep.queue.waiting))
    fills.push(await memory(deep.queue.waiting))
  }
  const fillSeconds = rounded((performance.now() - began) / 1000)
  for (let i = 0; i < WARM_UP + rounds; i++) await round(i % 2 === 0 ? [empty, deep] : [deep, empty])
  const after = await memory(deep.queue.waiting)

  const result: Record<string, unknown> = {}
  for (const kind of ['enqueue', 'lease'] as const) {
    const [little, much] = [summary(empty[kind]), summary(deep[kind])]
    result[kind] = { empty: little, deep: much }
    for (const unit of ['wall', 'cpu'] as const) {
      const rate = little[unit] / much[unit]
      verdict(
        rate >= RATE_MIN,
        `${kind}: ${much[unit]} µs ${unit} a message with ${deep.queue.waiting} waiting, ${little[unit]} µs with none: ` +
          `${Math.round(rate * 100)} % of the rate`,
      )
    }
  }
  const [quarter, full] = [fills[0]!, fills[3]!]
  const growth = Math.max(full.own, after.own) - quarter.own
  verdict(
    growth <= GROWTH_MIB_MAX,
    `own memory: ${quarter.own} MiB with ${quarter.messages} waiting, ${full.own} with ${full.messages}, ${after.own} at the end`,
  )
  const { bytesOnDisk } = deep.store.stats()
  const about = { store: deep.store.kind, node: process.version, messages, rounds, fillSeconds, bytesOnDisk }
  process.stdout.write(`${JSON.stringify({ ...about, ...result, memory: [...fills, after] })}\n`)
  for (const { queues, store } of [empty, deep]) {
    await queues.close()
    await store.close()
  }
} finally {
  for (const server of servers) await server.stop()
  rmSync(dir, { recursive: true })
}
process.exitCode = missed ? 1 : 0
