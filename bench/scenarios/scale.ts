/** Many connections, many subscriptions. */
import {
  connects,
  cpuPerConnect,
  cpuPerMessage,
  matchP50,
  matchP99,
  memoryPerConnection,
  memoryPerSubscription,
  received,
  subscribes,
  treeBytes,
} from '../metrics.ts'
import { flood, type LoadFlags, type Scenario } from '../scenario.ts'

/** Each publisher uses 100 topics, so that what is matched is not one topic over and over. */
const tenToTen = (each: number): LoadFlags =>
  flood(10, 10, 0, { topics: 100, 'background-connections': 1_000, 'background-subscriptions': each })

export const scale: readonly Scenario[] = [
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
  {
    name: 'thousand-subs',
    title: '10 → 10 by `+`, 100 topics each, QoS 0, beside 1,000 subscriptions of 1,000 connections',
    metrics: [received, cpuPerMessage],
    load: tenToTen(1),
    peers: ['sluicemq', 'mosquitto'],
  },
  {
    name: 'million-subs',
    title: 'the same beside 1,000,000 subscriptions (exact, `+`, `#`) of 1,000 connections',
    metrics: [received, cpuPerMessage, memoryPerSubscription, subscribes],
    load: tenToTen(1_000),
    baseline: 'thousand-subs',
    peers: ['sluicemq', 'mosquitto'],
  },
  {
    name: 'topic-tree',
    title: 'the topic tree alone, in one process: 1,000,000 subscriptions, 200,000 different topics at random',
    metrics: [matchP99, matchP50, treeBytes],
    load: {},
    peers: ['sluicemq'],
    program: { file: 'topic-tree.js', args: ['1000000'], figures: treeFigures },
  },
]

/** The line of the mixed tree out of the JSON lines of topic-tree.ts. */
function treeFigures(stdout: string): Readonly<Record<string, number>> {
  for (const line of stdout.split('\n').filter(Boolean)) {
    const figures = JSON.parse(line) as {
      scenario: string
      bytesPerSubscription: number
      match: { p50: number; p99: number }
    }
    if (figures.scenario !== 'mixed') continue
    const { bytesPerSubscription, match } = figures
    return { matchP99: match.p99, matchP50: match.p50, bytesPerSubscription }
  }
  throw new Error('topic-tree.js printed no line for the mixed tree')
}
