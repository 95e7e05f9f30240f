/** Every store call of every operation fails once; see walk/walk.ts. */
import { expect, test } from 'vitest'
import { type Kind, operations } from './walk/ops.ts'
import { walk } from './walk/walk.ts'

test.each<[Kind, number]>([
  ['batch', 200],
  ['read', 150],
  ['call', 150],
])(
  'when the n-th %s fails, nothing acknowledged is lost, nothing failed is acknowledged, and memory says what the disk says',
  async (kind, least) => {
    const { failed, violations } = await walk({ kinds: [kind], versions: kind === 'batch' ? [4, 5] : [5] })
    expect(violations.length, violations.join('\n')).toBe(0)
    expect(failed[kind]).toBeGreaterThan(least)
  },
  240_000,
)

test('what is known to go wrong is named, and does not grow', () => {
  const gaps = operations.filter(({ gaps = [] }) => gaps.length > 0).map(({ name, gaps }) => [name, gaps])
  expect(gaps).toEqual([])
})
