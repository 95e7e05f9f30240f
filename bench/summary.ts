/** Medians over the runs, and what the figures are compared with. */
import { advantage, type Metric, median } from './metrics.ts'
import type { RunRecord } from './run.ts'
import type { Scenario } from './scenarios.ts'

/** The peer every ratio is about. */
export const OURS = 'sluicemq'

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
    const ours = median(values(OURS))
    const cells = peers.map((peer): Cell => {
      const own = values(peer)
      const value = median(own)
      return {
        peer,
        value,
        least: own.length > 0 ? Math.min(...own) : null,
        most: own.length > 0 ? Math.max(...own) : null,
        advantage: peer === OURS || ours === null || value === null ? null : advantage(metric, ours, value),
      }
    })
    return { scenario, metric, cells }
  })
}

/** Things a reader of the table must know: failures, losses, and where the instrument was the limit. */
export function notesOf(runs: readonly RunRecord[]): string[] {
  const notes = new Set<string>()
  const busiest = new Map<string, number>()
  const disturbed = new Set<string>()
  const missing = new Map<string, { missing: number; owed: number }>()
  for (const { scenario, peer, error, result } of runs) {
    const key = `${scenario}, ${peer}`
    if (error !== null) notes.add(`${key}: ${error}`)
    if (result === null || result.mode === 'hold') continue
    if ((result.othersCores ?? 0) > 0.25) disturbed.add(scenario)
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
  if (disturbed.size > 0) {
    notes.add(`other programs used more than a quarter of a core during: ${[...disturbed].join(', ')}; provisional`)
  }
  return [...notes]
}

export interface Verdict {
  readonly scenario: string
  readonly against: string
  readonly wanted: number
  readonly reached: number
  readonly met: boolean
}

/** The promised ratios for which this run has both figures. */
export function verdictsOf(rows: readonly Row[]): Verdict[] {
  const verdicts: Verdict[] = []
  for (const { scenario, metric, cells } of rows) {
    if (metric !== scenario.metrics[0]) continue
    for (const [against, wanted] of Object.entries(scenario.targets ?? {})) {
      const reached = cells.find((cell) => cell.peer === against)?.advantage
      if (reached == null) continue
      verdicts.push({ scenario: scenario.name, against, wanted, reached, met: reached >= wanted })
    }
  }
  return verdicts
}

export function integer(value: number): string {
  return Math.round(value).toLocaleString('en-US')
}

/** Large figures without fraction, small ones with two significant places behind the point. */
export function figure(value: number): string {
  return Math.abs(value) >= 100 ? integer(value) : value.toFixed(2)
}
