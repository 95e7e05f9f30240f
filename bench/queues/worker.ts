/**
 * The one worker process of the queue benchmark: takes messages by BullMQ or by our SDK over HTTP or MQTT, does nothing with them but look
 * at when they were made, and prints one JSON line when it has had as many as it was told.
 *
 *     worker.js bullmq|http|mqtt URL QUEUE COUNT
 */
import { Worker as BullWorker } from 'bullmq'
import { Redis } from 'ioredis'
import { createWorker } from '../../src/worker/index.ts'

const [kind = '', url = '', queue = '', countText = ''] = process.argv.slice(2)
const wanted = Number(countText)

/** Microseconds from making to taking; both processes read the machine's monotonic clock. */
const latencies = new Float64Array(wanted)
let taken = 0
const seen = new Set<string>()

function take(id: string, payload: string): void {
  const madeAt = Number(payload.slice(0, payload.indexOf(' ')))
  // A message that comes twice is worked twice; it counts once.
  if (seen.has(id)) return
  seen.add(id)
  if (taken < wanted) latencies[taken] = Number(process.hrtime.bigint()) / 1000 - madeAt
  taken++
  if (taken === wanted) report()
}

function report(): void {
  const sorted = latencies.sort()
  const at = (share: number): number => sorted[Math.min(wanted - 1, Math.floor(share * wanted))]!
  const { user, system } = process.cpuUsage()
  const figures = { taken, p50: at(0.5), p99: at(0.99), cpuMicroseconds: user + system }
  process.stdout.write(`${JSON.stringify(figures)}\n`)
}

const BATCH = 100

if (kind === 'bullmq') {
  const connection = new Redis(url, { maxRetriesPerRequest: null })
  // More at a time (400, 1000) is no faster.
  const worker = new BullWorker(queue, async (job) => take(job.id!, job.data.payload as string), {
    connection,
    concurrency: BATCH,
  })
  await worker.waitUntilReady()
} else {
  // Up to four pulls of a hundred are on their way while others are being answered for.
  createWorker({
    url,
    queue,
    concurrency: BATCH,
    batch: 4 * BATCH,
    handler: (message) => take(message.id, message.text()),
  })
}
process.stdout.write('ready\n')
