/**
 * Adding and processing messages with one worker process, durably, side by side: BullMQ on Redis with `appendfsync
 * always`, our queue by HTTP in batches of 100, and by MQTT (`$queue/…`). The three take turns. Prints one JSON line.
 *
 *     main.js [ROUNDS] [SCALE]
 */
import { type ChildProcess, spawn } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { setTimeout as delay } from 'node:timers/promises'
import { fileURLToPath } from 'node:url'
import { BrokerProcess } from '../../test/support/broker-process.ts'
import { RedisProcess } from '../../test/support/redis-process.ts'
import { bullmqProducer, httpProducer, mqttProducer, type Producer } from './producer.ts'

type Kind = 'bullmq' | 'http' | 'mqtt'

interface Figures {
  taken: number
  p50: number
  p99: number
  cpuMicroseconds: number
}

const [roundsText = '3', scaleText = '1'] = process.argv.slice(2)
const rounds = Number(roundsText)
const scale = Number(scaleText)

/** So many that each takes a few seconds. */
const counts: Record<Kind, number> = { bullmq: 10_000, http: 100_000, mqtt: 100_000 }
const RATE = 1000
const RATE_SECONDS = 10

let queues = 0

async function startWorker(kind: Kind, url: string, queue: string, count: number) {
  const file = fileURLToPath(new URL('worker.js', import.meta.url))
  const child = spawn(process.execPath, [file, kind, url, queue, String(count)], {
    stdio: ['ignore', 'pipe', 'inherit'],
  })
  const lines: string[] = []
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    lines.push(...text.split('\n').filter(Boolean))
    child.emit('line')
  })
  const line = async (n: number): Promise<string> => {
    while (lines.length <= n) {
      if (child.exitCode !== null) throw new Error(`the ${kind} worker ended with ${child.exitCode}`)
      await Promise.race([once(child, 'line'), once(child, 'exit')])
    }
    return lines[n]!
  }
  await line(0)
  return { child, figures: async () => JSON.parse(await line(1)) as Figures }
}

async function ended(child: ChildProcess): Promise<void> {
  child.kill('SIGKILL')
  if (child.exitCode === null && child.signalCode === null) await once(child, 'exit')
}

interface Place {
  readonly url: string
  readonly queue: string
  readonly producer: Producer
}

async function place(kind: Kind, broker: BrokerProcess, redis: RedisProcess): Promise<Place> {
  const number = ++queues
  if (kind === 'bullmq') {
    const queue = `q${number}`
    return { url: redis.url, queue, producer: bullmqProducer(redis.url, queue) }
  }
  const queue = `work${number % 100}`
  const mqttUrl = `mqtt://${broker.mqtt.host}:${broker.mqtt.port}`
  if (kind === 'http') return { url: broker.http, queue, producer: httpProducer(broker.http, queue) }
  return {
    url: mqttUrl,
    queue,
    producer: await mqttProducer(broker.mqtt.host, broker.mqtt.port, `work/${number % 100}`),
  }
}

/** CPU time of a process so far, in microseconds. */
function cpuOf(pid: number): number {
  const fields = readFileSync(`/proc/${pid}/stat`, 'utf8')
    .replace(/^.*\) /, '')
    .split(' ')
  return (Number(fields[11]) + Number(fields[12])) * 10_000
}

/** CPU microseconds a message of the server, the worker and the producer: what stays the same on a busy machine. */
interface Cost {
  server: number
  worker: number
  producer: number
}

/** Messages a second, from the first that is added to the last that was processed. */
async function throughput(
  kind: Kind,
  broker: BrokerProcess,
  redis: RedisProcess,
): Promise<{ rate: number; cost: Cost }> {
  const count = Math.round(counts[kind] * scale)
  const { url, queue, producer } = await place(kind, broker, redis)
  const worker = await startWorker(kind, url, queue, count)
  const server = kind === 'bullmq' ? redis.pid : broker.pid
  const cpuBefore = [cpuOf(server), cpuOf(process.pid), cpuOf(worker.child.pid!)] as const
  const start = process.hrtime.bigint()
  await producer.put(count)
  await worker.figures()
  const seconds = Number(process.hrtime.bigint() - start) / 1e9
  const cost = {
    server: (cpuOf(server) - cpuBefore[0]) / count,
    producer: (cpuOf(process.pid) - cpuBefore[1]) / count,
    worker: (cpuOf(worker.child.pid!) - cpuBefore[2]) / count,
  }
  await producer.close()
  await ended(worker.child)
  return { rate: count / seconds, cost }
}

/** From PUBLISH to the worker at a steady rate. */
async function latency(broker: BrokerProcess, redis: RedisProcess): Promise<Figures> {
  const count = RATE * RATE_SECONDS
  const { url, queue, producer } = await place('mqtt', broker, redis)
  const worker = await startWorker('mqtt', url, queue, count)
  const start = performance.now()
  const under: Promise<unknown>[] = []
  for (let sent = 0; sent < count; ) {
    const due = Math.min(count, Math.floor(((performance.now() - start) / 1000) * RATE))
    for (; sent < due; sent++) under.push(producer.one())
    await delay(1)
  }
  await Promise.all(under)
  const figures = await worker.figures()
  await producer.close()
  await ended(worker.child)
  return figures
}

function median(values: number[]): number {
  const sorted = values.toSorted((a, b) => a - b)
  return sorted[sorted.length >> 1]!
}

const bridge = Array.from({ length: 100 }, (_, n) => ({ topicFilter: `work/${n}`, queue: `work${n}` }))
const broker = await BrokerProcess.start({ config: { bridge } })
const redis = await RedisProcess.start({ appendfsync: 'always' })
try {
  const rates: Record<Kind, number[]> = { bullmq: [], http: [], mqtt: [] }
  for (let round = 0; round < rounds; round++) {
    for (const kind of ['bullmq', 'http', 'mqtt'] as const) {
      const { rate, cost } = await throughput(kind, broker, redis)
      rates[kind].push(rate)
      const costs = Object.entries(cost).map(([who, microseconds]) => `${who} ${microseconds.toFixed(1)} µs`)
      process.stderr.write(`${kind} ${Math.round(rate)}/s, CPU a message: ${costs.join(', ')}\n`)
    }
  }
  const { p50, p99 } = await latency(broker, redis)
  const [bullmq, http, mqtt] = [median(rates.bullmq), median(rates.http), median(rates.mqtt)]
  const figures = { bullmq, http, mqtt, httpRatio: http / bullmq, mqttRatio: mqtt / bullmq, p50, p99 }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
} finally {
  await broker.stop()
  await redis.stop()
}
