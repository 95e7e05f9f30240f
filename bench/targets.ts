/** What this project promises, by the issue that promises it, and the judgement of a run. */
import { scenarioOf } from './scenarios.ts'
import { medianOf, oursIn, type Row } from './summary.ts'

/** How a figure is judged. */
export type Bound =
  /** At least so many times better than the better of these brokers, whichever way the figure points. */
  | { readonly times: number; readonly better: readonly string[] }
  /** At least this share of the same figure of the scenario's baseline. */
  | { readonly share: number }
  /** At most so much, in the unit of the figure. */
  | { readonly most: number }

export interface Target {
  readonly issue: 2 | 3 | 4 | 6
  readonly scenario: string
  /** Name of the figure; absent: the first of the scenario. */
  readonly metric?: string
  readonly bound: Bound
}

const times = (issue: 2 | 4 | 6, scenario: string, factor: number, ...better: string[]): Target => {
  return { issue, scenario, bound: { times: factor, better } }
}

export const targets: readonly Target[] = [
  times(2, 'p2p-qos0', 8, 'mosquitto'),
  times(2, '10to10-qos1', 8, 'mosquitto'),
  times(2, 'queue-qos1', 3, 'mosquitto'),

  { issue: 3, scenario: 'v5-p2p-qos0', bound: { share: 0.9 } },
  { issue: 3, scenario: 'v5-10to10-qos1', bound: { share: 0.9 } },
  { issue: 3, scenario: 'v5-p2p-qos0-3props', bound: { share: 0.65 } },
  { issue: 3, scenario: 'v5-p2p-qos0-256b-3props', bound: { share: 0.65 } },
  { issue: 3, scenario: 'v5-10to10-qos1-3props', bound: { share: 0.65 } },

  times(4, 'p2p-qos0', 1.5, 'nats'),
  times(4, 'p2p-qos0', 20, 'mosquitto'),
  times(4, '10to10-qos0', 1.5, 'nats'),
  times(4, 'fanin-10to1-qos0', 1.5, 'nats'),
  times(4, 'fanout-1to50-qos0', 1.5, 'nats'),
  times(4, 'fanout-1to50-qos0', 30, 'mosquitto'),
  times(4, '10to10-qos1', 20, 'mosquitto'),
  times(4, 'fanout-1to50-qos1', 5, 'mosquitto'),
  times(4, '10to10-qos2', 15, 'mosquitto'),
  times(4, 'persistent-10to10-qos1', 3, 'mosquitto'),
  times(4, 'queue-qos1', 6, 'mosquitto'),
  times(4, 'p2p-qos0-64kb', 1.2, 'nats', 'mosquitto'),
  { issue: 4, scenario: 'ws-p2p-qos0', bound: { share: 0.5 } },
  { issue: 4, scenario: 'tls-p2p-qos0', bound: { share: 0.4 } },
  times(4, 'shared-1to10-qos1', 10, 'mosquitto'),
  times(4, 'rate-20k', 1, 'mosquitto'),
  { issue: 4, scenario: 'puback-10k', bound: { most: 5_000 } },
  { issue: 4, scenario: 'idle-memory', bound: { most: 7_000 } },
  times(4, 'connect-storm', 1, 'nats'),
  { issue: 4, scenario: 'million-subs', metric: 'memory per subscription', bound: { most: 300 } },
  { issue: 4, scenario: 'million-subs', bound: { share: 0.8 } },
  { issue: 4, scenario: 'topic-tree', bound: { most: 5 } },

  times(6, 'redis-persistent-qos1', 8, 'aedes-redis'),
  times(6, 'redis-persistent-qos1-fsync', 8, 'aedes-redis'),
  times(6, 'redis-nodes-10to10-qos0', 8, 'aedes-redis'),
  times(6, 'redis-nodes-1to50-qos0', 8, 'aedes-redis'),
  { issue: 6, scenario: 'redis-filters-100k', bound: { share: 0.9 } },
  times(6, 'redis-drain', 50, 'aedes-redis'),
]

/** Brokers a target is about, ours first. */
export function peersOf(target: Target): string[] {
  return [oursIn(scenarioOf(target.scenario)), ...('better' in target.bound ? target.bound.better : [])]
}

export interface Verdict {
  readonly target: Target
  /** The figure's name. */
  readonly metric: string
  /** In words: `at least 1.5 × nats`. */
  readonly wanted: string
  /** In words, with the figures it comes from; null: the run did not measure all of them. */
  readonly reached: string | null
  /** Null: not measured. */
  readonly met: boolean | null
}

const NOT_MEASURED = { reached: null, met: null } as const

/** One verdict for each target whose scenario is in the rows. */
export function verdictsOf(rows: readonly Row[], from: readonly Target[] = targets): Verdict[] {
  const verdicts: Verdict[] = []
  for (const target of from) {
    const own = rows.filter(({ scenario }) => scenario.name === target.scenario)
    const row = target.metric === undefined ? own[0] : own.find(({ metric }) => metric.name === target.metric)
    if (row === undefined) continue
    verdicts.push({ target, metric: row.metric.name, wanted: wanted(target, row), ...judge(target.bound, row, rows) })
  }
  return verdicts
}

function wanted({ bound }: Target, row: Row): string {
  if ('times' in bound) {
    const whom = bound.better.length === 1 ? bound.better[0] : `the better of ${bound.better.join(' and ')}`
    return bound.times === 1 ? `no worse than ${whom}` : `at least ${bound.times} × ${whom}`
  }
  if ('share' in bound) return `at least ${percent(bound.share)} of ${row.scenario.baseline}`
  return `at most ${bound.most.toLocaleString('en-US')} ${row.metric.unit}`
}

function judge(bound: Bound, row: Row, rows: readonly Row[]): Pick<Verdict, 'reached' | 'met'> {
  const ours = medianOf(row, oursIn(row.scenario))
  if (ours === null) return NOT_MEASURED
  const unit = row.metric.unit
  if ('most' in bound) return { reached: `${digits(ours)} ${unit}`, met: ours <= bound.most }
  if ('share' in bound) {
    const baseline = rows.find(({ scenario }) => scenario.name === row.scenario.baseline)
    const whole = baseline === undefined ? null : medianOf(baseline, oursIn(row.scenario))
    if (whole === null) return NOT_MEASURED
    return {
      reached: `${percent(ours / whole)} (${digits(ours)} of ${digits(whole)} ${unit})`,
      met: ours / whole >= bound.share,
    }
  }
  // The better of several is the one SluiceMQ is the fewest times better than. One that is missing might be it.
  const rivals = bound.better.map((peer) => row.cells.find((cell) => cell.peer === peer))
  if (rivals.some((cell) => cell?.advantage == null)) return NOT_MEASURED
  const best = rivals.reduce((one, other) => (other!.advantage! < one!.advantage! ? other : one))!
  const ratio = best.advantage!
  const whom = bound.better.length > 1 ? ` by ${best.peer}` : ''
  return {
    reached: `${ratio.toFixed(2)} × (${digits(ours)} to ${digits(best.value!)} ${unit}${whom})`,
    met: ratio >= bound.times,
  }
}

function digits(value: number): string {
  return value.toLocaleString('en-US', { maximumSignificantDigits: 4 })
}

function percent(share: number): string {
  return `${Number((share * 100).toFixed(1))} %`
}
