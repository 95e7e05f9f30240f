/** The same load said differently: WebSocket, TLS, MQTT 5. Each is also shown as a share of the plain one. */
import { flood, type LoadFlags, type Scenario, traffic } from '../scenario.ts'

const v5: LoadFlags = { version: 5 }
const withProperties: LoadFlags = { version: 5, 'user-properties': 3 }

export const variants: readonly Scenario[] = [
  {
    name: 'ws-p2p-qos0',
    title: '1 → 1 over WebSocket, QoS 0',
    metrics: traffic,
    load: flood(1, 1, 0, { transport: 'websocket' }),
    baseline: 'p2p-qos0',
  },
  {
    name: 'tls-p2p-qos0',
    title: '1 → 1 over TLS, QoS 0',
    metrics: traffic,
    load: flood(1, 1, 0, { transport: 'tls' }),
    baseline: 'p2p-qos0',
  },
  {
    name: 'v5-p2p-qos0',
    title: '1 → 1, QoS 0, MQTT 5',
    metrics: traffic,
    load: flood(1, 1, 0, v5),
    baseline: 'p2p-qos0',
  },
  {
    name: 'v5-p2p-qos0-3props',
    title: '1 → 1, QoS 0, MQTT 5, three User Properties',
    metrics: traffic,
    load: flood(1, 1, 0, withProperties),
    baseline: 'p2p-qos0',
  },
  {
    name: 'v5-p2p-qos0-256b-3props',
    title: '1 → 1, 256 B, QoS 0, MQTT 5, three User Properties',
    metrics: traffic,
    load: flood(1, 1, 0, { ...withProperties, payload: 256 }),
    baseline: 'p2p-qos0-256b',
  },
  {
    name: 'v5-10to10-qos1',
    title: '10 → 10, QoS 1, MQTT 5',
    metrics: traffic,
    load: flood(10, 10, 1, v5),
    baseline: '10to10-qos1',
  },
  {
    name: 'v5-10to10-qos1-3props',
    title: '10 → 10, QoS 1, MQTT 5, three User Properties',
    metrics: traffic,
    load: flood(10, 10, 1, withProperties),
    baseline: '10to10-qos1',
  },
]
