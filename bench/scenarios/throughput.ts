/** As much as goes through: 16-byte payloads, MQTT 3.1.1 over TCP. */
import { cpuPerMessage, receivedOrAcknowledged } from '../metrics.ts'
import { flood, type Scenario, traffic } from '../scenario.ts'

export const throughput: readonly Scenario[] = [
  { name: 'p2p-qos0', title: '1 publisher → 1 subscriber, QoS 0', metrics: traffic, load: flood(1, 1, 0) },
  { name: 'p2p-qos1', title: '1 → 1, QoS 1, window 100', metrics: traffic, load: flood(1, 1, 1) },
  { name: '10to10-qos0', title: '10 → 10 on ten topics, QoS 0', metrics: traffic, load: flood(10, 10, 0) },
  {
    name: '10to10-qos1',
    title: '10 → 10 on ten topics, QoS 1, window 100, clean sessions',
    metrics: traffic,
    load: flood(10, 10, 1),
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
    name: 'shared-1to10-qos1',
    title: '1 → 10 workers of one shared subscription, QoS 1, window 100, MQTT 5',
    metrics: traffic,
    load: flood(1, 10, 1, { 'fan-out': true, share: 'g', version: 5 }),
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
  },
]
