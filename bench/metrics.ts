/** The figures the tables show, each drawn from one load result. */
import type { HoldResult, LoadResult, TrafficResult } from './load/result.ts'

export interface Metric {
  readonly name: string
  /** Unit, as printed. */
  readonly unit: string
  readonly better: 'higher' | 'lower'
  /** Null: this run says nothing about it. */
  of(result: LoadResult): number | null
}

function ofTraffic(read: (result: TrafficResult) => number | null | undefined): Metric['of'] {
  return (result) => (result.mode === 'flood' || result.mode === 'rate' ? (read(result) ?? null) : null)
}

function ofHold(read: (result: HoldResult) => number | null | undefined): Metric['of'] {
  return (result) => (result.mode === 'hold' ? (read(result) ?? null) : null)
}

function ofProgram(figure: string): Metric['of'] {
  return (result) => (result.mode === 'program' ? (result.figures[figure] ?? null) : null)
}

/** Messages all subscribers together received per second. */
export const received: Metric = {
  name: 'received',
  unit: '/s',
  better: 'higher',
  of: ofTraffic((result) => result.receivedPerSecond),
}

/** Payload bytes all subscribers together received per second, in 10⁶. */
export const receivedBytes: Metric = {
  name: 'payload received',
  unit: 'MB/s',
  better: 'higher',
  of: ofTraffic((result) => (result.receivedPerSecond * result.payloadBytes) / 1e6),
}

/** Messages per second received; for a load without subscribers, messages acknowledged. */
export const receivedOrAcknowledged: Metric = {
  name: 'acknowledged into a queue, or received',
  unit: '/s',
  better: 'higher',
  of: ofTraffic((result) => (result.totals.received > 0 ? result.receivedPerSecond : result.acknowledgedPerSecond)),
}

/** CPU the broker spent per message received (acknowledged when nobody receives). */
export const cpuPerMessage: Metric = {
  name: 'broker CPU per message',
  unit: 'µs',
  better: 'lower',
  of: ofTraffic((result) => result.broker?.cpuMicrosecondsPerMessage),
}

/** The same for the Redis server beside it. */
export const redisCpuPerMessage: Metric = {
  name: 'Redis CPU per message',
  unit: 'µs',
  better: 'lower',
  of: ofTraffic((result) => result.redis?.cpuMicrosecondsPerMessage),
}

/** Messages received for each second of CPU that broker and Redis spent together: what publishing costs, turned over. */
export const perCpuSecond: Metric = {
  name: 'messages per CPU second of broker and Redis',
  unit: '/s',
  better: 'higher',
  of: ofTraffic(({ broker, redis }) =>
    broker && redis ? 1e6 / (broker.cpuMicrosecondsPerMessage + redis.cpuMicrosecondsPerMessage) : null,
  ),
}

/** Messages per second that a session received of what had waited for it. */
export const drained: Metric = {
  name: 'drained',
  unit: '/s',
  better: 'higher',
  of: ofProgram('messagesPerSecond'),
}

function latency(name: string, key: 'p50' | 'p99' | 'p999'): Metric {
  return { name, unit: 'µs', better: 'lower', of: ofTraffic((result) => result.latencyMicroseconds?.[key]) }
}

function diskFlush(name: string, key: 'p50' | 'p99'): Metric {
  return { name, unit: 'µs', better: 'lower', of: ofTraffic((result) => result.diskFlushMicroseconds?.[key]) }
}

function connectLatency(name: string, key: 'p50' | 'p99'): Metric {
  return { name, unit: 'µs', better: 'lower', of: ofHold((result) => result.latencyMicroseconds?.[key]) }
}

/** From the moment a message was meant to leave the publisher to its arrival at the subscriber. */
export const latencies: readonly Metric[] = [
  latency('latency p99', 'p99'),
  latency('latency p50', 'p50'),
  latency('latency p99.9', 'p999'),
]

/** From the moment a message was meant to leave the publisher to its PUBACK. For loads without subscribers. */
export const pubackLatencies: readonly Metric[] = [
  latency('PUBACK p99', 'p99'),
  latency('PUBACK p50', 'p50'),
  latency('PUBACK p99.9', 'p999'),
  diskFlush('the disk alone, p99', 'p99'),
  diskFlush('the disk alone, p50', 'p50'),
]

/** From the moment a connection was due to its CONNACK. */
export const connectLatencies: readonly Metric[] = [
  connectLatency('CONNACK p99', 'p99'),
  connectLatency('CONNACK p50', 'p50'),
]

export const subscribes: Metric = {
  name: 'subscriptions taken',
  unit: '/s',
  better: 'higher',
  of: ofTraffic((result) => result.background?.subscribesPerSecond),
}

/** Resident memory, garbage included. */
export const memoryPerSubscription: Metric = {
  name: 'memory per subscription',
  unit: 'bytes',
  better: 'lower',
  of: ofTraffic((result) => result.background?.bytesPerSubscription),
}

/** In our own process, without broker or network: see topic-tree.ts. */
export const matchP99: Metric = { name: 'match p99', unit: 'µs', better: 'lower', of: ofProgram('matchP99') }
export const matchP50: Metric = { name: 'match p50', unit: 'µs', better: 'lower', of: ofProgram('matchP50') }
export const treeBytes: Metric = {
  name: 'tree and filters per subscription',
  unit: 'bytes',
  better: 'lower',
  of: ofProgram('bytesPerSubscription'),
}

export const connects: Metric = {
  name: 'connections accepted',
  unit: '/s',
  better: 'higher',
  of: ofHold((result) => result.connectionsPerSecond),
}

export const cpuPerConnect: Metric = {
  name: 'broker CPU per connection',
  unit: 'ms',
  better: 'lower',
  of: ofHold((result) => result.cpuMillisecondsPerConnection),
}

export const memoryPerConnection: Metric = {
  name: 'memory per idle connection',
  unit: 'bytes',
  better: 'lower',
  of: ofHold((result) => result.bytesPerConnection),
}

/** The middle of the values, the mean of the two in the middle when their number is even; null for none. */
export function median(values: readonly number[]): number | null {
  if (values.length === 0) return null
  const sorted = [...values].sort((a, b) => a - b)
  const middle = sorted.length >> 1
  return sorted.length % 2 === 1 ? sorted[middle]! : (sorted[middle - 1]! + sorted[middle]!) / 2
}

/** How many times better `ours` is than `theirs`: above 1 is better, whichever way the metric points. */
export function advantage(metric: Metric, ours: number, theirs: number): number | null {
  const ratio = metric.better === 'higher' ? ours / theirs : theirs / ours
  return Number.isFinite(ratio) ? ratio : null
}

function work(name: string, figure: string, unit: string, better: Metric['better']): Metric {
  return { name, unit, better, of: ofProgram(figure) }
}

/** Times the rate of BullMQ in the same run. */
export const workHttpRatio: Metric = work('HTTP ÷ BullMQ', 'httpRatio', '×', 'higher')
export const workMqttRatio: Metric = work('MQTT ÷ BullMQ', 'mqttRatio', '×', 'higher')
/** Messages per second added and processed. */
export const workByHttp: Metric = work('by HTTP', 'http', '/s', 'higher')
export const workByMqtt: Metric = work('by MQTT', 'mqtt', '/s', 'higher')
export const workByBullmq: Metric = work('by BullMQ', 'bullmq', '/s', 'higher')
/** From PUBLISH to the worker at 1,000 a second, over MQTT. */
export const workP99: Metric = work('PUBLISH to worker p99', 'p99', 'µs', 'lower')
export const workP50: Metric = work('PUBLISH to worker p50', 'p50', 'µs', 'lower')
