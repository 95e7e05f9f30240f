/** What the command line of `npm run fault` says. */
import { parseArgs } from 'node:util'
import type { Version } from '../../support/raw-packets.ts'

export const modes = [
  'kill',
  'restart-loop',
  'flapping',
  'frozen',
  'slow',
  'walk',
  'points',
  'sim',
  'workers',
  'redis-workers',
  'redis-memory',
] as const
export type Mode = (typeof modes)[number]

export interface FaultOptions {
  readonly mode: Mode
  readonly seed: number
  readonly rounds: number
  readonly minutes: number
  readonly publishers: number
  readonly seeds: number
  /** First seed of `sim`; undefined: `seed`. */
  readonly from: number | undefined
  readonly steps: number
  /** Of `redis-memory`. */
  readonly messages: number
  readonly store: 'lmdb' | 'redis'
  readonly versions: Version[]
  readonly redisUrl?: string
  /** Of `kill` and its kin. */
  readonly nodes: number
  readonly report: (line: string) => void
}

/** @throws Error with what is wrong, for the person who typed it */
export function readOptions(args: readonly string[], report: (line: string) => void): FaultOptions {
  const { values, positionals } = parseArgs({
    args: [...args],
    allowPositionals: true,
    options: {
      rounds: { type: 'string', default: '20' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
      seeds: { type: 'string', default: '1000' },
      from: { type: 'string' },
      steps: { type: 'string', default: '160' },
      messages: { type: 'string', default: '1000000' },
      store: { type: 'string', default: 'lmdb' },
      'redis-url': { type: 'string' },
      minutes: { type: 'string', default: '0' },
      protocol: { type: 'string', default: '3,4,5' },
      publishers: { type: 'string', default: '6' },
      nodes: { type: 'string' },
    },
  })
  type Numeric = 'rounds' | 'seed' | 'seeds' | 'from' | 'steps' | 'messages' | 'minutes' | 'publishers' | 'nodes'
  const number = (name: Numeric) => {
    const value = Number(values[name])
    if (!Number.isFinite(value) || value < 0) throw new Error(`--${name} takes a number, not ${values[name]}`)
    return value
  }
  const mode = (positionals[0] ?? 'kill') as Mode
  if (!modes.includes(mode) || positionals.length > 1) throw new Error(`the modes are ${modes.join(', ')}`)
  if (values.store !== 'lmdb' && values.store !== 'redis') throw new Error('--store takes lmdb or redis')
  const versions = values.protocol.split(',').map(Number) as Version[]
  if (!versions.every((version) => [3, 4, 5].includes(version))) throw new Error('--protocol takes 3, 4 and 5')
  return {
    mode,
    rounds: number('rounds'),
    seed: number('seed'),
    seeds: number('seeds'),
    from: values.from === undefined ? undefined : number('from'),
    steps: number('steps'),
    messages: number('messages'),
    minutes: number('minutes'),
    publishers: number('publishers'),
    store: values.store,
    versions,
    nodes: values.nodes === undefined ? (values.store === 'redis' && !values['redis-url'] ? 2 : 1) : number('nodes'),
    ...(values['redis-url'] ? { redisUrl: values['redis-url'] } : {}),
    report,
  }
}
