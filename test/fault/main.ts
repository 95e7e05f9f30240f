/**
 * `npm run fault -- [--rounds 20] [--seed N] [--store lmdb|redis] [--redis-url URL] [--minutes M] [--protocol 3,4,5]`
 *
 * The kill test in its long form. Exit code 0: nothing was lost; 1: something was; 2: wrong usage.
 * With `--minutes` it goes on in runs of `--rounds` rounds, each with its own account and the next seed.
 *
 * `npm run fault -- --overload [--minutes 10]`: publishers at three times what subscribers read.
 * `npm run fault -- --frozen-readers 10000 [--seconds 60] [--memory-mib 1024] [--qos 0|1]`: readers that read nothing.
 */
import { parseArgs } from 'node:util'
import type { Version } from '../support/raw-packets.ts'
import { runKillTest } from './kill.ts'
import { formatAccount } from './ledger.ts'
import { loadMode } from './load-modes.ts'

function readOptions() {
  const { values } = parseArgs({
    options: {
      rounds: { type: 'string', default: '20' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
      store: { type: 'string', default: 'lmdb' },
      'redis-url': { type: 'string' },
      minutes: { type: 'string', default: '0' },
      protocol: { type: 'string', default: '3,4' },
      publishers: { type: 'string', default: '6' },
    },
  })
  const number = (name: 'rounds' | 'seed' | 'minutes' | 'publishers') => {
    const value = Number(values[name])
    if (!Number.isFinite(value) || value < 0) throw new Error(`--${name} takes a number, not ${values[name]}`)
    return value
  }
  if (values.store !== 'lmdb' && values.store !== 'redis') throw new Error('--store takes lmdb or redis')
  const versions = values.protocol.split(',').map(Number) as Version[]
  if (!versions.every((version) => [3, 4, 5].includes(version))) throw new Error('--protocol takes 3, 4 and 5')
  return {
    rounds: number('rounds'),
    seed: number('seed'),
    minutes: number('minutes'),
    publishers: number('publishers'),
    store: values.store as 'lmdb' | 'redis',
    versions,
    ...(values['redis-url'] ? { redisUrl: values['redis-url'] } : {}),
  }
}

async function main(): Promise<number> {
  let options: ReturnType<typeof readOptions>
  try {
    options = readOptions()
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  const until = Date.now() + options.minutes * 60_000
  const report = (line: string) => void process.stdout.write(`${line}\n`)
  for (let { seed } = options; ; seed++) {
    report(`kill test: ${options.rounds} rounds, store ${options.store}, seed ${seed}`)
    const account = await runKillTest({ ...options, seed, report })
    report(formatAccount(account))
    if (account.violations.length > 0) return 1
    if (Date.now() >= until) return 0
  }
}

const load = loadMode(process.argv.slice(2), (line) => void process.stdout.write(`${line}\n`))
process.exitCode = load === null ? await main() : (await load) ? 0 : 1
