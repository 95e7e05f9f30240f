/** A crash at every commit of a script, and at one turn in nine; `npm run fault -- points` takes every turn and version. */
import { expect, test } from 'vitest'
import { crashPoints } from './points/points.ts'

test('kill -9 at any step of the message path loses, repeats and reorders nothing that was acknowledged', async () => {
  const { runs, commits, turns, violations } = await crashPoints({ versions: [5], turnStep: 9 })
  expect(violations.length, violations.join('\n')).toBe(0)
  expect(commits).toBeGreaterThan(40)
  expect(turns).toBeGreaterThan(300)
  expect(runs).toBeGreaterThan(commits * 4)
}, 200_000)
