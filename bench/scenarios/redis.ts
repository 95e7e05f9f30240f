/** Nodes that share a Redis, beside stock Aedes with mqemitter-redis and aedes-persistence-redis on the same server. */
import {
  cpuPerMessage,
  drained,
  type Metric,
  memoryPerSubscription,
  perCpuSecond,
  received,
  redisCpuPerMessage,
  subscribes,
} from '../metrics.ts'
import { flood, type LoadFlags, type RedisNeed, type Scenario } from '../scenario.ts'

const metrics: readonly Metric[] = [received, cpuPerMessage, redisCpuPerMessage]
const peers = ['sluicemq-redis', 'aedes-redis']
const persistent = flood(10, 10, 1, { window: 20, 'keep-session': true })
const oneNode = (appendfsync: RedisNeed['appendfsync']): RedisNeed => ({ appendfsync, nodes: 1 })
const twoNodes: RedisNeed = { appendfsync: 'no', nodes: 2 }

/** Each publisher uses 100 topics, so that what is matched is not one topic over and over. */
const besideFilters = (connections: number, each: number): LoadFlags =>
  flood(10, 10, 1, {
    topics: 100,
    'background-wildcards': true,
    'background-connections': connections,
    'background-subscriptions': each,
  })

export const redis: readonly Scenario[] = [
  {
    name: 'redis-persistent-qos1',
    title: '10 → 10, QoS 1, persistent sessions online, window 20, one node; Redis in memory',
    metrics,
    load: persistent,
    redis: oneNode('no'),
    peers,
  },
  {
    name: 'redis-persistent-qos1-fsync',
    title: 'the same with appendfsync always',
    metrics,
    load: persistent,
    redis: oneNode('always'),
    peers,
  },
  {
    name: 'redis-nodes-10to10-qos0',
    title: '10 → 10, QoS 0, publishers on one node, subscribers on the other',
    metrics,
    load: flood(10, 10, 0),
    redis: twoNodes,
    peers,
  },
  {
    name: 'redis-nodes-1to50-qos0',
    title: '1 → 50, QoS 0, the publisher on one node, subscribers on the other',
    metrics,
    load: flood(1, 50, 0, { 'fan-out': true }),
    redis: twoNodes,
    peers,
  },
  {
    name: 'redis-filters-10',
    title:
      '10 → 10 by `+` across nodes, QoS 1, 100 topics each, beside 10 wildcard filters of clients of the other node',
    metrics: [perCpuSecond, ...metrics],
    load: besideFilters(10, 1),
    redis: twoNodes,
    peers: ['sluicemq-redis'],
  },
  {
    name: 'redis-filters-100k',
    title: 'the same beside 100,000 wildcard filters; memory of both nodes together',
    metrics: [perCpuSecond, ...metrics, memoryPerSubscription, subscribes],
    load: besideFilters(100, 1_000),
    redis: twoNodes,
    baseline: 'redis-filters-10',
    peers: ['sluicemq-redis'],
  },
  {
    name: 'redis-drain',
    title: 'a persistent session gets 100,000 messages that waited for it, QoS 1; Redis in memory; measured once',
    metrics: [drained],
    load: {},
    redis: oneNode('no'),
    peers,
    program: {
      file: 'backlog.js',
      args: ['--messages', '100000', '--appendfsync', 'no', '--limit-seconds', '150'],
      eachPeer: true,
      figures: (stdout) => JSON.parse(stdout.trim()) as Record<string, number>,
    },
  },
]
