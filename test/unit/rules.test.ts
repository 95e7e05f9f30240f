/** What bridge rules make of messages: filters with names, conditions, templates, transforms, validation, rates. */
import { describe, expect, test } from 'vitest'
import type { Clock } from '../../src/base/clock.ts'
import { seededRandom } from '../../src/base/random.ts'
import { Candidate, type MessageFacts } from '../../src/bridge/candidate.ts'
import { SENDERS_MAX, SenderRate } from '../../src/bridge/rate.ts'
import { Rule, type RuleConfig } from '../../src/bridge/rule.ts'
import { ruleOf } from '../../src/bridge/rule-input.ts'
import { tryRules } from '../../src/bridge/try-rules.ts'
import { systemParts } from '../support/rule-parts.ts'

const base: RuleConfig = { topicFilter: 'site/{site}/device/{device}/+', queue: 'q' }

function facts(payload: unknown, more: Partial<MessageFacts> = {}): MessageFacts {
  return {
    topic: 'site/north/device/d7/telemetry',
    payload: Buffer.isBuffer(payload) ? payload : Buffer.from(JSON.stringify(payload)),
    clientId: 'c1',
    qos: 1,
    retain: false,
    time: Date.UTC(2026, 10, 20, 12),
    ...more,
  }
}

const trial = (rule: Partial<RuleConfig>, message: MessageFacts) => tryRules([{ ...base, ...rule }], message)[0]!

const outcome = (rule: Partial<RuleConfig>, payload: unknown, more: Partial<MessageFacts> = {}) =>
  trial(rule, facts(payload, more)).outcome

describe('topic filters with named levels', () => {
  test('a name stands for +, a name with dots for #', () => {
    expect(trial({}, facts({})).levels).toEqual({ site: 'north', device: 'd7' })
    const rest = { topicFilter: 'site/{site}/{rest...}', key: '{level:rest}' }
    expect(trial(rest, facts({})).levels).toEqual({ site: 'north', rest: 'device/d7/telemetry' })
    expect(trial(rest, facts({})).key).toBe('device/d7/telemetry')
  })

  test('other topics do not match', () => {
    expect(outcome({}, {}, { topic: 'site/north' })).toBe('no match')
  })

  test.each([
    ['a/{x}/{x}', 'topicFilter: two levels are named {x}'],
    ['a/{x...}/b', 'topicFilter: {x...} stands for all levels that follow and must be last'],
    ['a/b{x}', 'topicFilter: "b{x}" is neither text nor a named level'],
    ['a/{}', 'topicFilter: "{}" is neither text nor a named level'],
    ['a#', 'topicFilter: "a#" is not a valid Topic Filter'],
    ['$share/g/a', 'topicFilter: "$share/g/a" is a shared subscription'],
  ])('%s is refused with place and reason', (topicFilter, message) => {
    expect(() => new Rule({ ...base, topicFilter }, systemParts)).toThrow(message)
  })
})

