import { describe, expect, test } from 'vitest'
import { chart } from '../chart.ts'
import type { TrafficResult } from '../load/result.ts'
import { advantage, cpuPerMessage, median, received } from '../metrics.ts'
import type { RunRecord } from '../run.ts'
import { scenarioOf } from '../scenarios.ts'
import { notesOf, rowsOf, withShares } from '../summary.ts'

const scenario = scenarioOf('p2p-qos0')

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
    payloadBytes: 16,
    latencyMicroseconds: null,
    sendLagMicroseconds: null,
    broker: cost,
    load: cost,
    othersCores: 0,
    background: null,
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

  test('shows the first figure of a variant as a share of its baseline, broker by broker', () => {
    const tls = scenarioOf('tls-p2p-qos0')
    const theirs = { ...record('sluicemq', 200), scenario: tls.name }
    const shares = withShares([...rows, ...rowsOf(tls, ['sluicemq', 'mosquitto'], [theirs])])
    const share = shares.find(({ metric }) => metric.unit === '%')!
    expect(share.scenario).toBe(tls)
    expect(share.cells.map(({ value }) => value)).toEqual([25, null])
  })

  test('says when the load generator itself was late', () => {
    const late = { count: 1, p50: 1, p90: 1, p99: 900, p999: 1, max: 1 }
    const change = { mode: 'rate', latencyMicroseconds: { ...late, p99: 1000 }, sendLagMicroseconds: late } as const
    expect(notesOf([record('sluicemq', 1, change)]).join()).toMatch(/generator itself was up to 900 µs late/)
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
