import { describe, expect, test } from 'vitest'
import { TopicTree } from '../../src/router/topic-tree.ts'

function matched(tree: TopicTree<string>, topic: string): string[] {
  const found: string[] = []
  tree.match(topic, (value) => found.push(value))
  return found.sort()
}

/** A tree in which every filter has itself as its value. */
function treeOf(...filters: string[]): TopicTree<string> {
  const tree = new TopicTree<string>()
  for (const filter of filters) tree.add(filter, filter)
  return tree
}

describe('which filters match', () => {
  test.each([
    ['a/b', 'a/b', true],
    ['a/b', 'a/B', false],
    ['a/b', 'a/b/', false],
    ['a/b', '/a/b', false],
    ['ACCOUNTS', 'Accounts', false],
    ['sport/tennis/player1/#', 'sport/tennis/player1', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/ranking', true],
    ['sport/tennis/player1/#', 'sport/tennis/player1/score/wimbledon', true],
    ['sport/tennis/player1/#', 'sport/tennis/player10', false],
    ['sport/#', 'sport', true],
    ['sport/#', 'sport/', true],
    ['sport/#', 'sports', false],
    ['#', 'a', true],
    ['#', '/', true],
    ['sport/tennis/+', 'sport/tennis/player1', true],
    ['sport/tennis/+', 'sport/tennis/player1/ranking', false],
    ['sport/+', 'sport', false],
    ['sport/+', 'sport/', true],
    ['+', 'finance', true],
    ['+', '/finance', false],
    ['+/+', '/finance', true],
    ['/+', '/finance', true],
    ['+/+/+', '//', true],
    ['a//b', 'a//b', true],
    ['a/+/b', 'a//b', true],
    ['a/+/b', 'a/b', false],
    ['+/b/#', 'a/b', true],
    ['+/b/#', 'a/b/c/d', true],
    ['+/b/#', 'a/c', false],
    ['a/+/c/+/e', 'a/b/c/d/e', true],
    ['a/+/c/+/e', 'a/b/c/d/f', false],
    ['a/+/c/+/e', 'a/b/c/d/ef', false],
    ['a/+/cd', 'a/b/c', false],
    ['a/+/c', 'a/b/cd', false],
    ['ÅÄ/+', 'ÅÄ/x', true],
  ])('%s and %s: %s [v5 MQTT-4.7.1-1, -2, MQTT-4.7.3-4]', (filter, topic, expected) => {
    const alone = treeOf(filter)
    expect(matched(alone, topic)).toEqual(expected ? [filter] : [])
    // The same with neighbours that force the filter's levels to be split.
    const crowded = treeOf(filter, `${filter.replace('#', 'x')}/zz/+`, '+/zz/+', 'zz/+/#')
    expect(matched(crowded, topic).includes(filter)).toBe(expected)
  })

  test('topics that start with $ are not matched by a leading wildcard [v5 MQTT-4.7.2-1]', () => {
    const tree = treeOf('#', '+/monitor/Clients', '+/+/#', '$SYS/#', '$SYS/monitor/+', '$SYS/monitor/Clients')
    expect(matched(tree, '$SYS/monitor/Clients')).toEqual(['$SYS/#', '$SYS/monitor/+', '$SYS/monitor/Clients'])
    expect(matched(tree, 'SYS/monitor/Clients')).toEqual(['#', '+/+/#', '+/monitor/Clients'])
    expect(matched(treeOf('a/#', 'a/+'), 'a/$b')).toEqual(['a/#', 'a/+'])
  })

  test('every matching filter is visited once, with its own text', () => {
    const tree = treeOf(
      'a/b/c',
      'a/b/+',
      'a/+/c',
      '+/b/c',
      '+/+/+',
      'a/#',
      'a/b/#',
      'a/b/c/#',
      '#',
      'a/b',
      'a/b/c/+',
      'b/#',
    )
    const seen: string[] = []
    tree.match('a/b/c', (value, filter) => {
      expect(filter).toBe(value)
      seen.push(filter)
    })
    expect(seen.sort()).toEqual(['a/b/c', 'a/b/+', 'a/+/c', '+/b/c', '+/+/+', 'a/#', 'a/b/#', 'a/b/c/#', '#'].sort())
  })
})

describe('values', () => {
  test('several values share a filter, the same value counts once', () => {
    for (const filter of ['a/b', 'a/+']) {
      const tree = new TopicTree<string>()
      expect(tree.add(filter, 'one')).toBe(true)
      expect(tree.add(filter, 'one')).toBe(false)
      expect(tree.add(filter, 'two')).toBe(true)
      expect(tree.add(filter, 'two')).toBe(false)
      expect(tree.add(filter, 'three')).toBe(true)
      expect(tree.size).toBe(3)
      expect(matched(tree, 'a/b')).toEqual(['one', 'three', 'two'])
      expect(tree.remove(filter, 'four')).toBe(false)
      expect(tree.remove(filter, 'one')).toBe(true)
      expect(tree.remove(filter, 'one')).toBe(false)
      expect(tree.remove(filter, 'three')).toBe(true)
      expect(matched(tree, 'a/b')).toEqual(['two'])
      expect(tree.has(filter)).toBe(true)
      expect(tree.remove(filter, 'two')).toBe(true)
      expect(tree.has(filter)).toBe(false)
      expect(tree.size).toBe(0)
      expect(matched(tree, 'a/b')).toEqual([])
    }
  })

  test('removing one filter leaves those that share its path', () => {
    const filters = ['a/b/c/+', 'a/b/c/#', 'a/b/+', 'a/b/c/d/+', 'a/+/c/#', '+/b/c/+']
    for (const gone of filters) {
      const tree = treeOf(...filters)
      tree.remove(gone, gone)
      expect([...tree.filters()].sort()).toEqual(filters.filter((f) => f !== gone).sort())
      expect(matched(tree, 'a/b/c/x')).toEqual(
        ['a/b/c/+', 'a/b/c/#', 'a/+/c/#', '+/b/c/+'].filter((f) => f !== gone).sort(),
      )
      tree.add(gone, gone)
      expect(matched(tree, 'a/b/c/x')).toEqual(['a/b/c/+', 'a/b/c/#', 'a/+/c/#', '+/b/c/+'].sort())
    }
  })

  test('has and remove know a filter from the prefix or extension of another', () => {
    const tree = treeOf('a/b/+/d')
    for (const other of ['a/b/+', 'a/b', 'a/b/+/d/e', 'a/b/#', 'a/+/+/d', 'a/b/+/', '#', '+']) {
      expect(tree.has(other), other).toBe(false)
      expect(tree.remove(other, 'a/b/+/d'), other).toBe(false)
    }
    expect(tree.size).toBe(1)
  })

  test('visit may match again', () => {
    const filters = ['a/b/c/+', 'a/b/#', 'a/+/c/d', '+/b/+/d', '+/b/c/#', '+/+/c/+']
    const tree = treeOf(...filters, 'x/#', 'x/y/+', '+/y/z')
    const found: string[] = []
    tree.match('a/b/c/d', (value) => {
      found.push(value)
      expect(matched(tree, 'x/y/z')).toEqual(['+/y/z', 'x/#', 'x/y/+'])
    })
    expect(found.sort()).toEqual([...filters].sort())
  })
})

describe('changes', () => {
  test('the generation stands while nothing changes', () => {
    const tree = treeOf('a/b', 'a/+')
    const { generation } = tree
    tree.add('a/b', 'a/b')
    tree.remove('a/b', 'nobody')
    tree.remove('c', 'nobody')
    matched(tree, 'a/b')
    expect(tree.generation).toBe(generation)
    tree.add('a/b', 'second')
    expect(tree.generation).toBe(generation + 1)
  })

  test('unrelated changes do not count, related ones do', () => {
    const tree = treeOf('a/b')
    const { generation } = tree
    tree.add('c/#', 'x')
    tree.add('a/+/c', 'x')
    tree.remove('c/#', 'x')
    expect(tree.changedSince(generation, 'a/b')).toBe(false)
    expect(tree.changedSince(generation, 'c/d')).toBe(true)
    expect(tree.changedSince(tree.generation, 'c/d')).toBe(false)
    tree.add('#', 'x')
    expect(tree.changedSince(generation, 'a/b')).toBe(true)
    expect(tree.changedSince(generation, '$SYS/b')).toBe(false)
  })

  test('a touched filter counts as changed', () => {
    const tree = treeOf('a/+', 'b')
    const { generation } = tree
    tree.touch('a/+')
    expect(tree.generation).toBe(generation + 1)
    expect(tree.changedSince(generation, 'a/b')).toBe(true)
    expect(tree.changedSince(generation, 'b')).toBe(false)
    expect(tree.size).toBe(2)
  })

  test('a storm of changes elsewhere does not count, however long it is', () => {
    const tree = treeOf('a/b')
    const { generation } = tree
    tree.changedSince(generation - 1, 'a/b')
    for (let i = 0; i < 5000; i++) tree.add(i % 2 === 0 ? `c/${i}/+` : `c/${i}/x`, 'x')
    const unconcerned = Array.from({ length: 100 }, (_, i) => `a/b${i}`)
    expect(unconcerned.filter((topic) => tree.changedSince(generation, topic)).length).toBeLessThan(60)
    expect(tree.changedSince(generation, 'c/4000/x')).toBe(true)
    expect(tree.changedSince(generation, 'c/4001/x')).toBe(true)
  })

  test('up to 64 changes are told exactly, more of them below one prefix count for all below it', () => {
    const tree = treeOf('a/b')
    const { generation } = tree
    tree.changedSince(generation - 1, 'a/b')
    for (let i = 0; i < 64; i++) tree.add(`a/+/${i}`, 'x')
    expect(tree.changedSince(generation, 'a/b')).toBe(false)
    expect(tree.changedSince(generation, 'a/b/0')).toBe(true)
    expect(tree.changedSince(generation + 1, 'a/b/0')).toBe(false)
    tree.add('d', 'x')
    expect(tree.changedSince(generation, 'a/b')).toBe(true)
    expect(tree.changedSince(generation + 1, 'a/b')).toBe(false)
    expect(tree.changedSince(generation + 1, 'd')).toBe(true)
    expect(tree.changedSince(generation, 'e')).toBe(false)
  })
})

describe('adversaries', () => {
  test('level names of Object.prototype are names', () => {
    const names = ['__proto__', 'constructor', 'hasOwnProperty', 'toString', 'valueOf']
    const tree = treeOf(...names.flatMap((n) => [n, `${n}/+`, `${n}/+/${n}`, `${n}/${n}/#`]))
    for (const n of names) {
      expect(matched(tree, n)).toEqual([n])
      expect(matched(tree, `${n}/${n}/${n}`)).toEqual([`${n}/+/${n}`, `${n}/${n}/#`].sort())
    }
    expect(matched(new TopicTree<string>(), '__proto__')).toEqual([])
  })

  test('32,768 levels neither overflow the stack nor leave anything behind', () => {
    const levels = 32_768
    const topic = '/'.repeat(levels - 1)
    const plus = `${'+/'.repeat(levels - 1)}+`
    const some = `${'+/'.repeat(levels - 1)}#`
    const longer = `${plus}/x`
    const tree = treeOf(plus, some, longer, topic)
    expect(matched(tree, topic)).toEqual([topic, plus, some].sort())
    expect(tree.changedSince(0, topic)).toBe(true)
    expect([...tree.filters()].length).toBe(4)
    for (const filter of [plus, some, longer, topic]) expect(tree.remove(filter, filter)).toBe(true)
    expect(tree.size).toBe(0)
    expect([...tree.filters()]).toEqual([])
  })

  test('every mixture of 12 levels with + is matched by visiting each branch once', () => {
    const tree = new TopicTree<string>()
    for (let mask = 0; mask < 4096; mask++) {
      const filter = Array.from({ length: 12 }, (_, i) => (mask & (1 << i) ? '+' : 'a')).join('/')
      tree.add(filter, filter)
    }
    let visits = 0
    tree.match(Array(12).fill('a').join('/'), () => visits++)
    expect(visits).toBe(4096)
    tree.match(`${Array(11).fill('a').join('/')}/b`, () => visits++)
    expect(visits).toBe(4096 + 2048)
  })

  test('100,000 names side by side', () => {
    const tree = new TopicTree<string>()
    for (let i = 0; i < 100_000; i++) tree.add(`wide/${i}/+`, 'x')
    expect(matched(tree, 'wide/77777/a')).toEqual(['x'])
    for (let i = 0; i < 100_000; i++) tree.remove(`wide/${i}/+`, 'x')
    expect(tree.size).toBe(0)
    expect([...tree.filters()]).toEqual([])
  })
})
