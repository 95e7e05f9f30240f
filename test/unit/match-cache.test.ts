import { expect, test } from 'vitest'
import type { Destination } from '../../src/router/destinations.ts'
import { Match } from '../../src/router/match.ts'
import { MatchCache } from '../../src/router/match-cache.ts'

const always = () => true

/** A match with this many shared subscriptions, which weigh as much as receivers. */
function match(topic: string, weight = 0): Match {
  const groups = Array.from({ length: weight }, () => ({ kind: 'group' }) as unknown as Destination)
  return new Match(topic, 0, 0, false, groups)
}

test('holds 16,384 topics, the oldest going first', () => {
  const cache = new MatchCache()
  for (let i = 0; i < 20_000; i++) cache.put(`t/${i}`, match(`t/${i}`), always)
  expect(cache.size).toBe(16_384)
  expect(cache.get('t/3615')).toBeUndefined()
  expect(cache.get('t/3616')?.topic).toBe('t/3616')
})

test('holds few matches when each has many receivers, and always the last one', () => {
  const cache = new MatchCache()
  for (let i = 0; i < 20; i++) cache.put(`t/${i}`, match(`t/${i}`, 100_000), always)
  expect(cache.size).toBe(2)
  cache.put('all', match('all', 1_000_000), always)
  expect(cache.size).toBe(1)
  expect(cache.get('all')).toBeDefined()
})

test('holds few matches when topics are long', () => {
  const cache = new MatchCache()
  for (let i = 0; i < 1000; i++) {
    const topic = `${i}/${'x'.repeat(65_000)}`
    cache.put(topic, match(topic), always)
  }
  expect(cache.size).toBeLessThan(140)
})

test('a match put again is not the oldest any more when room is needed', () => {
  const cache = new MatchCache()
  cache.put('a', match('a'), always)
  cache.put('b', match('b', 200_000), always)
  cache.put('a', match('a', 100_000), always)
  expect(cache.get('a')).toBeDefined()
  expect(cache.get('b')).toBeUndefined()
})

test('what no longer holds runs out while other topics come', () => {
  const cache = new MatchCache()
  for (let i = 0; i < 1000; i++) cache.put(`old/${i}`, match(`old/${i}`), always)
  const holds = ({ topic }: Match) => topic.startsWith('new/')
  for (let i = 0; i < 1000; i++) cache.put(`new/${i}`, match(`new/${i}`), holds)
  expect(cache.size).toBe(1000)
  expect(cache.get('old/0')).toBeUndefined()
})
