/** What a scenario of the benchmark is. */
import type { Transport } from './load/link.ts'
import { cpuPerMessage, type Metric, received } from './metrics.ts'
import type { Need } from './peers/peer.ts'

/** Options of `load.js` by name, as its command line takes them; `true` for a flag. */
export type LoadFlags = Readonly<Record<string, number | string | true>>

export interface Scenario {
  readonly name: string
  /** One line for the report. */
  readonly title: string
  /** The first is the one the chart draws. */
  readonly metrics: readonly Metric[]
  readonly load: LoadFlags
  /**
   * Messages go into this work queue of a broker that has queues, and nobody subscribes. Brokers without queues are
   * given `substitute` instead of `load`, or are left out without one.
   */
  readonly queue?: { readonly name: string; readonly substitute?: LoadFlags }
  /** After each run the disk is asked what it takes for a commit's writes without a broker. */
  readonly asksDisk?: true
  /**
   * The scenario whose first figure this one's is shown as a share of, broker by broker. The runs of the two take
   * turns, and it is measured even when only this one was asked for.
   */
  readonly baseline?: string
  /** Brokers that take part; all when absent. */
  readonly peers?: readonly string[]
  /**
   * Brokers keep their data in a Redis server, which writes to disk before it answers (`always`) or not at all (`no`). With two nodes
   * publishers connect to the first and subscribers to the second.
   */
  readonly redis?: RedisNeed
  /** A program of the benchmark that measures by itself, once, instead of `load`. */
  readonly program?: Program
}

export interface RedisNeed {
  readonly appendfsync: 'no' | 'always'
  readonly nodes: 1 | 2
}

export interface Program {
  /** File beside run.ts, as built. */
  readonly file: string
  readonly args: readonly string[]
  /** Run once for each broker, whose name follows `--peers`; else only for SluiceMQ. */
  readonly eachPeer?: true
  /** The figures in what it printed. */
  figures(stdout: string): Readonly<Record<string, number>>
}

/** What nearly every scenario with traffic shows. */
export const traffic: readonly Metric[] = [received, cpuPerMessage]

/** As many messages of 16 bytes as QoS lets through; `more` adds options or replaces these. */
export function flood(publishers: number, subscribers: number, qos: 0 | 1 | 2, more: LoadFlags = {}): LoadFlags {
  return { publishers, subscribers, qos, payload: 16, window: 100, ...more }
}

/** What a broker must be able to do to take part. */
export function needOf(scenario: Scenario): Need {
  const { load } = scenario
  return {
    qos: (load['qos'] ?? 0) as Need['qos'],
    version: (load['version'] ?? 4) as Need['version'],
    transport: (load['transport'] ?? 'tcp') as Transport,
    shared: load['share'] !== undefined,
    queue: scenario.queue !== undefined && scenario.queue.substitute === undefined,
  }
}
