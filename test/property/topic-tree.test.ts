import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { Branch } from '../../src/router/level-branch.ts'
import { mqttSyntax } from '../../src/router/level-syntax.ts'
import { LevelTrie } from '../../src/router/level-trie.ts'
import { RetainedIndex } from '../../src/router/retained.ts'
import { TopicTree } from '../../src/router/topic-tree.ts'

/** The specification's rules, word for word and slow ([v5 4.7]). */
function matches(filter: string, topic: string): boolean {
  if (topic.startsWith('$') && /^[+#]/.test(filter)) return false
  const rest = (filterLevels: string[], levels: string[]): boolean => {
    const [first, ...others] = filterLevels
    if (first === undefined) return levels.length === 0
    if (first === '#') return true
    if (levels.length === 0) return false
    return (first === '+' || first === levels[0]) && rest(others, levels.slice(1))
  }
  return rest(filter.split('/'), topic.split('/'))
}

// Few names, some long enough to be stored apart, some that extend others: collisions are the point.
const name = fc.constantFrom('', 'a', 'b', 'ab', '$a', '__proto__', 'a-name-of-more-than-13', 'a-name-of-more-than-14')
const topics = fc.array(name, { minLength: 1, maxLength: 6 }).map((levels) => levels.join('/'))
const filters = fc
  .tuple(fc.array(fc.oneof({ weight: 2, arbitrary: name }, fc.constant('+')), { maxLength: 5 }), fc.boolean())
  .map(([levels, some]) => (some || levels.length === 0 ? [...levels, '#'] : levels).join('/'))

/** A topic near the filter: its wildcards filled in, perhaps a level more. */
function topicNear(filter: string, names: string[]): string {
  let next = 0
  const filled = filter.split('/').map((level) => (level === '+' || level === '#' ? (names[next++] ?? 'a') : level))
  return [...filled, ...names.slice(next, next + (names.length % 2))].join('/')
}

/** Changes and topics around a few filters, so that the same ones come, go and come back. */
const scenario = (stepsMax: number) =>
  fc.uniqueArray(filters, { minLength: 1, maxLength: 10 }).chain((pool) => {
    const filter = fc.constantFrom(...pool)
    const near = fc.tuple(filter, fc.array(name, { maxLength: 4 })).map(([one, names]) => topicNear(one, names))
    return fc.record({
      steps: fc.array(fc.record({ add: fc.boolean(), filter, value: fc.nat({ max: 2 }) }), { maxLength: stepsMax }),
      published: fc.array(fc.oneof(topics, { weight: 3, arbitrary: near }), { minLength: 1, maxLength: 8 }),
    })
  })

class Pairs {
  readonly #pairs = new Map<string, Set<number>>()
  add(filter: string, value: number): boolean {
    const values = this.#pairs.get(filter) ?? new Set()
    this.#pairs.set(filter, values)
    if (values.has(value)) return false
    values.add(value)
    return true
  }
  remove(filter: string, value: number): boolean {
    const values = this.#pairs.get(filter)
    const removed = values?.delete(value) ?? false
    if (values?.size === 0) this.#pairs.delete(filter)
    return removed
  }
  filters(): string[] {
    return [...this.#pairs.keys()].sort()
  }
  match(topic: string): string[] {
    return this.filters()
      .filter((filter) => matches(filter, topic))
      .flatMap((filter) => [...this.#pairs.get(filter)!].map((value) => `${filter} ${value}`))
      .sort()
  }
}

function found(tree: TopicTree<number>, topic: string): string[] {
  const visited: string[] = []
  tree.match(topic, (value, filter) => visited.push(`${filter} ${value}`))
  return visited.sort()
}

describe('TopicTree', () => {
  test('holds and matches what a naive list of pairs does, through any adding and removing', () => {
    fc.assert(
      fc.property(scenario(60), ({ steps, published }) => {
        const tree = new TopicTree<number>()
        const pairs = new Pairs()
        for (const { add, filter, value } of steps) {
          for (const topic of published) expect(found(tree, topic)).toEqual(pairs.match(topic))
          const generation = tree.generation
          const changed = add ? pairs.add(filter, value) : pairs.remove(filter, value)
          expect(add ? tree.add(filter, value) : tree.remove(filter, value)).toBe(changed)
          expect(tree.generation > generation).toBe(changed)
        }
        expect([...tree.filters()].sort()).toEqual(pairs.filters())
        for (const { filter } of steps) expect(tree.has(filter)).toBe(pairs.filters().includes(filter))
        for (const topic of published) expect(found(tree, topic)).toEqual(pairs.match(topic))
      }),
      { numRuns: 500 },
    )
  })

  test('changedSince is never false when a fresh match would differ', () => {
    fc.assert(
      fc.property(scenario(150), ({ steps, published }) => {
        const tree = new TopicTree<number>()
        const cached = new Map<string, { generation: number; values: string[] }[]>()
        const remember = (): void => {
          for (const topic of published) {
            const before = cached.get(topic) ?? []
            cached.set(topic, [...before, { generation: tree.generation, values: found(tree, topic) }])
          }
        }
        remember()
        for (const [i, { add, filter, value }] of steps.entries()) {
          if (add) tree.add(filter, value)
          else tree.remove(filter, value)
          if (i % 10 === 0) remember()
          for (const topic of published) {
            const now = found(tree, topic)
            for (const { generation, values } of cached.get(topic)!) {
              if (tree.changedSince(generation, topic)) continue
              expect(now, `${topic} since ${generation}, now ${tree.generation}`).toEqual(values)
            }
          }
        }
      }),
      { numRuns: 40 },
    )
  })

  test('changedSince is exact for up to 64 changes', () => {
    fc.assert(
      fc.property(fc.array(filters, { maxLength: 64 }), topics, (changed, topic) => {
        const tree = new TopicTree<number>()
        for (const filter of changed) tree.touch(filter)
        expect(tree.changedSince(0, topic)).toBe(changed.some((filter) => matches(filter, topic)))
      }),
      { numRuns: 500 },
    )
  })
})

/** Filters over many names side by side: leaves and branches in one table, small tables and large ones. */
test.each([
  { names: 30, steps: 6000 },
  { names: 30_000, steps: 40_000 },
])('holds and matches what a naive list does with $names names side by side', ({ names, steps }) => {
  const seed = Math.floor(Math.random() * 2 ** 32)
  const random = seededRandom(seed)
  const level = (): string => `n${random.below(names)}`
  const shapes = [
    () => `a/${level()}/+`,
    () => `a/${level()}/+/b`,
    () => `a/${level()}/#`,
    () => `a/${level()}/c/+`,
    () => `a/${level()}`,
    () => `+/${level()}/c`,
    () => `+/${level()}`,
    () => `${level()}/+`,
  ]
  const tree = new TopicTree<number>()
  const values = new Map<string, Set<number>>()
  const check = (topic: string): void => {
    const [one, two] = topic.split('/') as [string, string]
    const candidates = [
      topic,
      `a/${two}/#`,
      `+/${two}`,
      `+/${two}/c`,
      `${one}/+`,
      `a/${two}/+`,
      `a/${two}/+/b`,
      `a/${two}/c/+`,
    ]
    const expected = new Set<string>()
    for (const filter of candidates) {
      if (!matches(filter, topic)) continue
      for (const value of values.get(filter) ?? []) expected.add(`${filter} ${value}`)
    }
    expect(found(tree, topic), `seed ${seed}, ${topic}`).toEqual([...expected].sort())
  }
  for (let step = 0; step < steps; step++) {
    const filter = shapes[random.below(shapes.length)]!()
    const value = random.below(2)
    const known = values.get(filter) ?? new Set()
    // Grows for half of the time, then shrinks.
    if (random.next() < (step < steps / 2 ? 0.9 : 0.1)) {
      expect(tree.add(filter, value), `seed ${seed}, ${filter}`).toBe(!known.has(value))
      values.set(filter, known.add(value))
    } else {
      const some = known.size > 0 || step < steps / 2 ? filter : ([...values.keys()][0] ?? filter)
      const its = values.get(some)
      expect(tree.remove(some, value), `seed ${seed}, ${some}`).toBe(its?.delete(value) ?? false)
      if (its?.size === 0) values.delete(some)
    }
    if (step % 10 === 0) for (const more of ['', '/c', '/x/b', '/c/d']) check(`a/${level()}${more}`)
  }
  expect([...tree.filters()].sort(), `seed ${seed}`).toEqual([...values.keys()].sort())
  for (const [filter, its] of values) for (const value of its) expect(tree.remove(filter, value)).toBe(true)
  expect(tree.size).toBe(0)
  expect([...tree.filters()]).toEqual([])
})

test('a LevelTrie folds back to what its texts need: removing everything leaves an empty root', () => {
  fc.assert(
    fc.property(fc.uniqueArray(filters, { maxLength: 30 }), fc.func(fc.nat()), (texts, order) => {
      const trie = new LevelTrie<{ text: string; i: number }>(mqttSyntax)
      for (const [i, text] of texts.entries()) expect(trie.insert({ text, i: -i })).toBeUndefined()
      for (const [i, text] of texts.entries()) expect(trie.insert({ text, i }, true)?.i).toBe(-i)
      for (const [i, text] of texts.entries()) expect(trie.insert({ text, i: -1 })?.i).toBe(i)
      expect(trie.size).toBe(texts.length)
      const left = new Set(texts)
      for (const text of [...texts].sort((a, b) => order(a) - order(b))) {
        expect(trie.remove(text)).toBe(true)
        expect(trie.remove(text)).toBe(false)
        left.delete(text)
        expect([...trie.leaves()].map((leaf) => leaf.text).sort()).toEqual([...left].sort())
        for (const other of left) expect(trie.find(other)?.text).toBe(other)
      }
      expect(trie.root).toEqual(new Branch('', 0))
    }),
    { numRuns: 300 },
  )
})

test('RetainedIndex finds what a naive scan does, through any setting and deleting', () => {
  const change = fc.record({ set: fc.boolean(), topic: topics, length: fc.nat({ max: 20 }) })
  fc.assert(
    fc.property(fc.array(change, { maxLength: 50 }), fc.array(filters, { maxLength: 15 }), (changes, asked) => {
      const index = new RetainedIndex()
      const messages = new Map<string, Buffer>()
      for (const { set, topic, length } of changes) {
        if (set) {
          const message = Buffer.alloc(length)
          messages.set(topic, message)
          index.set(topic, message)
        } else {
          expect(index.delete(topic)).toBe(messages.delete(topic))
        }
      }
      expect(index.size).toBe(messages.size)
      expect(index.bytes).toBe([...messages.values()].reduce((sum, message) => sum + message.length, 0))
      for (const { topic } of changes) expect(index.get(topic)).toBe(messages.get(topic))
      for (const filter of asked) {
        const visited: string[] = []
        index.match(filter, (topic, message) => {
          expect(message).toBe(messages.get(topic))
          visited.push(topic)
        })
        expect(visited.sort()).toEqual([...messages.keys()].filter((topic) => matches(filter, topic)).sort())
      }
    }),
    { numRuns: 500 },
  )
})
