import { expect, test } from 'vitest'
import { WideMap } from '../../src/router/wide-map.ts'

test('a WideMap answers as a Map does', () => {
  const names = Array.from({ length: 20_000 }, (_, i) => `name-${i % 12_000}`)
  const map = new Map<string, number>([['__proto__', 1]])
  const wide = new WideMap<number>(map)
  for (const [i, name] of names.entries()) {
    if (i % 3 === 2) expect(wide.delete(name)).toBe(map.delete(name))
    else {
      map.set(name, i)
      wide.set(name, i)
    }
    expect(wide.size).toBe(map.size)
  }
  expect(wide.delete('absent')).toBe(false)
  for (const name of [...names, 'absent', '__proto__', 'constructor']) {
    expect(wide.get(name)).toBe(map.get(name))
    expect(wide.has(name)).toBe(map.has(name))
  }
  expect([...wide].sort()).toEqual([...map].sort())
})
