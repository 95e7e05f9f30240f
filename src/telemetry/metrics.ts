/**
 * Metrics in Prometheus' words. What happens per message is counted by its owner in plain numbers and read when
 * somebody scrapes; what happens now and then is counted from the event map.
 */
import { Counter, Gauge, Registry } from 'prom-client'
import type { DropCause, Events } from './events.ts'
import { type QueueSample, queueMetrics } from './queue-metrics.ts'

/** What the broker knows about itself at the moment of a scrape. Counters never go down while the process lives. */
export interface Sample {
  connections: number
  sessions: number
  subscriptions: number
  retainedMessages: number
  /** PUBLISH packets and bytes since the start, from clients and to clients. */
  messagesReceived: number
  messagesSent: number
  bytesReceived: number
  bytesSent: number
  /** Messages not delivered, by cause. */
  dropped: Readonly<Record<DropCause, number>>
  /** Bytes that wait in memory for connections to take them. */
  unsentBytes: number
  /** What gives way because memory is short: 0 nothing, to 4. */
  memoryLevel: number
  store: { commits: number; lastCommitMs: number; pendingBytes: number; bytesOnDisk: number }
  /** Level 0: enough, 1: getting less, 2: short. `diskFreeBytes` null: unknown. */
  storeRoom: { level: number; usedBytes: number; diskFreeBytes: number | null }
  queues: Iterable<QueueSample>
}

/** A registry whose values come from `events` and, at each scrape, from `sample`. */
export function createMetrics(events: Events, sample: () => Sample): Registry {
  const registry = new Registry()
  sampledMetrics(registry, sample)
  countedEvents(registry, events)
  processMetrics(registry)
  return registry
}

/** Read at each scrape: [name, help, value]. A name that ends in `_total` is a counter. */
const sampled: readonly (readonly [string, string, (sample: Sample) => number])[] = [
  ['sluicemq_connections', 'Network connections of clients.', (s) => s.connections],
  ['sluicemq_sessions', 'Sessions, with or without a connection.', (s) => s.sessions],
  ['sluicemq_subscriptions', 'Subscriptions of all sessions.', (s) => s.subscriptions],
  ['sluicemq_retained_messages', 'Retained messages.', (s) => s.retainedMessages],
  ['sluicemq_messages_received_total', 'PUBLISH packets from clients.', (s) => s.messagesReceived],
  ['sluicemq_messages_sent_total', 'PUBLISH packets to clients.', (s) => s.messagesSent],
  ['sluicemq_bytes_received_total', 'Bytes from clients.', (s) => s.bytesReceived],
  ['sluicemq_bytes_sent_total', 'Bytes to clients.', (s) => s.bytesSent],
  ['sluicemq_unsent_bytes', 'Memory taken by what waits for clients, in bytes.', (s) => s.unsentBytes],
  ['sluicemq_memory_level', 'What gives way because memory is short: 0 nothing, to 4.', (s) => s.memoryLevel],
  ['sluicemq_store_commits_total', 'Groups of writes made durable.', (s) => s.store.commits],
  ['sluicemq_store_last_commit_seconds', 'Time the last group took to be durable.', (s) => s.store.lastCommitMs / 1000],
  ['sluicemq_store_pending_bytes', 'Message bytes on their way to the disk.', (s) => s.store.pendingBytes],
  ['sluicemq_store_bytes', 'Size of the store on disk.', (s) => s.store.bytesOnDisk],
  ['sluicemq_store_used_bytes', 'Bytes of it that hold something.', (s) => s.storeRoom.usedBytes],
  ['sluicemq_store_room_level', 'Room of the store: 0 enough, 1 getting less, 2 short.', (s) => s.storeRoom.level],
  [
    'sluicemq_disk_free_bytes',
    'Free bytes of the disk of the store; -1: unknown.',
    (s) => s.storeRoom.diskFreeBytes ?? -1,
  ],
]

function sampledMetrics(registry: Registry, sample: () => Sample): void {
  // One sample serves all metrics of a scrape; prom-client collects them in the order of their registration.
  let current: Sample | null = null
  const first = sampled[0]![0]
  for (const [name, help, value] of sampled) {
    const options = { name, help, registers: [registry] }
    const read = (): number => {
      if (current === null || name === first) current = sample()
      return value(current)
    }
    if (name.endsWith('_total')) {
      new Counter({
        ...options,
        collect() {
          this.reset()
          this.inc(read())
        },
      })
    } else {
      new Gauge({
        ...options,
        collect() {
          this.set(read())
        },
      })
    }
  }
  new Counter({
    name: 'sluicemq_messages_dropped_total',
    help: 'Messages not delivered, by cause.',
    labelNames: ['cause'],
    registers: [registry],
    collect() {
      this.reset()
      for (const [cause, count] of Object.entries((current ?? sample()).dropped)) this.inc({ cause }, count)
    },
  })
  queueMetrics(registry, () => (current ?? sample()).queues)
}

function countedEvents(registry: Registry, events: Events): void {
  const counter = <L extends string>(name: string, help: string, ...labelNames: L[]): Counter<L> =>
    new Counter({ name: `sluicemq_${name}_total`, help, labelNames, registers: [registry] })

  const connects = counter('connects', 'Accepted CONNECT packets.', 'version', 'protocol')
  events.on('clientConnected', ({ version, protocol }) => connects.inc({ version, protocol }))
  const disconnects = counter('disconnects', 'Ended client connections; error none: as the client wished.', 'error')
  events.on('clientDisconnected', ({ error }) => disconnects.inc({ error: error ?? 'none' }))
  const refused = counter('connections_refused', 'Connections that never became a client.', 'error')
  events.on('connectionRefused', ({ error }) => refused.inc({ error: error ?? 'none' }))
  const takeovers = counter('sessions_taken_over', 'Connections replaced by a newer one of the same client.')
  events.on('sessionTakenOver', () => takeovers.inc())
  const slow = counter('slow_readers', 'Times a client stopped reading.', 'disconnected')
  events.on('slowReader', ({ disconnected }) => slow.inc({ disconnected: String(disconnected) }))
  const wills = counter('wills_published', 'Will messages published.')
  events.on('willPublished', () => wills.inc())
  const failures = counter('store_commit_failures', 'Groups of writes that did not reach the disk.')
  events.on('commitFailed', () => failures.inc())
  const damaged = counter('store_damaged_records', 'Records of the store that are not what was written.')
  events.on('storeDamaged', () => damaged.inc())
  const expired = counter('queue_leases_expired', 'Leases that ran out before an ack.', 'queue')
  events.on('leaseExpired', ({ queue, count }) => expired.inc({ queue }, count))
  const dead = counter('queue_dead_letters', 'Messages that used up their attempts.', 'queue')
  events.on('deadLettered', ({ queue, count }) => dead.inc({ queue }, count))
  const internal = counter('internal_errors', 'Failures of our own that one connection or request paid for.')
  events.on('internalError', () => internal.inc())
}

/** The two facts about the process every dashboard asks for, under the names Prometheus' clients agree on. */
function processMetrics(registry: Registry): void {
  new Gauge({
    name: 'process_resident_memory_bytes',
    help: 'Resident memory of the process.',
    registers: [registry],
    collect() {
      this.set(process.memoryUsage.rss())
    },
  })
  new Counter({
    name: 'process_cpu_seconds_total',
    help: 'CPU time of the process, user and system.',
    registers: [registry],
    collect() {
      const { user, system } = process.cpuUsage()
      this.reset()
      this.inc((user + system) / 1e6)
    },
  })
}
