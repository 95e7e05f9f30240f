import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { isPlainFilter, isTopicFilter, isTopicName, matches, parseShare } from '../../src/wire/topic.ts'
import { topic } from './wire-packets.ts'

describe('topics', () => {
  /** The rule of section 4.7 said once more, by levels. */
  function matchesByLevels(filter: string, name: string): boolean {
    const wanted = filter.split('/')
    const levels = name.split('/')
    if (name.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false
    const rest = wanted.at(-1) === '#'
    if (rest) wanted.pop()
    if (rest ? levels.length < wanted.length : levels.length !== wanted.length) return false
    return wanted.every((level, i) => level === '+' || level === levels[i])
  }
  const level = fc.constantFrom('', 'a', 'b', 'ab', '$a')
  const name = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))
  const filter = fc
    .array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 })
    .chain((levels) => fc.boolean().map((rest) => (rest ? [...levels, '#'] : levels).join('/')))
  const filters = fc.oneof(filter, fc.constant('#'))

  it('match level by level [v5 4.7.1, MQTT-4.7.2-1]', () => {
    fc.assert(
      fc.property(filters, name, (one, two) => {
        expect(matches(one, two)).toBe(matchesByLevels(one, two))
      }),
      { numRuns: 5000 },
    )
  })

  it('a filter is valid when each wildcard has its level alone and # is last [v5 MQTT-4.7.1-1, -2]', () => {
    const near = fc
      .array(fc.constantFrom('a', '/', '+', '#', '$'), { minLength: 1, maxLength: 6 })
      .map((s) => s.join(''))
    fc.assert(
      fc.property(near, (one) => {
        const levels = one.split('/')
        const valid = levels.every((l, i) => !/[+#]/.test(l) || l === '+' || (l === '#' && i === levels.length - 1))
        expect(isPlainFilter(one)).toBe(valid)
      }),
      { numRuns: 3000 },
    )
  })

  it('a shared filter is its parts put together [v5 MQTT-4.8.2-1, -2]', () => {
    const near = fc
      .array(fc.constantFrom('a', '/', '+', '#', '$share/'), { maxLength: 5 })
      .map((s) => `$share/${s.join('')}`)
    fc.assert(
      fc.property(near, (one) => {
        const share = parseShare(one)
        expect(isTopicFilter(one)).toBe(share !== null)
        if (share === null) return
        expect(`$share/${share.shareName}/${share.topicFilter}`).toBe(one)
        expect(share.shareName).toMatch(/^[^/+#]+$/)
        expect(isPlainFilter(share.topicFilter)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  it('every topic is matched by itself as a filter, and valid names are valid filters', () => {
    fc.assert(
      fc.property(topic, (one) => {
        expect(isTopicName(one)).toBe(true)
        expect(isPlainFilter(one)).toBe(true)
        expect(matches(one, one)).toBe(true)
      }),
    )
  })
})
