/** The simulation in its short form; `npm run fault -- sim` is the long one. */
import { expect, test } from 'vitest'
import { simulateMany, storyOf } from './sim/many.ts'
import { simulate } from './sim/run.ts'

const seeds = 2000

test('whatever clients, disk, network and crashes do, nothing acknowledged is lost, repeated or out of order: fixed seeds', async () => {
  const result = await simulateMany(1, seeds)
  expect(result.failed.length, storyOf(result)).toBe(0)
  // The runs have to be about something.
  const { acknowledged = 0, crashes = 0, refused = 0, confirmed = 0, duplicates = 0 } = result.totals
  expect(acknowledged).toBeGreaterThan(seeds * 10)
  expect(crashes).toBeGreaterThan(seeds)
  expect(refused).toBeGreaterThan(seeds / 10)
  expect(confirmed).toBeGreaterThan(seeds)
  expect(duplicates).toBeGreaterThan(seeds / 10)
}, 400_000)

test('the same for seeds nobody has seen', async () => {
  const from = Number(process.env['FAULT_SEED'] ?? Date.now() % 1_000_000_000)
  const result = await simulateMany(from, 100)
  expect(result.failed.length, storyOf(result)).toBe(0)
}, 120_000)

test('a message that two records of leases name after a failed commit and a crash is handed out once', async () => {
  expect((await simulate({ seed: 700210 })).violations).toEqual([])
})

test('a message lost under a subscription of QoS 0 may come late under a later one', async () => {
  expect((await simulate({ seed: 773820426 })).violations).toEqual([])
})

test('a seed is the same run every time', async () => {
  expect(await simulate({ seed: 7 })).toEqual(await simulate({ seed: 7 }))
})
