import { expect, test } from 'vitest'
import { RetainedIndex } from '../../src/router/retained.ts'

function indexOf(...topics: string[]): RetainedIndex {
  const index = new RetainedIndex()
  for (const topic of topics) index.set(topic, Buffer.from(topic))
  return index
}

function found(index: RetainedIndex, topicFilter: string): string[] {
  const topics: string[] = []
  index.match(topicFilter, (topic, message) => {
    expect(message.toString()).toBe(topic)
    topics.push(topic)
  })
  return topics.sort()
}

test('the last message of a topic replaces the earlier one [v5 MQTT-3.3.1-5]', () => {
  const index = new RetainedIndex()
  index.set('a/b', Buffer.from('first'))
  index.set('a/b', Buffer.from('second one'))
  expect(index.size).toBe(1)
  expect(index.bytes).toBe(10)
  expect(index.get('a/b')?.toString()).toBe('second one')
  expect(index.get('a')).toBeUndefined()
  expect(index.get('a/b/c')).toBeUndefined()
  expect(index.delete('a')).toBe(false)
  expect(index.delete('a/b')).toBe(true)
  expect(index.delete('a/b')).toBe(false)
  expect(index.get('a/b')).toBeUndefined()
  expect([index.size, index.bytes]).toEqual([0, 0])
})

test('wildcards find what they match [v5 MQTT-4.7.1-1, -2]', () => {
  const index = indexOf('a', 'a/b', 'a/b/c', 'a/b/c/d', 'a/x/c', 'b', 'b/b/c', '/', '/a', 'abc')
  expect(found(index, 'a/b')).toEqual(['a/b'])
  expect(found(index, 'a/b/c/d/e')).toEqual([])
  expect(found(index, 'a/#')).toEqual(['a', 'a/b', 'a/b/c', 'a/b/c/d', 'a/x/c'])
  expect(found(index, 'a/b/#')).toEqual(['a/b', 'a/b/c', 'a/b/c/d'])
  expect(found(index, 'a/b/c/d/#')).toEqual(['a/b/c/d'])
  expect(found(index, '+')).toEqual(['a', 'abc', 'b'])
  expect(found(index, '+/+')).toEqual(['/', '/a', 'a/b'])
  expect(found(index, '/+')).toEqual(['/', '/a'])
  expect(found(index, 'a/+/c')).toEqual(['a/b/c', 'a/x/c'])
  expect(found(index, '+/b/c')).toEqual(['a/b/c', 'b/b/c'])
  expect(found(index, '+/b/#')).toEqual(['a/b', 'a/b/c', 'a/b/c/d', 'b/b/c'])
  expect(found(index, '+/+/+/+')).toEqual(['a/b/c/d'])
  expect(found(index, '#').length).toBe(10)
})

test('+ finds an empty level: test/topic/ is found by test/topic/+ (facts 45)', () => {
  for (const index of [indexOf('test/topic/'), indexOf('test/topic/', 'test/topic', 'test/topic/x/y')]) {
    expect(found(index, 'test/topic/+')).toEqual(['test/topic/'])
    expect(found(index, 'test/topic/')).toEqual(['test/topic/'])
    expect(index.get('test/topic/')?.toString()).toBe('test/topic/')
  }
})

test('topics that start with $ are hidden from a leading wildcard [v5 MQTT-4.7.2-1]', () => {
  for (const index of [indexOf('$SYS/a'), indexOf('$SYS/a', '$SYS/b', 'x/a', 'x/$b', '$x', '$SYS')]) {
    for (const filter of ['#', '+/a', '+/#', '+', '+/+']) {
      expect(found(index, filter).filter((topic) => topic.startsWith('$'))).toEqual([])
    }
    expect(found(index, '$SYS/+').includes('$SYS/a')).toBe(true)
    expect(found(index, '$SYS/#').includes('$SYS/a')).toBe(true)
  }
  expect(found(indexOf('x/$b'), 'x/+')).toEqual(['x/$b'])
})

test('what is deleted is not found, and its neighbours are', () => {
  const topics = ['a', 'a/', 'a/b', 'a/b/c', 'a/b/d', 'a/bc', '__proto__', 'constructor/prototype']
  for (const gone of topics) {
    const index = indexOf(...topics)
    expect(index.delete(gone)).toBe(true)
    expect(found(index, '#')).toEqual(topics.filter((topic) => topic !== gone).sort())
    for (const topic of topics) expect(index.get(topic) !== undefined).toBe(topic !== gone)
  }
})

test('32,768 levels do not overflow the stack', () => {
  const deep = '/'.repeat(32_767)
  const index = indexOf(deep, `${deep}x`, `${deep}/y`)
  expect(found(index, `${'+/'.repeat(32_767)}+`).length).toBe(2)
  expect(found(index, '#').length).toBe(3)
  expect(found(index, `${'+/'.repeat(32_767)}#`).length).toBe(3)
  for (const topic of [deep, `${deep}x`, `${deep}/y`]) expect(index.delete(topic)).toBe(true)
  expect([index.size, index.bytes]).toEqual([0, 0])
})
