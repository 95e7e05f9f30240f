/** Every scenario of the benchmark, in the order of the report. */
import {
  connects,
  cpuPerConnect,
  cpuPerMessage,
  latencies,
  type Metric,
  memoryPerConnection,
  received,
  receivedOrAcknowledged,
} from './metrics.ts'
import type { Need } from './peers/peer.ts'

/** Options of `load.js` by name, as its command line takes them; `true` for a flag. */
export type LoadFlags = Readonly<Record<string, number | string | true>>

export interface Scenario {
  readonly name: string
  /** One line for the report. */
  readonly title: string
  /** The first is the one the chart draws and the targets look at. */
  readonly metrics: readonly Metric[]
  readonly load: LoadFlags
  /**
   * Messages go into this work queue of a broker that has queues, and nobody subscribes. Brokers without queues are
   * given `substitute` instead of `load`.
   */
  readonly queue?: { readonly name: string; readonly substitute: LoadFlags }
  /** The ratio of the first metric this project promises, by peer. */
  readonly targets?: Readonly<Record<string, number>>
}

const traffic: readonly Metric[] = [received, cpuPerMessage]

function flood(publishers: number, subscribers: number, qos: 0 | 1 | 2, more: LoadFlags = {}): LoadFlags {
  return { publishers, subscribers, qos, payload: 16, window: 100, ...more }
}

export const scenarios: readonly Scenario[] = [
  {
    name: 'p2p-qos0',
    title: '1 publisher → 1 subscriber, QoS 0',
    metrics: traffic,
    load: flood(1, 1, 0),
    targets: { mosquitto: 8 },
  },
  { name: 'p2p-qos1', title: '1 → 1, QoS 1, window 100', metrics: traffic, load: flood(1, 1, 1) },
  { name: '10to10-qos0', title: '10 → 10 on ten topics, QoS 0', metrics: traffic, load: flood(10, 10, 0) },
  {
    name: '10to10-qos1',
    title: '10 → 10 on ten topics, QoS 1, window 100, clean sessions',
    metrics: traffic,
    load: flood(10, 10, 1),
    targets: { mosquitto: 8 },
  },
  {
    name: 'mixed-10to10-qos0',
    title: '10 → 10, each publisher using 16 topics in turn, QoS 0',
    metrics: traffic,
    load: flood(10, 10, 0, { topics: 16 }),
  },
  {
    name: 'mixed-10to10-qos1',
    title: '10 → 10, each publisher using 16 topics in turn, QoS 1, window 100',
    metrics: traffic,
    load: flood(10, 10, 1, { topics: 16 }),
  },
  { name: '10to10-qos2', title: '10 → 10, QoS 2, window 100', metrics: traffic, load: flood(10, 10, 2) },
  { name: 'fanin-10to1-qos0', title: '10 → 1 by wildcard, QoS 0', metrics: traffic, load: flood(10, 1, 0) },
  { name: 'fanin-10to1-qos1', title: '10 → 1 by wildcard, QoS 1', metrics: traffic, load: flood(10, 1, 1) },
  {
    name: 'fanout-1to50-qos0',
    title: '1 → 50 on one topic, QoS 0',
    metrics: traffic,
    load: flood(1, 50, 0, { 'fan-out': true }),
  },
  {
    name: 'fanout-1to50-qos1',
    title: '1 → 50 on one topic, QoS 1',
    metrics: traffic,
    load: flood(1, 50, 1, { 'fan-out': true }),
  },
  {
    name: 'persistent-10to10-qos1',
    title: '10 → 10, QoS 1, persistent sessions online, window 20 (durable in SluiceMQ only)',
    metrics: traffic,
    load: flood(10, 10, 1, { window: 20, 'keep-session': true }),
  },
  {
    name: 'queue-qos1',
    title: '10 publishers, QoS 1, window 100, into a durable work queue; the others: 10 → 10, QoS 1, nothing durable',
    metrics: [receivedOrAcknowledged, cpuPerMessage],
    load: flood(10, 0, 1),
    queue: { name: 'bench', substitute: flood(10, 10, 1) },
    targets: { mosquitto: 3 },
  },
  {
    name: 'ws-p2p-qos0',
    title: '1 → 1 over WebSocket, QoS 0',
    metrics: traffic,
    load: flood(1, 1, 0, { websocket: true }),
  },
  { name: 'v5-10to10-qos1', title: '10 → 10, QoS 1, MQTT 5', metrics: traffic, load: flood(10, 10, 1, { version: 5 }) },
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
    name: 'connect-storm',
    title: '5,000 clients connect, 50 at once',
    metrics: [connects, cpuPerConnect],
    load: { mode: 'hold', connections: 5_000, 'connects-at-once': 50, seconds: 0.1 },
  },
  {
    name: 'idle-memory',
    title: '10,000 idle connections, after 2 s',
    metrics: [memoryPerConnection],
    load: { mode: 'hold', connections: 10_000, 'connects-at-once': 50, seconds: 2 },
  },
]

/** What a broker must be able to do to take part. */
export function needOf(scenario: Scenario): Need {
  const { load } = scenario
  return {
    qos: (load['qos'] ?? 0) as Need['qos'],
    version: (load['version'] ?? 4) as Need['version'],
    webSocket: load['websocket'] === true,
  }
}
