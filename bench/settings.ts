/** The command line of the benchmark. */
import { resolve } from 'node:path'
import { parseArgs } from 'node:util'
import { aedes, aedesLevel, aedesRedis } from './peers/aedes.ts'
import { mirror } from './peers/mirror.ts'
import { mosquitto } from './peers/mosquitto.ts'
import { nats } from './peers/nats.ts'
import type { Peer } from './peers/peer.ts'
import { rabbitmq } from './peers/rabbitmq.ts'
import { sluicemq, sluicemqRedis } from './peers/sluicemq.ts'
import type { RunSettings } from './run.ts'
import { scenarios } from './scenarios.ts'
import { type Choice, choicesOfSet, groups, SETS } from './sets.ts'

export const USAGE = `npm run bench -- [options]

  --set NAME         core (default), all, queues, or issue3, issue4: the figures that issue has targets for, each against the
                     brokers the targets name; with it 5 runs of 2 s are the default (issue4: about 16 minutes);
                     redis: one and two nodes beside stock Aedes over Redis, 3 runs of 2 s (about 6 minutes)
  --scenario NAMES   comma-separated, instead of a set (--list shows them)
  --peers NAMES      comma-separated; default: every broker found here that the scenarios are for
                     (also: mirror, the ceiling of the load generator)
  --runs N           runs of each pair, interleaved; default 3
  --seconds N        measured seconds of a run; default 4
  --warmup N         seconds before them; default 1
  --pin              broker on core 0, load generator on core 1 (taskset)
  --data-root DIR    where brokers keep their data; default: the system's temporary directory
  --profile DIR      a CPU profile of SluiceMQ for every run, and the report says where it spent its time when a
                     target was not met; slower, so quote no figure of such a run
  --out PATH         results are written to PATH.jsonl, .md and .svg; default bench/results/<date>
                     "none": only print
  --list             list the scenarios
`

export interface BenchSettings {
  readonly run: RunSettings
  readonly runs: number
  /** What is measured, in groups whose runs take turns. */
  readonly groups: readonly (readonly Choice[])[]
  readonly peers: readonly Peer[]
  /** The peers were named: one that is missing is an error. */
  readonly peersNamed: boolean
  /** Path without extension; null: print only. */
  readonly out: string | null
  readonly list: boolean
}

const DEFAULT_PEERS: readonly Peer[] = [sluicemq, mosquitto, aedes, nats, rabbitmq, aedesLevel, aedesRedis]
const ALL_PEERS: readonly Peer[] = [sluicemq, sluicemqRedis, ...DEFAULT_PEERS.slice(1), mirror]

/** Throws an Error that names the option and what it expects. */
export function parseSettings(args: readonly string[], temporary: string, defaultOut: string): BenchSettings {
  const { values } = parseArgs({
    args: [...args],
    options: {
      set: { type: 'string' },
      scenario: { type: 'string' },
      peers: { type: 'string' },
      runs: { type: 'string' },
      seconds: { type: 'string' },
      warmup: { type: 'string', default: '1' },
      pin: { type: 'boolean', default: false },
      'data-root': { type: 'string', default: temporary },
      profile: { type: 'string' },
      out: { type: 'string', default: defaultOut },
      list: { type: 'boolean', default: false },
    },
  })
  const set = SETS.find((name) => name === (values.set ?? 'core'))
  if (set === undefined) throw new Error(`--set expects one of: ${SETS.join(', ')}`)
  if (values.set !== undefined && values.scenario !== undefined)
    throw new Error('--set and --scenario exclude each other')
  const choices =
    values.scenario === undefined
      ? choicesOfSet(set)
      : choose('--scenario', values.scenario, scenarios).map((scenario) => ({
          scenario,
          peers: scenario.peers ?? null,
        }))
  const runs = Number(values.runs ?? (set.startsWith('issue') ? 5 : 3))
  const seconds = Number(values.seconds ?? (set.startsWith('issue') || set === 'redis' ? 2 : 4))
  const warmupSeconds = Number(values.warmup)
  if (!Number.isInteger(runs) || runs < 1) throw new Error('--runs expects a whole number from 1')
  if (!(seconds >= 0.1)) throw new Error('--seconds expects a number from 0.1')
  if (!(warmupSeconds >= 0)) throw new Error('--warmup expects a number from 0')
  const profiles = values.profile === undefined ? null : resolve(values.profile)
  return {
    run: { seconds, warmupSeconds, pin: values.pin, dataRoot: values['data-root'], profiles },
    runs,
    groups: groups(choices),
    peers: values.peers === undefined ? peersFor(choices) : choose('--peers', values.peers, ALL_PEERS),
    peersNamed: values.peers !== undefined,
    out: values.out === 'none' ? null : values.out,
    list: values.list,
  }
}

/** All usual brokers, and those that a scenario is limited to; only these where every scenario is. */
function peersFor(choices: readonly Choice[]): Peer[] {
  const named = new Set(choices.flatMap(({ peers }) => peers ?? DEFAULT_PEERS.map(({ name }) => name)))
  return ALL_PEERS.filter(({ name }) => named.has(name))
}

function choose<T extends { readonly name: string }>(option: string, wanted: string, from: readonly T[]): T[] {
  return wanted.split(',').map((name) => {
    const found = from.find((item) => item.name === name.trim())
    if (!found) throw new Error(`${option} expects names out of: ${from.map((item) => item.name).join(', ')}`)
    return found
  })
}