describe('conditions', () => {
  test.each([
    [{ payload: 'temperature', gt: 40 }, { temperature: 41 }, true],
    [{ payload: 'temperature', gt: 40 }, { temperature: 40 }, false],
    [{ payload: 'temperature', gte: 40, lt: 50 }, { temperature: 40 }, true],
    [{ payload: 'temperature', gte: 40, lt: 50 }, { temperature: 50 }, false],
    [{ payload: 'temperature', lte: 1 }, { temperature: '0' }, false],
    [{ payload: 'temperature', gt: 40 }, {}, false],
    [{ payload: 'gps.lat', equals: 1 }, { gps: { lat: 1 } }, true],
    [{ payload: '/a~1b/0', equals: 'x' }, { 'a/b': ['x'] }, true],
    [{ payload: 'n', equals: null }, { n: null }, true],
    [{ payload: 'n', exists: false }, {}, true],
    [{ payload: 'n', exists: true }, { n: null }, true],
    [{ payload: 'n', not: 1 }, {}, true],
    [{ payload: 'n', not: 1 }, { n: 1 }, false],
    [{ payload: 'n', in: ['a', 2] }, { n: 2 }, true],
    [{ payload: 'n', in: ['a', 2] }, { n: '2' }, false],
    [{ payload: 'n', startsWith: 'ab', endsWith: 'yz', contains: 'm' }, { n: 'abmyz' }, true],
    [{ payload: 'n', startsWith: 'ab', endsWith: 'yz', contains: 'm' }, { n: 'abyz' }, false],
    [{ payload: 'n', contains: 'm' }, { n: ['l', 'm'] }, true],
    [{ level: 'site', equals: 'north' }, {}, true],
    [{ level: 'site', in: ['south'] }, {}, false],
    [{ level: '4', equals: 'telemetry' }, {}, true],
    [{ property: 'kind', equals: 'alarm' }, {}, true],
    [{ property: 'other', exists: true }, {}, false],
    [{ message: 'clientId', startsWith: 'c' }, {}, true],
    [{ message: 'qos', gte: 2 }, {}, false],
    [{ message: 'retain', equals: false }, {}, true],
  ] as const)('%j for %j: %s', (condition, payload, holds) => {
    const userProperties: [string, string][] = [['kind', 'alarm']]
    expect(outcome({ when: [condition] }, payload, { userProperties })).toBe(holds ? 'keep' : 'skip')
  })

  test('all must hold', () => {
    const when = [
      { payload: 'a', equals: 1 },
      { payload: 'b', equals: 2 },
    ] as const
    expect(outcome({ when }, { a: 1, b: 2 })).toBe('keep')
    expect(outcome({ when }, { a: 1, b: 3 })).toBe('skip')
  })

  test('a payload that is no JSON has no values, and what all objects share is none', () => {
    expect(outcome({ when: [{ payload: 'a', exists: true }] }, Buffer.from('{a'))).toBe('skip')
    expect(outcome({ when: [{ payload: 'toString', exists: true }] }, {})).toBe('skip')
    expect(() => trial({ when: [{ payload: '__proto__.x', exists: true }] }, facts({}))).toThrow('when[0]: __proto__')
  })

  test.each([
    [{ equals: 1 }, 'when[0]: says what it looks at with one of level, payload, property, message; there are 0'],
    [{ payload: 'a', level: 'site', equals: 1 }, 'there are 2'],
    [{ payload: 'a' }, 'when[0]: compares with nothing'],
    [{ level: 'siet', equals: 'x' }, 'no level named {siet}; did you mean site?'],
  ])('%j is refused: %s', (condition, message) => {
    expect(() => new Rule({ ...base, when: [condition] }, systemParts)).toThrow(message)
  })
})

describe('keys', () => {
  test.each([
    ['{client}', 'c1'],
    ['{level:device}', 'd7'],
    ['{level:0}', 'site'],
    ['{topic}', 'site/north/device/d7/telemetry'],
    ['{payload:/id}', '5'],
    ['{payload:tag}', 'x'],
    ['{json:tag}', '"x"'],
    ['{property:trace}', 't1'],
    ['a{{b}}-{client}-{payload:id}', 'a{b}-c1-5'],
    ['{time}', '2026-11-20T12:00:00.000Z'],
  ])('%s', (key, filled) => {
    const userProperties: [string, string][] = [['trace', 't1']]
    const result = trial({ key, deduplicate: key }, facts({ id: 5, tag: 'x' }, { userProperties }))
    expect([result.key, result.deduplicate]).toEqual([filled, filled])
  })

  test('a message that lacks what the key refers to has none', () => {
    const result = trial({ key: '{payload:id}', deduplicate: '{property:id}' }, facts({}))
    expect(result).toMatchObject({ outcome: 'keep', queue: 'q' })
    expect(result).not.toHaveProperty('key')
    expect(result).not.toHaveProperty('deduplicate')
  })

  test('a retransmission has the key of what was sent first, another message of the same identifier has not', () => {
    const key = (payload: string, more = {}) =>
      trial({ deduplicate: '{retransmission}' }, facts(payload, more)).deduplicate
    expect(key('a')).toBe(key('a'))
    expect(key('a')).not.toBe(key('b'))
    expect(key('a')).not.toBe(key('a', { clientId: 'c2' }))
    expect(key('a', { qos: 0 })).toBeUndefined()
  })

  test.each([
    ['{clinet}', 'key: {clinet} is no reference; did you mean {client}?'],
    ['{level:devise}', 'key: the Topic Filter has no level named {devise}; did you mean device?'],
    ['{level:x9z}', 'there is site, device'],
    ['{payload:}', '{payload:} names nothing'],
    ['{client', 'a { without its }'],
    ['client}', 'a } without its {'],
    ['{retransmission}', 'key: {retransmission} tells nothing apart here'],
    ['x{retransmission}', '{retransmission} stands alone'],
  ])('%s is refused: %s', (key, message) => {
    expect(() => new Rule({ ...base, key }, systemParts)).toThrow(message)
  })
})

