/**
 * What a work queue costs when little and when much waits in it: `node dist/bench/queue-depth.js [waiting] [--store lmdb|memory]`.
 *
 * Enqueues and leases are measured in CPU time per message (both threads), in batches of 1,000 that are committed one
 * after the other, first on an empty queue, then with `waiting` messages in it (10,000,000 unless said otherwise).
 * Prints one JSON line.
 */
import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import { Queues } from '../src/queue/queues.ts'
import { encodeMessage, NO_EXPIRY } from '../src/router/message.ts'
import type { LaneTarget, Store } from '../src/store.ts'
import { lmdbStore } from '../src/stores/lmdb.ts'
import { memoryStore } from '../src/stores/memory.ts'

const { values, positionals } = parseArgs({
  allowPositionals: true,
  options: { store: { type: 'string', default: 'lmdb' }, rounds: { type: 'string', default: '100' } },
})
const waiting = Number(positionals[0] ?? 10_000_000)
const rounds = Number(values.rounds)
const BATCH = 1000

const dir = mkdtempSync(join(tmpdir(), 'sluicemq-depth-'))
const store: Store =
  values.store === 'memory' ? memoryStore({ clock: systemClock }) : lmdbStore({ dir, clock: systemClock })
await store.open()
const queues = new Queues({ store, clock: systemClock, names: ['work'] })
await queues.open()
const queue = queues.get('work')
const targets: readonly LaneTarget[] = [{ lane: queue.lane, tag: 0, extra: null }]

function message(): Buffer {
  return encodeMessage({
    topic: 'devices/d0001/telemetry',
    clientId: 'd0001',
    qos: 1,
    retain: false,
    time: Date.now(),
    properties: Buffer.alloc(0),
    payload: Buffer.from('{"temperature":21.5,"humidity":40}'),
    expirySeconds: NO_EXPIRY,
  })
}

async function enqueue(count: number): Promise<void> {
  for (let i = 0; i < count; i++) store.append(message(), targets)
  await store.commit()
}

async function work(): Promise<number> {
  const got = await queue.pull(BATCH, 60_000)
  await queue.ack(got.map(({ receipt }) => receipt))
  return got.length
}

interface Cost {
  cpuMicroseconds: number
  wallMicroseconds: number
}

async function cost(step: () => Promise<number | undefined>): Promise<Cost> {
  const cpu = process.cpuUsage()
  const start = performance.now()
  let messages = 0
  for (let i = 0; i < rounds; i++) messages += (await step()) ?? BATCH
  const { user, system } = process.cpuUsage(cpu)
  const wall = (performance.now() - start) * 1000
  return { cpuMicroseconds: round((user + system) / messages), wallMicroseconds: round(wall / messages) }
}

const put = (): Promise<undefined> => enqueue(BATCH).then(() => undefined)
const round = (n: number): number => Math.round(n * 1000) / 1000

/** Enqueue and lease in turn, so that what waits does not change. */
async function both(): Promise<{ enqueue: Cost; lease: Cost }> {
  return { enqueue: await cost(put), lease: await cost(work) }
}

await both()
const empty = [await both(), await both()]
const before = memory()
for (let left = waiting; left > 0; left -= 10 * BATCH) await enqueue(Math.min(10 * BATCH, left))
const filled = memory()
await both()
const full = [await both(), await both()]

const ratio = (kind: 'enqueue' | 'lease'): number =>
  round(mean(full.map((one) => one[kind].cpuMicroseconds)) / mean(empty.map((one) => one[kind].cpuMicroseconds)))

process.stdout.write(
  `${JSON.stringify({
    store: store.kind,
    node: process.version,
    waiting: queue.waiting,
    empty,
    full,
    fullToEmpty: { enqueue: ratio('enqueue'), lease: ratio('lease') },
    memory: { before, filled, after: memory() },
    bytesOnDisk: store.stats().bytesOnDisk,
  })}\n`,
)
await queues.close()
await store.close()
rmSync(dir, { recursive: true })

/** MiB. `rss` holds the pages of the mapped file that were touched; `heap` and `external` are ours. */
function memory(): { rss: number; heap: number; external: number } {
  globalThis.gc?.()
  const { rss, heapUsed, external } = process.memoryUsage()
  const mib = (bytes: number): number => Math.round(bytes / 1024 / 1024)
  return { rss: mib(rss), heap: mib(heapUsed), external: mib(external) }
}

function mean(numbers: readonly number[]): number {
  return numbers.reduce((a, b) => a + b, 0) / numbers.length
}
