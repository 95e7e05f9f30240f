import { describe, expect, test, vi } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { seededHash } from '../../src/router/text-hash.ts'
import { TextTable } from '../../src/router/text-table.ts'
import { WideTable } from '../../src/router/wide-table.ts'

interface Value {
  readonly text: string
  readonly i: number
}

/** Puts and takes at random among `names`, and compares with a Map after each `every` steps. */
function compare(table: TextTable<Value>, names: readonly string[], steps: number, seed: number): void {
  const random = seededRandom(seed)
  const map = new Map<string, Value>()
  for (let i = 0; i < steps; i++) {
    const text = names[random.below(names.length)]!
    // Long stretches of growing and of shrinking.
    if (random.next() < (Math.floor(i / names.length) % 2 === 0 ? 0.8 : 0.2)) {
      const value = { text, i }
      map.set(text, value)
      table.set(value)
    } else {
      expect(table.delete(text), `seed ${seed}, step ${i}`).toBe(map.get(text))
      map.delete(text)
    }
    expect(table.size, `seed ${seed}, step ${i}`).toBe(map.size)
    if (i % names.length !== 0) continue
    for (const name of names) expect(table.get(name), `seed ${seed}, step ${i}`).toBe(map.get(name))
    const each: Value[] = []
    table.each((value) => each.push(value))
    expect(new Set(each)).toEqual(new Set(map.values()))
    expect([...table.values()]).toEqual(each)
  }
}

describe('TextTable', () => {
  test.each([6, 9, 40, 3000])('answers as a Map does, with %i texts', (count) => {
    const names = ['__proto__', 'constructor', '', ...Array.from({ length: count }, (_, i) => `name-${i}`)]
    compare(new TextTable(), names, names.length * 12, count)
  })

  test('keeps the first eight in the order in which they came', () => {
    const table = new TextTable<Value>()
    for (const [i, text] of ['h', 'a', 'z', 'b'].entries()) table.set({ text, i })
    table.set({ text: 'a', i: 9 })
    table.delete('z')
    expect([...table.values()].map(({ text }) => text)).toEqual(['h', 'a', 'b'])
    expect(table.get('a')?.i).toBe(9)
  })

  test('finds what stands behind a place that was given up, also across the end of the table', () => {
    // Texts whose places are the last two of sixteen, so that they run over into the first.
    const ends: string[] = []
    for (let i = 0; ends.length < 9; i++)
      if (((seededHash(`t${i}`, 0, `t${i}`.length) >>> 8) & 15) >= 14) ends.push(`t${i}`)
    for (const gone of ends) {
      const table = new TextTable<Value>()
      for (const text of ends) table.set({ text, i: 0 })
      expect(table.delete(gone)?.text).toBe(gone)
      expect([...table.values()].map(({ text }) => text).sort()).toEqual(ends.filter((text) => text !== gone).sort())
      for (const text of ends) expect(table.has(text)).toBe(text !== gone)
    }
  })
})

test('a WideTable answers as a Map does', () => {
  const names = Array.from({ length: 20_000 }, (_, i) => `name-${i % 12_000}`)
  const map = new Map<string, Value>()
  const wide = new WideTable<Value>(() => new TextTable())
  for (const [i, text] of names.entries()) {
    const hash = seededHash(text, 0, text.length)
    if (i % 3 === 2) {
      expect(wide.take(text, 0, text.length, hash)).toBe(map.get(text))
      map.delete(text)
    } else {
      const value = { text, i }
      map.set(text, value)
      wide.put(value, text, 0, text.length, hash)
    }
    expect(wide.size).toBe(map.size)
  }
  for (const name of [...names, 'absent', '__proto__']) expect(wide.get(name)).toBe(map.get(name))
  expect(new Set(wide.values())).toEqual(new Set(map.values()))
})

test('texts have other places in every process, so that nobody can prepare some that meet', async () => {
  const names = Array.from({ length: 100 }, (_, i) => `name-${i}`)
  const hashes = async (): Promise<number[]> => {
    vi.resetModules()
    const fresh = await import('../../src/router/text-hash.ts')
    return names.map((name) => fresh.seededHash(name, 0, name.length))
  }
  const first = await hashes()
  const second = await hashes()
  // Also not the same ones meeting each other: how they differ from a neighbour differs.
  const apart = (of: number[]): number[] => of.map((hash, i) => (hash ^ of[(i + 1) % of.length]!) & 255)
  expect(first.filter((hash, i) => hash === second[i]).length).toBeLessThan(3)
  expect(apart(first).filter((bits, i) => bits === apart(second)[i]).length).toBeLessThan(10)
})
