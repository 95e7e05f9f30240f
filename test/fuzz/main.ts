/**
 * `npm run fuzz -- [--packets 1000000] [--seed N] [--seconds S] [--store lmdb|memory] [--from I] [--connections C]`
 * `npm run fuzz -- --replay FILE`
 *
 * Says spoiled conversations to a broker process and watches it. Exit code 0: nothing was found; 1: something was, and the
 * last lines say how to see it again; 2: wrong usage. A file to replay holds what a failed run printed: lines of hex, one a
 * write, with a line `# level 5, reset` before each connection.
 */
import { readFileSync } from 'node:fs'
import { parseArgs } from 'node:util'
import type { Version } from '../support/raw-packets.ts'
import { type FuzzResult, fuzz, tryAlone } from './fuzz.ts'
import type { Play } from './play.ts'
import { BrokerTarget } from './target.ts'

function readOptions() {
  const { values } = parseArgs({
    options: {
      packets: { type: 'string', default: '1000000' },
      seed: { type: 'string', default: String(Date.now() % 1_000_000_000) },
      seconds: { type: 'string', default: '86400' },
      from: { type: 'string', default: '0' },
      connections: { type: 'string', default: '32' },
      store: { type: 'string', default: 'lmdb' },
      replay: { type: 'string' },
    },
  })
  const number = (name: 'packets' | 'seed' | 'seconds' | 'from' | 'connections'): number => {
    const value = Number(values[name])
    if (!Number.isFinite(value) || value < 0) throw new Error(`--${name} takes a number, not ${values[name]}`)
    return value
  }
  if (values.store !== 'lmdb' && values.store !== 'memory') throw new Error('--store takes lmdb or memory')
  return {
    packets: number('packets'),
    seed: number('seed'),
    seconds: number('seconds'),
    from: number('from'),
    concurrency: Math.max(1, number('connections')),
    store: values.store as 'lmdb' | 'memory',
    replay: values.replay,
  }
}

const report = (line: string): void => void process.stdout.write(`${line}\n`)

/** The connections that a failed run printed. */
export function parseReplay(text: string): Play[] {
  const plays: (Play & { pieces: Buffer[] })[] = []
  for (const line of text.split('\n').map((one) => one.trim())) {
    const head = /^# level (\d|spoiled), (end|reset)$/.exec(line)
    if (head) {
      const version = head[1] === 'spoiled' ? null : (Number(head[1]) as Version)
      plays.push({ version, leave: head[2] as 'end' | 'reset', deaf: false, pieces: [] })
    } else if (/^([0-9a-f]{2})+$/.test(line)) plays.at(-1)?.pieces.push(Buffer.from(line, 'hex'))
  }
  return plays
}

function summary(result: FuzzResult): string {
  const mib = (bytes: number): string => `${(bytes / 2 ** 20).toFixed(1)} MiB`
  const { memory } = result
  return [
    `${result.mutated} spoiled packets of ${result.packets} in ${result.conversations} conversations, ${result.seconds.toFixed(0)} s`,
    `bystanders: ${result.echoes} echoes, the slowest ${result.slowestEchoMs.toFixed(0)} ms; ${result.queued} messages through the queue`,
    `memory: fresh ${mib(memory.fresh)}, after the first half ${mib(memory.before)}, peak ${mib(memory.peak)}, at the end ${mib(memory.after)}`,
  ].join('\n')
}

async function main(): Promise<number> {
  let options: ReturnType<typeof readOptions>
  try {
    options = readOptions()
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  const target = await BrokerTarget.start(options.store)
  try {
    if (options.replay !== undefined) {
      const failure = await tryAlone(target, parseReplay(readFileSync(options.replay, 'utf8')))
      report(failure ?? 'nothing went wrong')
      return failure === null ? 0 : 1
    }
    report(`seed ${options.seed}, store ${options.store}`)
    const result = await fuzz(target, { ...options, watchMemory: true, bystander: true, report })
    report(summary(result))
    if (result.failure === null) return 0
    report(`FAILED: ${result.failure}`)
    return 1
  } finally {
    await target.stop()
  }
}

process.exitCode = await main()
