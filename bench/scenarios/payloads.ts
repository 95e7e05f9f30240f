/** Larger payloads. Up to 4 KB messages count; at 64 KB the figure is bytes per second. */
import { cpuPerMessage, received, receivedBytes } from '../metrics.ts'
import { flood, type Scenario, traffic } from '../scenario.ts'

const KB = 1024
const bytes = [receivedBytes, received, cpuPerMessage]

export const payloads: readonly Scenario[] = [
  { name: 'p2p-qos0-256b', title: '1 → 1, 256 B, QoS 0', metrics: traffic, load: flood(1, 1, 0, { payload: 256 }) },
  { name: 'p2p-qos0-4kb', title: '1 → 1, 4 KB, QoS 0', metrics: traffic, load: flood(1, 1, 0, { payload: 4 * KB }) },
  { name: 'p2p-qos0-64kb', title: '1 → 1, 64 KB, QoS 0', metrics: bytes, load: flood(1, 1, 0, { payload: 64 * KB }) },
  {
    name: '10to10-qos1-256b',
    title: '10 → 10, 256 B, QoS 1, window 100',
    metrics: traffic,
    load: flood(10, 10, 1, { payload: 256 }),
  },
  {
    name: '10to10-qos1-4kb',
    title: '10 → 10, 4 KB, QoS 1, window 100',
    metrics: traffic,
    load: flood(10, 10, 1, { payload: 4 * KB }),
  },
  {
    name: '10to10-qos1-64kb',
    title: '10 → 10, 64 KB, QoS 1, window 10',
    metrics: bytes,
    load: flood(10, 10, 1, { payload: 64 * KB, window: 10 }),
  },
]
