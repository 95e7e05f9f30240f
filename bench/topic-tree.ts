/**
 * The topic tree at scale: bytes per subscription, time to add, match and remove, with a million subscriptions of ten
 * shapes (half of them exact, three in ten with `+`, two in ten with `#`), with 100,000 subscribers of one filter, and
 * the index of as many retained messages.
 *
 *     npx tsc -p tsconfig.build.json && node dist/bench/topic-tree.js [subscriptions=1000000]
 *
 * Prints JSON lines; times in microseconds. `bytesPerSubscription` counts the tree and the filters' texts, not the
 * values, which know no text here, so that the tree keeps an entry for each. Every operation is timed alone, at random
 * places of the tree, so most of them miss the processor's caches; `clock` is what the timing itself costs.
 */
import { memoryUsage } from 'node:process'
import { setFlagsFromString } from 'node:v8'
import { runInNewContext } from 'node:vm'
import { seededRandom } from '../src/base/random.ts'
import { RetainedIndex } from '../src/router/retained.ts'
import { TopicTree } from '../src/router/topic-tree.ts'

const count = Number(process.argv[2] ?? 1_000_000)
const samples = 200_000
const random = seededRandom(1)
const kinds = ['temperature', 'status', 'commands', 'telemetry', 'firmware', 'log']

setFlagsFromString('--expose-gc')
const gc = runInNewContext('gc') as () => void
function heapBytes(): number {
  for (let i = 0; i < 4; i++) gc()
  const { heapUsed, arrayBuffers } = memoryUsage()
  return heapUsed + arrayBuffers
}

/** A text that owns its characters, as one read from the wire does. */
function text(...levels: string[]): string {
  return Buffer.from(levels.join('/')).toString()
}

const site = (device: number): string => `site-${device % 200}`
const kind = (device: number): string => kinds[device % kinds.length]!

function filter(device: number): string {
  const name = `dev-${device}`
  switch (device % 10) {
    case 0:
      return text('fleet', site(device), name, '+')
    case 1:
      return text('fleet', site(device), '+', name, kind(device))
    case 2:
      return text('fleet', '+', name, kind(device), 'value')
    case 3:
      return text('fleet', site(device), name, '#')
    case 4:
      return text('fleet', '+', name, kind(device), '#')
    default:
      return text('fleet', site(device), name, kind(device))
  }
}

/** Half of the topics have the shape of an exact filter, half go a level deeper and below every wildcard. */
function topic(): string {
  const device = random.below(count)
  const levels = ['fleet', site(device), `dev-${device}`, kind(device)]
  if (random.below(2) === 0) levels.push('value')
  return text(...levels)
}

interface Times {
  mean: number
  p50: number
  p99: number
  max: number
}

function time(times: number, call: (i: number) => void): Times {
  const taken = new Float64Array(times)
  for (let i = 0; i < times; i++) {
    const before = performance.now()
    call(i)
    taken[i] = (performance.now() - before) * 1e3
  }
  const mean = taken.reduce((sum, one) => sum + one, 0) / times
  taken.sort()
  const round = (micros: number): number => Math.round(micros * 1e3) / 1e3
  const at = (quantile: number): number => round(taken[Math.floor((times - 1) * quantile)]!)
  return { mean: round(mean), p50: at(0.5), p99: at(0.99), max: at(1) }
}

function print(scenario: string, figures: object): void {
  console.log(JSON.stringify({ bench: 'topic-tree', scenario, node: process.version, ...figures }))
}

let visits = 0
const visit = (): void => {
  visits++
}
const clock = time(samples, () => {})

{
  const values = Array.from({ length: 10_000 }, (_, i) => ({ i }))
  const subscriber = (device: number): { i: number } => values[device % values.length]!
  const before = heapBytes()
  const tree = new TopicTree<{ i: number }>()
  const add = time(count, (i) => tree.add(filter(i), subscriber(i)))
  const bytesPerSubscription = Math.round((heapBytes() - before) / count)

  const topics = Array.from({ length: samples }, topic)
  for (const name of topics) tree.match(name, visit)
  visits = 0
  const match = time(samples, (i) => tree.match(topics[i]!, visit))
  const visitsPerMatch = visits / samples

  const atFirst = tree.generation
  tree.changedSince(atFirst - 1, 'x')
  for (let i = 0; i < 1000; i++) tree.touch(filter(10 * i))
  let doubted = 0
  const after1000Elsewhere = time(samples, (i) => {
    if (tree.changedSince(atFirst, topics[i]!)) doubted++
  })
  const doubtedShare = doubted / samples
  const then = tree.generation
  for (let i = 0; i < 64; i++) tree.touch(`fleet/+/dev-${i}/x`)
  const after64Above = time(samples, (i) => tree.changedSince(then, topics[i]!))

  const churned = Array.from({ length: samples }, () => random.below(count))
  const churn = time(samples, (i) => {
    const device = churned[i]!
    const name = filter(device)
    tree.remove(name, subscriber(device))
    tree.add(name, subscriber(device))
  })
  const remove = time(count, (i) => tree.remove(filter(i), subscriber(i)))
  print('mixed', {
    subscriptions: count,
    bytesPerSubscription,
    add,
    match,
    visitsPerMatch,
    after1000Elsewhere,
    doubtedShare,
    after64Above,
    churn,
    remove,
    clock,
  })
}

{
  const subscribers = 100_000
  const tree = new TopicTree<{ i: number }>()
  const before = heapBytes()
  const values = Array.from({ length: subscribers }, (_, i) => ({ i }))
  const valueBytes = heapBytes() - before
  const add = time(subscribers, (i) => tree.add('fleet/#', values[i]!))
  const bytesPerSubscription = Math.round((heapBytes() - before - valueBytes) / subscribers)
  visits = 0
  const match = time(100, () => tree.match('fleet/site-1/dev-1/status', visit))
  const remove = time(subscribers, (i) => tree.remove('fleet/#', values[i]!))
  print('one filter', {
    subscriptions: subscribers,
    bytesPerSubscription,
    add,
    match,
    visitsPerMatch: visits / 100,
    remove,
    clock,
  })
}

{
  const message = Buffer.alloc(16)
  const before = heapBytes()
  const index = new RetainedIndex()
  const set = time(count, (i) => index.set(text('fleet', site(i), `dev-${i}`, kind(i)), message))
  const bytesPerTopic = Math.round((heapBytes() - before) / count)
  visits = 0
  const match = time(10_000, () => {
    const device = random.below(count)
    index.match(`fleet/${site(device)}/dev-${device}/+`, visit)
  })
  const visitsPerMatch = visits / 10_000
  const startedAt = performance.now()
  index.match('#', visit)
  const matchAllMs = Math.round(performance.now() - startedAt)
  print('retained', { topics: index.size, bytesPerTopic, set, match, visitsPerMatch, matchAllMs, clock })
}
