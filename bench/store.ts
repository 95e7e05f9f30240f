/**
 * What the store costs: messages appended, committed and settled per second, and the time the main thread spends on each.
 *
 *     node dist/bench/store.js [--store lmdb|memory|redis] [--redis URL] [--messages 1000000] [--group 1000] [--bytes 100] [--dir DIR] [name …]
 *
 * Prints one JSON line per scenario. Groups are closed back to back, two under way; consumers settle what `onCommitted` gives them.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { performance } from 'node:perf_hooks'
import { parseArgs } from 'node:util'
import { systemClock } from '../src/base/clock.ts'
import { systemRandom } from '../src/base/random.ts'
import { messageCodec } from '../src/router/message-codec.ts'
import type { Chunk, Lane, LaneTarget, Store } from '../src/store.ts'
import { lmdbStore } from '../src/stores/lmdb.ts'
import { memoryStore } from '../src/stores/memory.ts'
import { redisStore } from '../src/stores/redis.ts'

interface Scenario {
  lanes: number
  /** Target arrays that messages take in turn. */
  targets: (lanes: LaneTarget[]) => LaneTarget[][]
  /** False: nobody reads, the backlog grows. */
  settled: boolean
}

const single = (lanes: LaneTarget[]): LaneTarget[][] => lanes.map((lane) => [lane])

const scenarios: Record<string, Scenario> = {
  '1 lane': { lanes: 1, targets: single, settled: true },
  '50 lanes, 1 target each': { lanes: 50, targets: single, settled: true },
  '2 targets': { lanes: 2, targets: (lanes) => [lanes], settled: true },
  '50 targets': { lanes: 50, targets: (lanes) => [lanes], settled: true },
  '1 lane, append only': { lanes: 1, targets: single, settled: false },
}

const { values: args, positionals } = parseArgs({
  allowPositionals: true,
  options: {
    store: { type: 'string', default: 'lmdb' },
    messages: { type: 'string', default: '1000000' },
    group: { type: 'string', default: '1000' },
    bytes: { type: 'string', default: '100' },
    dir: { type: 'string' },
    redis: { type: 'string', default: 'redis://127.0.0.1:6379' },
  },
})
const messages = Number(args.messages)
const group = Number(args.group)
const bytes = Number(args.bytes)

/** Time the main thread has run, in ms: from the kernel where it tells, else the event loop's own account. */
function mainThreadMs(): number {
  try {
    const [ran] = fs.readFileSync(`/proc/self/task/${process.pid}/schedstat`, 'utf8').split(' ')
    return Number(ran) / 1e6
  } catch {
    return performance.eventLoopUtilization().active
  }
}

function make(dir: string): Store {
  if (args.store === 'memory') return memoryStore({ clock: systemClock })
  if (args.store === 'lmdb') return lmdbStore({ dir, clock: systemClock })
  return redisStore({ redis: { url: args.redis }, clock: systemClock, random: systemRandom, codec: messageCodec })
}

async function run(name: string, scenario: Scenario): Promise<void> {
  const dir = fs.mkdtempSync(path.join(args.dir ?? os.tmpdir(), 'sluicemq-bench-'))
  const store = make(dir)
  await store.open()
  const lanes: Lane[] = []
  for (let i = 0; i < scenario.lanes; i++) {
    const lane = store.lane(`q/${i}`)
    if (scenario.settled) lane.onCommitted = (chunk) => settleAll(store, lane, chunk)
    lanes.push(lane)
  }
  const targets = scenario.targets(lanes.map((lane) => ({ lane, tag: 1, extra: null })))
  await pump(store, targets, Math.min(messages, 100_000))
  const cpu = mainThreadMs()
  const process_ = process.cpuUsage()
  const start = performance.now()
  const commits = store.stats().commits
  await pump(store, targets, messages)
  const ms = performance.now() - start
  const ran = mainThreadMs() - cpu
  const used = process.cpuUsage(process_)
  const done = store.stats().commits - commits
  console.log(
    JSON.stringify({
      bench: 'store',
      scenario: name,
      store: store.kind,
      messages,
      group,
      bytes,
      messagesPerSecond: Math.round((messages / ms) * 1000),
      commitsPerSecond: Math.round((done / ms) * 1000),
      mainThreadMicros: Number(((ran * 1000) / messages).toFixed(3)),
      processMicros: Number(((used.user + used.system) / messages).toFixed(3)),
      fileMegabytes: Number((store.stats().bytesOnDisk / 1e6).toFixed(1)),
      rssMegabytes: Math.round(process.memoryUsage.rss() / 1e6),
      node: process.version,
    }),
  )
  await store.close()
  fs.rmSync(dir, { recursive: true, force: true })
}

function settleAll(store: Store, lane: Lane, chunk: Chunk): void {
  for (let i = 0; i < chunk.count; i++) store.settle(lane, chunk.firstSeq + i)
}

/** Appends `total` messages in groups, waiting only while two groups are under way; returns when all are durable and settled. */
async function pump(store: Store, targets: LaneTarget[][], total: number): Promise<void> {
  let next = 0
  let underWay = 0
  let resume: (() => void) | null = null
  for (let sent = 0; sent < total; ) {
    for (let i = 0; i < group && sent < total; i++, sent++) {
      const message = Buffer.allocUnsafe(bytes)
      store.append(message, targets[next]!)
      next = next + 1 === targets.length ? 0 : next + 1
    }
    underWay++
    void store.commit().then(() => {
      underWay--
      resume?.()
    })
    while (underWay >= 2) {
      await new Promise<void>((resolve) => {
        resume = resolve
      })
    }
    await new Promise((resolve) => setImmediate(resolve))
  }
  await store.commit()
  await store.commit()
}

for (const [name, scenario] of Object.entries(scenarios)) {
  if (positionals.length === 0 || positionals.includes(name)) await run(name, scenario)
}
