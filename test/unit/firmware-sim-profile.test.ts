import { mkdtempSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { describe, expect, it } from 'vitest'
import { parseCount, parseDurationMs, parseQos, parseRate } from '../../firmware-sim/arguments.ts'
import { PayloadTemplate } from '../../firmware-sim/payload.ts'
import { loadProfile, parseProfile, topicFilterOf, topicOf, UsageError } from '../../firmware-sim/profile.ts'
import { backoffDelayMs, derivedRandom, seededRandom } from '../../firmware-sim/random.ts'

const identity = { r: '{run}', d: '{device}', n: '{sequence}', t: '{time}' }
const facts = { run: 'r1', device: 'd-1', sequence: 7, time: 1_700_000_000_000.25 }

describe('a profile', () => {
  it('is filled with defaults', () => {
    const profile = parseProfile({ telemetry: {}, commands: {} }, 'test')
    expect(profile.telemetry.topic).toBe('devices/{device}/telemetry')
    expect(profile.commands).toEqual({
      topic: 'devices/{device}/commands',
      replyTopic: 'devices/{device}/commands/reply',
      perMinute: 6,
    })
    expect(profile.status).toBeUndefined()
    expect(profile.connection).toMatchObject({ inflightMax: 20, backoff: { minMs: 200 } })
  })

  it.each([
    ['an unknown key', { telemetry: { rate: 1 } }, /telemetry: .*rate/],
    ['a topic without the device', { telemetry: { topic: 'devices/telemetry' } }, /telemetry\.topic: must contain/],
    ['a wildcard in a Topic Name', { telemetry: { topic: '+/{device}' } }, /telemetry\.topic: is a Topic Name/],
    ['a payload nobody could recognise', { telemetry: { payload: { a: 1 } } }, /telemetry\.payload: .*\{run\}/],
    ['a placeholder that does not exist', { telemetry: { payload: { ...identity, x: '{x}' } } }, /placeholder \{x\}/],
    ['a window of nothing', { telemetry: {}, connection: { inflightMax: 0 } }, /connection\.inflightMax/],
    ['no telemetry', {}, /telemetry/],
  ])('is refused with the key named: %s', (_what, value, message) => {
    expect(() => parseProfile(value, 'test')).toThrow(message)
    expect(() => parseProfile(value, 'test')).toThrow(UsageError)
  })

  it('comes from a JSON file, or by the name of a built-in one', () => {
    const directory = mkdtempSync(join(tmpdir(), 'firmware-sim-test-'))
    try {
      const file = join(directory, 'pump.json')
      writeFileSync(file, JSON.stringify({ name: 'pump', telemetry: { ratePerSecond: 3 } }))
      expect(loadProfile(file)).toMatchObject({ name: 'pump', telemetry: { ratePerSecond: 3 } })
      writeFileSync(file, '{')
      expect(() => loadProfile(file)).toThrow(/is not JSON/)
    } finally {
      rmSync(directory, { recursive: true })
    }
    expect(loadProfile('telemetry').name).toBe('telemetry')
    expect(() => loadProfile('telemtry')).toThrow(/built in are telemetry/)
  })

  it('turns topic templates into names and filters', () => {
    expect(topicOf('plant/{device}/out', 'd-1')).toBe('plant/d-1/out')
    expect(topicFilterOf('plant/{device}/out')).toBe('plant/+/out')
    expect(topicFilterOf('plant/unit-{device}')).toBe('plant/+')
  })
})

describe('a payload template', () => {
  it('renders numbers as numbers and text as text', () => {
    const template = new PayloadTemplate({ ...identity, at: '{isoTime}', note: 'no {sequence} of {device}', x: [1] })
    expect(JSON.parse(template.render(facts, () => 0))).toEqual({
      r: 'r1',
      d: 'd-1',
      n: 7,
      t: 1_700_000_000_000.25,
      at: '2023-11-14T22:13:20.000Z',
      note: 'no 7 of d-1',
      x: [1],
    })
  })

  it('draws random numbers from its range and fills to a size', () => {
    const template = new PayloadTemplate({ ...identity, celsius: '{random:-5:5}', pad: '{filler:100}' })
    const low = JSON.parse(template.render(facts, () => 0))
    expect(low).toMatchObject({ celsius: -5, pad: 'x'.repeat(100) })
    expect(JSON.parse(template.render(facts, () => 0.5)).celsius).toBe(0)
  })

  it('recognises its own payloads under any field names and nothing else', () => {
    const template = new PayloadTemplate(identity)
    expect(template.read(template.render(facts, () => 0))).toEqual(facts)
    for (const other of ['', 'x', 'null', '7', '[]', '{}', '{"r":"r1","d":"d-1","n":"7","t":1}']) {
      expect(template.read(other)).toBeNull()
    }
  })

  it.each(['{random:5:1}', '{random:1}', '{random:a:b}', '{filler:-1}', '{filler:x}'])('refuses %s', (placeholder) => {
    expect(() => new PayloadTemplate({ ...identity, x: placeholder })).toThrow(/write \{/)
  })
})

describe('random', () => {
  it('repeats with the seed and differs between devices', () => {
    const draws = (random: () => number): number[] => Array.from({ length: 5 }, random)
    expect(draws(seededRandom(1))).toEqual(draws(seededRandom(1)))
    expect(draws(derivedRandom(1, 0))).toEqual(draws(derivedRandom(1, 0)))
    expect(draws(derivedRandom(1, 0))).not.toEqual(draws(derivedRandom(1, 1)))
  })

  it('backs off up to the maximum, with jitter below the computed delay', () => {
    const backoff = { minMs: 100, maxMs: 1_000, factor: 2, jitter: 0.5 }
    expect([0, 1, 2, 3, 4, 1_000].map((attempt) => backoffDelayMs(backoff, attempt, () => 0))).toEqual([
      100, 200, 400, 800, 1_000, 1_000,
    ])
    expect(backoffDelayMs(backoff, 1, () => 0.999_999)).toBe(100)
  })
})

describe('command line values', () => {
  it('are read', () => {
    expect(parseCount(0, 10)('10')).toBe(10)
    expect(parseRate('0.5')).toBe(0.5)
    expect(['500ms', '1.5s', '2m', '1h'].map(parseDurationMs)).toEqual([500, 1_500, 120_000, 3_600_000])
    expect(parseQos('1,2')).toEqual([1, 2])
  })

  it('are refused when they mean nothing', () => {
    for (const text of ['', '-1', '11', '1.5', 'x']) expect(() => parseCount(0, 10)(text)).toThrow(/whole number/)
    for (const text of ['0', '-1', 'x', '1e9']) expect(() => parseRate(text)).toThrow(/number above 0/)
    for (const text of ['30', '30 s', 's', '-1s']) expect(() => parseDurationMs(text)).toThrow(/such as 500ms/)
    for (const text of ['', '3', '1;2', '1,']) expect(() => parseQos(text)).toThrow(/0, 1, 2/)
  })
})
