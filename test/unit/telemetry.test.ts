import { describe, expect, test } from 'vitest'
import { seededRandom } from '../../src/base/random.ts'
import { Events } from '../../src/telemetry/events.ts'
import { createLog, logEvents, prettyLine } from '../../src/telemetry/log.ts'

const takeover = { clientId: 'c', address: '::1' }

describe('events', () => {
  test('reach their listeners in order, until those are removed', () => {
    const events = new Events()
    const seen: string[] = []
    const off = events.on('sessionTakenOver', ({ clientId }) => seen.push(`first ${clientId}`))
    events.on('sessionTakenOver', () => seen.push('second'))
    events.emit('sessionTakenOver', takeover)
    off()
    off()
    events.emit('sessionTakenOver', takeover)
    expect(seen).toEqual(['first c', 'second', 'second'])
    expect(events.has('sessionTakenOver')).toBe(true)
    expect(events.has('commitFailed')).toBe(false)
  })

  test('a listener removed by another one during an emit is still called in that emit', () => {
    const events = new Events()
    const seen: string[] = []
    events.on('sessionTakenOver', () => off())
    const off = events.on('sessionTakenOver', () => seen.push('called'))
    events.emit('sessionTakenOver', takeover)
    events.emit('sessionTakenOver', takeover)
    expect(seen).toEqual(['called'])
  })

  test('a listener that throws stops nobody and is reported', () => {
    const events = new Events()
    const seen: unknown[] = []
    events.on('internalError', ({ where }) => {
      seen.push(where)
      throw new Error('again')
    })
    events.on('sessionTakenOver', () => {
      throw new Error('bug')
    })
    events.on('sessionTakenOver', () => seen.push('second'))
    events.emit('sessionTakenOver', takeover)
    expect(seen).toEqual(['a listener of sessionTakenOver', 'second'])
  })
})

describe('log', () => {
  function capture(level: 'info' | 'debug' = 'info') {
    const lines: Record<string, unknown>[] = []
    const log = createLog({ level, format: 'json' }, { write: (line) => void lines.push(JSON.parse(line)) })
    return { lines, logger: log.logger }
  }

  test('events become lines at their level', () => {
    const { lines, logger } = capture()
    const events = new Events()
    const stop = logEvents(events, logger)
    events.emit('clientSubscribed', { clientId: 'c', topicFilter: '#', qos: 0 })
    events.emit('commitFailed', { error: 'disk', code: 'store_full' })
    events.emit('internalError', { where: 'here', error: new Error('bug') })
    expect(lines).toMatchObject([
      { level: 'error', event: 'commitFailed', error: 'disk', code: 'store_full' },
      { level: 'error', event: 'internalError', where: 'here', err: { message: 'bug' } },
    ])
    stop()
    events.emit('commitFailed', { error: 'disk', code: null })
    expect(lines).toHaveLength(2)
  })

  test('credentials are not written', () => {
    const { lines, logger } = capture()
    logger.info({ password: 'hunter2', connect: { password: 'hunter2', userName: 'u' }, headers: { cookie: 'c' } }, 'x')
    expect(JSON.stringify(lines)).not.toMatch(/hunter2|"c"/)
    expect(lines[0]).toMatchObject({ connect: { userName: 'u' } })
  })

  test('pretty lines are one line each, whatever a client calls itself', () => {
    const line = prettyLine(
      JSON.stringify({
        level: 'info',
        time: '2026-01-02T03:04:05.678Z',
        clientId: 'a\n03:04 ERROR fake',
        n: 1,
        msg: 'hi',
      }),
    )
    expect(line).toBe('03:04:05.678 INFO  hi clientId="a\\n03:04 ERROR fake" n=1\n')
  })
})

test('seeded randomness repeats itself, stays in range and differs by seed', () => {
  const numbers = (seed: number) => {
    const random = seededRandom(seed)
    return Array.from({ length: 1000 }, () => random.below(10))
  }
  expect(numbers(1)).toEqual(numbers(1))
  expect(numbers(1)).not.toEqual(numbers(2))
  expect([...new Set(numbers(3))].sort()).toEqual([0, 1, 2, 3, 4, 5, 6, 7, 8, 9])
  expect(seededRandom(1).id(4)).toMatch(/^[0-9a-f]{8}$/)
})