describe('transforms', () => {
  const payload = { a: 1, b: { c: 2, d: 3 }, list: [1, 2], secret: 's' }
  const made = (transform: RuleConfig['transform'], from: unknown = payload) => {
    const result = trial({ transform: transform! }, facts(from))
    return result.outcome === 'keep' ? JSON.parse(result.envelope!.payload) : `${result.outcome}: ${result.reason}`
  }

  test('pick, remove, rename, set, in this order', () => {
    expect(made({ pick: ['a', '/b/c'] })).toEqual({ a: 1, b: { c: 2 } })
    expect(made({ remove: ['secret', 'b.d', '/list/0', 'none'] })).toEqual({ a: 1, b: { c: 2 }, list: [2] })
    expect(made({ pick: ['a', 'b'], rename: { a: 'b.e', '/b/c': 'top' } })).toEqual({ b: { d: 3, e: 1 }, top: 2 })
    expect(made({ pick: ['a'], rename: { a: 'list', list: 'a' } })).toEqual({ list: 1 })
    expect(
      made({ pick: ['a'], set: { source: 'edge', n: 1, 'x.device': '{level:device}', gone: '{property:no}' } }),
    ).toEqual({ a: 1, source: 'edge', n: 1, x: { device: 'd7' } })
  })

  test('a template makes the whole payload', () => {
    const template = '{{"t":{payload:a},"s":{json:secret}}}'
    expect(made({ template })).toEqual({ t: 1, s: 's' })
  })

  test('the message others get is not touched', () => {
    const candidate = new Candidate()
    candidate.describe(facts(payload))
    const rule = new Rule({ ...base, transform: { rename: { a: 'z' }, set: { b: 0 } } }, systemParts)
    rule.judge(candidate)
    expect(candidate.json).toEqual(payload)
  })

  test('what cannot be transformed is not valid', () => {
    expect(made({ pick: ['a'] }, [1])).toEqual({})
    expect(made({ pick: ['a'] }, 'text')).toBe('quarantine: the payload is not a JSON object')
    expect(made({ set: { 'a.b': 1 } })).toBe('quarantine: there is no object to put a.b into')
    expect(made({ template: '{payload:none}' })).toBe(
      'quarantine: the message lacks a value that the template refers to',
    )
    expect(outcome({ transform: { pick: ['a'] }, invalid: 'refuse' }, Buffer.from('no'))).toBe('refuse')
  })

  test.each([
    [{}, 'transform: does nothing'],
    [{ template: 'x', pick: ['a'] }, 'transform: template makes the whole payload; pick beside it would do nothing'],
    [{ pick: ['a..b'] }, 'transform: pick[0]: "a..b" has an empty name'],
    [{ rename: { '/a~2': 'b' } }, 'transform: rename./a~2: "/a~2" is not a JSON Pointer'],
    [{ set: { a: '{topik}' } }, 'transform: set.a: {topik} is no reference; did you mean {topic}?'],
  ])('%j is refused: %s', (transform, message) => {
    expect(() => new Rule({ ...base, transform }, systemParts)).toThrow(message)
  })
})

describe('JSON Schema', () => {
  const schema = {
    type: 'object',
    required: ['celsius'],
    properties: { celsius: { type: 'number', minimum: -90 }, at: { type: 'string', format: 'date-time' } },
    additionalProperties: false,
  }
  test.each([
    [{ celsius: 1 }, undefined],
    [{ celsius: 1, at: '2026-11-20T12:00:00Z' }, undefined],
    [{}, "the payload must have required property 'celsius'"],
    [{ celsius: 'x' }, '/celsius must be number'],
    [{ celsius: -91 }, '/celsius must be >= -90'],
    [{ celsius: 1, at: 'noon' }, '/at must match format "date-time"'],
    [{ celsius: 1, more: 1 }, 'the payload must NOT have additional properties (more)'],
    [Buffer.from('{'), 'the payload is not JSON'],
  ])('%j: %s', (payload, reason) => {
    const result = trial({ schema }, facts(payload))
    expect([result.outcome, result.reason, result.queue]).toEqual(
      reason === undefined ? ['keep', undefined, 'q'] : ['quarantine', reason, 'q.invalid'],
    )
  })

  test('the 2020-12 dialect when the schema says so', () => {
    const tuple = { $schema: 'https://json-schema.org/draft/2020-12/schema', prefixItems: [{ type: 'number' }] }
    expect(outcome({ schema: tuple }, [1])).toBe('keep')
    expect(outcome({ schema: tuple, invalid: 'drop' }, ['x'])).toBe('drop')
  })

  test('a schema that is none is refused when the rule is made', () => {
    expect(() => new Rule({ ...base, schema: { type: 'nomber' } }, systemParts)).toThrow('schema: is no JSON Schema')
    expect(() => new Rule({ ...base, schema: { $ref: 'http://x.test/y' } }, systemParts)).toThrow(
      'schema: is no JSON Schema',
    )
  })
})

