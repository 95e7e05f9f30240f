/** Work queues in Prometheus' words: what is in them, how fast it moves, and what follows from that. */
import { Counter, Gauge, type Registry } from 'prom-client'

/** One queue at the moment of a scrape. */
export interface QueueSample {
  name: string
  ready: number
  leased: number
  delayed: number
  bytes: number
  /** Outside, for workers that read Redis Streams; undefined: the queue has no door. */
  door?: { lying: number; taken: number } | undefined
  /** Since the process started; absent: not counted. */
  counters?: {
    delivered: number
    acked: number
    failed: number
    expired: number
    dropped: number
  }
  /** Measured, and forecast: src/queue/forecast.ts. Infinity: never, or without end; absent: not measured. */
  outlook?: {
    writeRate: number
    serviceRate: number
    serviceSeconds: number
    workers: number
    congestion: number
    deltaSeconds: number
    capacityPerWorker: number
    capacity: number
    utilisation: number
    waitSeconds: number
    drainSeconds: number
    fullSeconds: number
    workersNeeded: number
  }
}

const gauges: readonly (readonly [keyof NonNullable<QueueSample['outlook']>, string, string])[] = [
  ['writeRate', 'write_rate', 'W: messages that come, per second.'],
  ['serviceRate', 'service_rate', 'R: messages that are done, per second.'],
  ['serviceSeconds', 'service_seconds', 'D: time a worker takes for one message.'],
  ['workers', 'workers', 'G: workers.'],
  ['congestion', 'congestion', 'C = W / R: above 1 the queue grows.'],
  ['deltaSeconds', 'delta', 'Δt = C·D / W, as the founding papers state it: compares queues.'],
  ['capacityPerWorker', 'worker_capacity_rate', 'P = 1 / D: messages one worker can do, per second.'],
  ['capacity', 'capacity_rate', 'P_c = G·P: messages all workers can do, per second.'],
  ['utilisation', 'utilisation', 'Share of their time workers are busy.'],
  ['waitSeconds', 'wait_seconds', 'Mean time a message waits for a worker (Erlang C).'],
  ['drainSeconds', 'drain_seconds', 'Until what waits now is done.'],
  ['fullSeconds', 'full_seconds', 'Until the queue is full.'],
  ['workersNeeded', 'workers_needed', 'Workers for a mean wait of one second.'],
]

const counters: readonly (readonly [keyof NonNullable<QueueSample['counters']>, string])[] = [
  ['delivered', 'Messages handed to workers.'],
  ['acked', 'Messages that are done.'],
  ['failed', 'Attempts that failed.'],
  ['expired', 'Messages given up because their time was over.'],
  ['dropped', 'Messages given up because their queue was full.'],
]

/** @param sample read at each scrape */
export function queueMetrics(registry: Registry, sample: () => Iterable<QueueSample>): void {
  let queues: QueueSample[] = []
  const registers = [registry]
  new Gauge({
    name: 'sluicemq_queue_messages',
    help: 'Messages in a work queue by state.',
    labelNames: ['queue', 'state'],
    registers,
    collect() {
      // The first of them: it takes the sample for the others.
      queues = [...sample()]
      this.reset()
      for (const { name, ready, leased, delayed } of queues) {
        this.set({ queue: name, state: 'ready' }, ready)
        this.set({ queue: name, state: 'leased' }, leased)
        this.set({ queue: name, state: 'delayed' }, delayed)
      }
    },
  })
  gauge(
    registry,
    'bytes',
    'Message bytes in a work queue.',
    ({ bytes }) => bytes,
    () => queues,
  )
  new Gauge({
    name: 'sluicemq_queue_redis_messages',
    help: 'Messages in the stream for workers that read Redis, by state.',
    labelNames: ['queue', 'state'],
    registers,
    collect() {
      this.reset()
      for (const { name: queue, door } of queues) {
        if (door === undefined) continue
        this.set({ queue, state: 'waiting' }, door.lying)
        this.set({ queue, state: 'taken' }, door.taken)
      }
    },
  })
  for (const [key, name, help] of gauges)
    gauge(
      registry,
      name,
      help,
      ({ outlook }) => outlook?.[key],
      () => queues,
    )
  for (const [key, help] of counters) {
    new Counter({
      name: `sluicemq_queue_${key}_total`,
      help,
      labelNames: ['queue'],
      registers,
      collect() {
        this.reset()
        for (const { name: queue, counters } of queues) if (counters !== undefined) this.inc({ queue }, counters[key])
      },
    })
  }
}

function gauge(
  registry: Registry,
  name: string,
  help: string,
  value: (queue: QueueSample) => number | undefined,
  queues: () => readonly QueueSample[],
): void {
  new Gauge({
    name: `sluicemq_queue_${name}`,
    help,
    labelNames: ['queue'],
    registers: [registry],
    collect() {
      this.reset()
      for (const queue of queues()) {
        const current = value(queue)
        if (current !== undefined) this.set({ queue: queue.name }, current)
      }
    },
  })
}
