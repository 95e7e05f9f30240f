import type { Core } from '../connection/core.ts'
import type { Outlook } from '../queue/control.ts'
import type { WorkQueue } from '../queue/queue.ts'
import type { Queues } from '../queue/queues.ts'
import type { Sample } from '../telemetry/metrics.ts'
import type { QueueSample } from '../telemetry/queue-metrics.ts'

/** What the broker knows about itself at the moment of a scrape. */
export function sample(core: Core, queues: Queues): Sample {
  const { sessions, subscriptions, retained, counters, store } = core
  const sum = (counts: readonly number[]): number => counts.reduce((a, b) => a + b, 0)
  return {
    connections: sessions.online,
    sessions: sessions.size,
    subscriptions: subscriptions.size,
    retainedMessages: retained.size,
    messagesReceived: sum(counters.published),
    messagesSent: sum(counters.delivered),
    bytesReceived: counters.bytesReceived,
    bytesSent: counters.bytesSent,
    dropped: counters.dropped,
    unsentBytes: core.memory.heldBytes,
    memoryLevel: core.memory.level,
    storeRoom: { level: core.storeRoom.level, ...core.storeRoom.facts },
    store: { ...store.stats(), pendingBytes: store.pendingBytes },
    queues: [...queues].map((queue) => ({
      ...queueSample(queue, queues.control.forecast(queue.name)),
      door: queues.doorOf(queue.name),
    })),
  }
}

function queueSample(queue: WorkQueue, { measured, forecast }: Outlook): QueueSample {
  const { name, ready, leased, delayed, waitingBytes, counters } = queue
  return { name, ready, leased, delayed, bytes: waitingBytes, counters, outlook: { ...measured, ...forecast } }
}
