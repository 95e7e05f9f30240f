import { describe, expect, test } from 'vitest'
import { chart } from '../chart.ts'
import type { TrafficResult } from '../load/result.ts'
import { advantage, cpuPerMessage, median, received } from '../metrics.ts'
import type { RunRecord } from '../run.ts'
import { scenarios } from '../scenarios.ts'
import { notesOf, rowsOf, verdictsOf } from '../summary.ts'

const scenario = scenarios.find(({ name }) => name === 'p2p-qos0')!

function record(peer: string, receivedPerSecond: number, change: Partial<TrafficResult> = {}): RunRecord {
  const cost = {
    cores: 0.5,
    cpuMicrosecondsPerMessage: 1e6 / receivedPerSecond,
    residentBytes: 1,
    peakResidentBytes: 1,
  }
  const result: TrafficResult = {
    mode: 'flood',
    elapsedSeconds: 1,
    sentPerSecond: receivedPerSecond,
    acknowledgedPerSecond: 0,
    receivedPerSecond,
    totals: { sent: 1, acknowledged: 0, refused: 0, received: 1, duplicates: 0, missing: null },
    latencyMicroseconds: null,
    sendLagMicroseconds: null,
    broker: cost,
    load: cost,
    othersCores: 0,
    ...change,
  }
  const facts = { date: '', scenario: 'p2p-qos0', peerVersion: '1', run: 1, load: {}, error: null, queued: null }
  return { type: 'run', ...facts, peer, result }
}

describe('figures', () => {
  test('the median is the middle, or the mean of the two in the middle', () => {
    expect(median([3, 1, 2])).toBe(2)
    expect(median([4, 1, 2, 3])).toBe(2.5)
    expect(median([])).toBeNull()
  })

  test('an advantage above 1 is better whichever way the figure points', () => {
    expect(advantage(received, 800, 100)).toBe(8)
    expect(advantage(cpuPerMessage, 1, 8)).toBe(8)
    expect(advantage(received, 1, 0)).toBeNull()
  })
})

describe('a summary', () => {
  const runs = [
    record('sluicemq', 900),
    record('mosquitto', 100),
    record('sluicemq', 700),
    record('mosquitto', 90),
    record('sluicemq', 800),
    record('mosquitto', 110),
  ]
  const rows = rowsOf(scenario, ['sluicemq', 'mosquitto', 'nats'], runs)

  test('takes medians and compares them', () => {
    const [ours, theirs, absent] = rows[0]!.cells
    expect(ours).toMatchObject({ value: 800, least: 700, most: 900, advantage: null })
    expect(theirs).toMatchObject({ value: 100, advantage: 8 })
    expect(absent).toMatchObject({ value: null, advantage: null })
  })

  test('a run that failed counts for nothing', () => {
    const failed: RunRecord = { ...record('sluicemq', 1), error: 'lost messages' }
    expect(rowsOf(scenario, ['sluicemq'], [...runs, failed])[0]!.cells[0]!.value).toBe(800)
    expect(notesOf([failed])).toEqual(['p2p-qos0, sluicemq: lost messages'])
  })

  test('judges the promised ratios', () => {
    expect(verdictsOf(rows)).toEqual([{ scenario: 'p2p-qos0', against: 'mosquitto', wanted: 8, reached: 8, met: true }])
    const slower = rowsOf(scenario, ['sluicemq', 'mosquitto'], [record('sluicemq', 799), record('mosquitto', 100)])
    expect(verdictsOf(slower)[0]).toMatchObject({ met: false })
  })

  test('says where messages were lost, the instrument was busy or the machine was shared', () => {
    const totals = { sent: 9, acknowledged: 9, refused: 0, received: 7, duplicates: 0, missing: 2 }
    const load = { cores: 0.99, cpuMicrosecondsPerMessage: 1, residentBytes: 1, peakResidentBytes: 1 }
    const notes = notesOf([record('mosquitto', 10, { totals, load, othersCores: 0.9 })])
    expect(notes.join('\n')).toMatch(/2 of 9 messages owed/)
    expect(notes.join('\n')).toMatch(/load generator was busy/)
    expect(notes.join('\n')).toMatch(/other programs used more than a quarter of a core during: p2p-qos0/)
  })

  test('draws one bar for each figure, with nothing unescaped', () => {
    const svg = chart(rows, 'a < b & c')
    expect(svg.match(/<rect x=/g)).toHaveLength(2)
    expect(svg).toContain('a &lt; b &amp; c')
    expect(svg).not.toContain('NaN')
  })
})