describe('sampling and rates', () => {
  test('a share of the messages is kept [seed 7]', () => {
    const rule = new Rule({ ...base, sample: 0.1 }, { ...systemParts, random: seededRandom(7) })
    const candidate = new Candidate()
    candidate.describe(facts({}))
    let kept = 0
    for (let i = 0; i < 10_000; i++) if (rule.judge(candidate).outcome === 'keep') kept++
    expect(kept).toBeGreaterThan(900)
    expect(kept).toBeLessThan(1100)
  })

  test('each sender has a rate of its own, with a burst', () => {
    let now = 0
    const clock: Clock = { now: () => now, monotonic: () => now, after: () => () => {} }
    const rule = new Rule(
      { ...base, rate: { perSecond: 2, burst: 3, by: '{level:device}' } },
      { ...systemParts, clock },
    )
    const candidate = new Candidate()
    const keeps = (device: string) => {
      candidate.describe(facts({}, { topic: `site/n/device/${device}/t` }))
      return rule.judge(candidate).outcome === 'keep'
    }
    expect([keeps('a'), keeps('a'), keeps('a'), keeps('a'), keeps('b')]).toEqual([true, true, true, false, true])
    now += 500
    expect([keeps('a'), keeps('a')]).toEqual([true, false])
    now += 60_000
    expect([keeps('a'), keeps('a'), keeps('a'), keeps('a')]).toEqual([true, true, true, false])
  })

  test('senders beyond the limit push out those heard of least recently', () => {
    const clock: Clock = { now: () => 0, monotonic: () => 0, after: () => () => {} }
    const rate = new SenderRate({ perSecond: 1, burst: 1 }, clock)
    for (let i = 0; i <= SENDERS_MAX; i++) rate.admits(`s${i}`)
    expect(rate.senders).toBe(SENDERS_MAX)
    expect([rate.admits(`s${SENDERS_MAX}`), rate.admits('s0')]).toEqual([false, true])
  })
})

describe('a rule from outside', () => {
  const problem = (input: unknown) => {
    try {
      ruleOf(input, systemParts, 'rule')
    } catch (error) {
      return error as Error & { code: string }
    }
    throw new Error('the rule was taken')
  }

  test.each([
    [{ topicFilter: 'a', queue: 'q', wen: [] }, 'rule.wen: unknown key; did you mean when?'],
    [
      { topicFilter: 'a', queue: 'q', when: [{ payload: 'a', eqals: 1 }] },
      'rule.when[0].eqals: unknown key; did you mean when[0].equals?',
    ],
    [
      { topicFilter: 'a', queue: 'q', transform: { remuve: ['a'] } },
      'rule.transform.remuve: unknown key; did you mean transform.remove?',
    ],
    [{ queue: 'q' }, 'rule.topicFilter: is missing'],
    [{ topicFilter: 'a', queue: 'q', priority: 10 }, 'rule.priority:'],
    [{ topicFilter: 'a/{x', queue: 'q' }, 'rule.topicFilter: "{x" is neither'],
    ['text', 'the rule:'],
  ])('%j is refused with place and reason', (input, message) => {
    const error = problem(input)
    expect(error.code).toBe('rule_invalid')
    expect(error.message).toContain(message)
  })

  test('every problem is named, a line each', () => {
    expect(problem({ topicFilter: 'a', queue: 'q', wen: [], samle: 1 }).message.split('\n')).toHaveLength(2)
  })
})

test('plain rules ask for nothing but the topic', () => {
  const plain = (more: Partial<RuleConfig>) => new Rule({ ...base, ...more }, systemParts).plain
  expect(plain({})).toBe(true)
  expect(plain({ when: [{ level: 'site', equals: 'north' }] })).toBe(true)
  for (const more of [
    { when: [{ payload: 'a', exists: true }] },
    { key: '{client}' },
    { sample: 0.5 },
    { ttlMs: 1 },
    { schema: {} },
  ])
    expect(plain(more)).toBe(false)
})
