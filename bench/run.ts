/** One run: start a fresh broker, put the load on it, ask it what it queued, stop it. */
import { spawn } from 'node:child_process'
import { once } from 'node:events'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { diskFlush } from './disk-flush.ts'
import type { LoadResult, ProgramResult } from './load/result.ts'
import type { Peer, RunningBroker } from './peers/peer.ts'
import { type LoadFlags, needOf, type Program, type Scenario } from './scenario.ts'

export interface RunSettings {
  readonly seconds: number
  readonly warmupSeconds: number
  /** Broker on core 0, load on core 1. */
  readonly pin: boolean
  readonly dataRoot: string
  /** Directory for a CPU profile of SluiceMQ for every run; null: none. */
  readonly profiles: string | null
}

/** What a program of the benchmark may take. */
const PROGRAM_MS = 240_000

/** One line of the result file. */
export interface RunRecord {
  readonly type: 'run'
  readonly date: string
  readonly scenario: string
  readonly peer: string
  readonly peerVersion: string
  /** Number of the run within scenario and peer, from 1. */
  readonly run: number
  readonly load: LoadFlags
  /** Null: the run failed, `error` says why. */
  readonly result: LoadResult | null
  readonly error: string | null
  /** Messages the broker counts in the work queue after the run; null where there is none. */
  readonly queued: number | null
}

/** What a run may take beyond its own seconds: connecting, draining, ten thousand slow accepts, a million SUBSCRIBEs. */
const RUN_EXTRA_MS = 120_000

export async function run(
  scenario: Scenario,
  peer: Peer,
  peerVersion: string,
  number: number,
  settings: RunSettings,
): Promise<RunRecord> {
  const load = flags(scenario, peer, settings)
  const record = { date: new Date().toISOString(), scenario: scenario.name, peer: peer.name, peerVersion, run: number }
  const failed = (error: unknown): RunRecord => {
    return { type: 'run', ...record, load, result: null, error: (error as Error).message, queued: null }
  }
  if (scenario.program) {
    try {
      const result = await measure(scenario.program, peer)
      return { type: 'run', ...record, load, result, error: null, queued: null }
    } catch (error) {
      return failed(error)
    }
  }
  let broker: RunningBroker
  try {
    broker = await peer.start({
      ...(scenario.queue ? { queue: scenario.queue.name } : {}),
      ...(settings.pin ? { core: 0 } : {}),
      ...(settings.profiles ? { profile: profileFile(settings.profiles, scenario, number) } : {}),
      ...(scenario.redis ? { redis: scenario.redis } : {}),
      transport: needOf(scenario).transport,
      dataRoot: settings.dataRoot,
    })
  } catch (error) {
    return failed(error)
  }
  try {
    const traffic = await generate({ ...load, ...addressOf(broker) }, settings.pin)
    const result = scenario.asksDisk ? withDisk(traffic, settings.dataRoot) : traffic
    const queued = scenario.queue && broker.queued ? await broker.queued(scenario.queue.name) : null
    return { type: 'run', ...record, load, result, error: shortfall(result, queued), queued }
  } catch (error) {
    return failed(error)
  } finally {
    await broker.stop()
  }
}

function addressOf({ port, subscriberPort = port, pids, redisPids = [] }: RunningBroker): LoadFlags {
  return { port, 'subscriber-port': subscriberPort, 'broker-pid': pids.join(','), 'redis-pid': redisPids.join(',') }
}

function withDisk(result: LoadResult, dataRoot: string): LoadResult {
  if (result.mode !== 'rate' && result.mode !== 'flood') return result
  return { ...result, diskFlushMicroseconds: diskFlush(dataRoot) }
}

/** Where the CPU profile of a run is. */
export function profileFile(directory: string, scenario: Scenario, number: number): string {
  return join(directory, `${scenario.name}-${number}.cpuprofile`)
}

function flags(scenario: Scenario, peer: Peer, settings: RunSettings): LoadFlags {
  const substitute = peer.name === 'sluicemq' ? undefined : scenario.queue?.substitute
  const load = substitute ?? scenario.load
  return { warmup: settings.warmupSeconds, seconds: settings.seconds, ...load }
}

/** A queue that holds less than was acknowledged makes the figure worthless. */
function shortfall(result: LoadResult, queued: number | null): string | null {
  if (queued === null || result.mode === 'hold' || result.mode === 'program' || queued >= result.totals.acknowledged)
    return null
  return `${result.totals.acknowledged} messages acknowledged, ${queued} in the queue`
}

/** Runs the load generator in a process of its own. Rejects with its last words when the run is void. */
async function generate(load: LoadFlags, pin: boolean): Promise<LoadResult> {
  const args: string[] = []
  for (const [name, value] of Object.entries(load)) args.push(`--${name}`, ...(value === true ? [] : [String(value)]))
  const timeoutMs = Number(load['seconds']) * 1000 + Number(load['warmup']) * 1000 + RUN_EXTRA_MS
  return JSON.parse(await output('load.js', args, timeoutMs, pin)) as LoadResult
}

async function measure(program: Program, peer: Peer): Promise<ProgramResult> {
  const args = program.eachPeer ? [...program.args, '--peers', peer.name] : program.args
  return { mode: 'program', figures: program.figures(await output(program.file, args, PROGRAM_MS, false)) }
}

/** What a program of the benchmark writes to stdout. Rejects with its last words when it fails. */
async function output(file: string, args: readonly string[], timeoutMs: number, pin: boolean): Promise<string> {
  const program = fileURLToPath(new URL(file, import.meta.url))
  const line = [...(pin ? ['taskset', '-c', '1'] : []), process.execPath, program, ...args]
  const child = spawn(line[0]!, line.slice(1), {
    stdio: ['ignore', 'pipe', 'pipe'],
    timeout: timeoutMs,
    killSignal: 'SIGKILL',
  })
  let stdout = ''
  let stderr = ''
  child.stdout.setEncoding('utf8').on('data', (text: string) => {
    stdout += text
  })
  child.stderr.setEncoding('utf8').on('data', (text: string) => {
    stderr += text
  })
  const kill = (): void => {
    child.kill('SIGKILL')
  }
  process.once('exit', kill)
  const [code, signal] = await once(child, 'close')
  process.removeListener('exit', kill)
  if (code === 0) return stdout
  throw new Error(signal ? `${file} did not finish in time` : stderr.trim())
}
