/** Whatever devices send, a rule comes to a verdict. */
import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Candidate } from '../../src/bridge/candidate.ts'
import { Rule } from '../../src/bridge/rule.ts'
import { systemParts } from '../support/rule-parts.ts'

const rule = new Rule(
  {
    topicFilter: 'a/{b}/{rest...}',
    queue: 'q',
    when: [{ payload: 'x', not: 'never' }],
    schema: {
      $ref: '#/definitions/node',
      definitions: { node: { properties: { c: { $ref: '#/definitions/node' } } } },
    },
    transform: { pick: ['x', 'c', '/y/0'], rename: { x: 'z.w' }, set: { from: '{level:b}', whole: '{json:c}' } },
    key: '{level:rest}/{payload:x}',
    deduplicate: '{retransmission}',
    rate: { perSecond: 1000, burst: 1000, by: '{payload:id}' },
  },
  systemParts,
)

function verdictOf(payload: Buffer) {
  const candidate = new Candidate()
  candidate.describe({ topic: 'a/b/c', payload, clientId: 'c', qos: 1, retain: false, time: 0 })
  return rule.judge(candidate)
}

const outcomes = ['keep', 'skip', 'quarantine']

test('of any JSON value', () => {
  fc.assert(
    fc.property(fc.jsonValue(), (value) => {
      const verdict = verdictOf(Buffer.from(JSON.stringify(value)))
      expect(outcomes).toContain(verdict.outcome)
      if (verdict.outcome !== 'keep') return
      // What a transform makes is JSON again, and has what was picked.
      const made = JSON.parse(verdict.payload!.toString()) as { from: string; z?: { w: unknown } }
      expect(made.from).toBe('b')
      const { x } = value as { x?: unknown }
      if (x !== undefined) expect(made.z?.w).toEqual(x)
    }),
    { numRuns: 500 },
  )
})

test('of any bytes', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), (bytes) => {
      expect(outcomes).toContain(verdictOf(Buffer.from(bytes)).outcome)
    }),
    { numRuns: 500 },
  )
})

test.each([1000, 100_000, 1_000_000])('of JSON that is %i levels deep', (depth) => {
  const payload = Buffer.from(`${'{"c":'.repeat(depth)}1${'}'.repeat(depth)}`)
  expect(outcomes).toContain(verdictOf(payload).outcome)
})

test('members that all objects share are neither read nor made', () => {
  const payload = Buffer.from('{"__proto__":{"x":1},"constructor":{"prototype":{"polluted":1}}}')
  const verdict = verdictOf(payload)
  expect(verdict.outcome).toBe('keep')
  expect(JSON.parse(verdict.payload!.toString())).toEqual({ from: 'b' })
  expect(({} as { polluted?: number }).polluted).toBeUndefined()
})
