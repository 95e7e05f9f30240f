/** Open loop: messages leave by a clock, and the time each one takes is the figure. */
import { latencies, pubackLatencies } from '../metrics.ts'
import { flood, type Scenario } from '../scenario.ts'

export const latency: readonly Scenario[] = [
  {
    name: 'rate-20k',
    title: '1 → 1, QoS 0 at 20,000 messages/s: latency',
    metrics: latencies,
    load: flood(1, 1, 0, { mode: 'rate', rate: 20_000 }),
  },
  {
    name: 'rate-20k-qos0',
    title: '10 → 10, QoS 0 at 20,000 messages/s: latency',
    metrics: latencies,
    load: flood(10, 10, 0, { mode: 'rate', rate: 20_000 }),
  },
  {
    name: 'rate-20k-qos1',
    title: '10 → 10, QoS 1 at 20,000 messages/s: latency',
    metrics: latencies,
    load: flood(10, 10, 1, { mode: 'rate', rate: 20_000 }),
  },
  {
    name: 'puback-10k',
    title: '10 publishers, QoS 1 into a durable work queue at 10,000 messages/s: time to PUBACK',
    metrics: pubackLatencies,
    // A window that is never the limit unless the broker stalls for half a second (and then the wait is counted).
    load: flood(10, 0, 1, { mode: 'rate', rate: 10_000, window: 500 }),
    queue: { name: 'bench' },
    asksDisk: true,
  },
]
