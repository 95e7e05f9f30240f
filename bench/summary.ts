/** Medians over the runs, and what the figures are compared with. */
import { advantage, type Metric, median } from './metrics.ts'
import type { RunRecord } from './run.ts'
import type { Scenario } from './scenario.ts'

/** The peer every ratio is about, but for scenarios over Redis. */
export const OURS = 'sluicemq'

/** The peer the scenario's ratios are about. */
export function oursIn(scenario: Scenario): string {
  return scenario.redis === undefined ? OURS : 'sluicemq-redis'
}

export interface Cell {
  readonly peer: string
  /** Median over the runs that succeeded; null when none did. */
  readonly value: number | null
  readonly least: number | null
  readonly most: number | null
  /** How many times better SluiceMQ is than this peer; null for itself and where a value is missing. */
  readonly advantage: number | null
}

export interface Row {
  readonly scenario: Scenario
  readonly metric: Metric
  readonly cells: readonly Cell[]
}

export function rowsOf(scenario: Scenario, peers: readonly string[], runs: readonly RunRecord[]): Row[] {
  return scenario.metrics.map((metric) => {
    const values = (peer: string): number[] =>
      runs
        .filter((run) => run.peer === peer && run.scenario === scenario.name && run.error === null)
        .map((run) => (run.result ? metric.of(run.result) : null))
        .filter((value) => value !== null)
    const ours = median(values(oursIn(scenario)))
    const cells = peers.map((peer): Cell => {
      const own = values(peer)
      const value = median(own)
      return {
        peer,
        value,
        least: own.length > 0 ? Math.min(...own) : null,
        most: own.length > 0 ? Math.max(...own) : null,
        advantage: peer === oursIn(scenario) || ours === null || value === null ? null : advantage(metric, ours, value),
      }
    })
    return { scenario, metric, cells }
  })
}

/** The figure of a broker in the row, or null. */
export function medianOf(row: Row, peer: string): number | null {
  return row.cells.find((cell) => cell.peer === peer)?.value ?? null
}

/** The rows, and for each scenario with a baseline one more: its first figure as a share of the baseline's, in %. */
export function withShares(rows: readonly Row[]): Row[] {
  const first = (name: string): Row | undefined => rows.find(({ scenario }) => scenario.name === name)
  return rows.flatMap((row) => {
    const { scenario, metric } = row
    if (scenario.baseline === undefined || row !== first(scenario.name)) return [row]
    const baseline = first(scenario.baseline)
    if (baseline === undefined) return [row]
    const share: Metric = {
      name: `${metric.name}, of ${scenario.baseline}`,
      unit: '%',
      better: 'higher',
      of: () => null,
    }
    const cells = row.cells.map(({ peer, value }): Cell => {
      const whole = medianOf(baseline, peer)
      const percent = value === null || whole === null || whole === 0 ? null : (100 * value) / whole
      return { peer, value: percent, least: null, most: null, advantage: null }
    })
    return [row, { scenario, metric: share, cells }]
  })
}

/** Things a reader of the table must know: failures, losses, and where the instrument was the limit. */
export function notesOf(runs: readonly RunRecord[]): string[] {
  const notes = new Set<string>()
  const busiest = new Map<string, number>()
  const disturbed = new Set<string>()
  const late = new Map<string, number>()
  const missing = new Map<string, { missing: number; owed: number }>()
  for (const { scenario, peer, error, result } of runs) {
    const key = `${scenario}, ${peer}`
    if (error !== null) notes.add(`${key}: ${error}`)
    if (result === null || result.mode === 'hold' || result.mode === 'program') continue
    if ((result.othersCores ?? 0) > 0.25) disturbed.add(scenario)
    const { latencyMicroseconds: latency, sendLagMicroseconds: lag } = result
    if (latency && lag && lag.p99 > latency.p99 / 4) late.set(key, Math.max(late.get(key) ?? 0, lag.p99))
    if (result.mode === 'flood') busiest.set(key, Math.max(busiest.get(key) ?? 0, result.load.cores))
    const lost = result.totals.missing ?? 0
    if (lost > (missing.get(key)?.missing ?? 0))
      missing.set(key, { missing: lost, owed: lost + result.totals.received })
  }
  for (const [key, { missing: lost, owed }] of missing) {
    notes.add(`${key}: ${integer(lost)} of ${integer(owed)} messages owed to subscribers never came`)
  }
  for (const [key, cores] of busiest) {
    if (cores > 0.9) notes.add(`${key}: the load generator was busy (${cores.toFixed(2)} cores) and may be the limit`)
  }
  for (const [key, lag] of late) {
    notes.add(
      `${key}: the load generator itself was up to ${integer(lag)} µs late (p99); part of the latency is its own`,
    )
  }
  if (disturbed.size > 0) {
    notes.add(`other programs used more than a quarter of a core during: ${[...disturbed].join(', ')}; provisional`)
  }
  return [...notes]
}

export function integer(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

/** Large figures without fraction, small ones with two significant places behind the point. */
export function figure(value: number): string {
  return Math.abs(value) >= 100 ? integer(value) : value.toFixed(2)
}
