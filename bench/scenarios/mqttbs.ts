/**
 * The scenarios whose names users know from the Open MQTT Benchmark Suite, scaled to one machine that also carries the
 * clients: QoS 1, 16 B, Keep Alive 300 s, clean sessions, seconds instead of half an hour. Where a rate differs from the
 * suite's, the title says so.
 */
import { connectLatencies, latencies, memoryPerConnection } from '../metrics.ts'
import { flood, type LoadFlags, type Scenario } from '../scenario.ts'

const common: LoadFlags = { 'keep-alive': 300, 'connects-at-once': 50 }
const rate = (publishers: number, subscribers: number, perSecond: number, more: LoadFlags = {}): LoadFlags =>
  flood(publishers, subscribers, 1, { mode: 'rate', rate: perSecond, ...common, ...more })

export const mqttbs: readonly Scenario[] = [
  {
    name: 'conn-tcp-10K-100',
    title: '10,000 connections by the clock, here at 1,000/s instead of 100/s: time to CONNACK',
    metrics: [...connectLatencies, memoryPerConnection],
    load: { mode: 'hold', connections: 10_000, 'connect-rate': 1_000, seconds: 2, ...common },
  },
  {
    name: 'p2p-1K-1K-1K-1K',
    title: '1,000 → 1,000 on 1,000 topics, QoS 1, 1,000 messages/s: latency',
    metrics: latencies,
    load: rate(1_000, 1_000, 1_000),
  },
  {
    name: 'fanout-1-1K-1-1K',
    title: '1 → 1,000 on one topic, QoS 1, here 10,000 deliveries/s instead of 1,000/s: latency',
    metrics: latencies,
    load: rate(1, 1_000, 10, { 'fan-out': true }),
  },
  {
    name: 'sharedsub-1K-5-1K-1K',
    title: '1,000 publishers → 5 subscribers of one shared subscription, QoS 1, 1,000 messages/s, MQTT 5: latency',
    metrics: latencies,
    load: rate(1_000, 5, 1_000, { share: 'benchmark', version: 5 }),
  },
]
