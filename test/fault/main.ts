/**
 * The fault lab: `npm run fault -- [mode] [options]`. Every mode is seeded (`--seed`), ends with an account, and exits with
 * 0: nothing was lost; 1: something was; 2: wrong usage.
 *
 *     kill          SIGKILL at random moments under load (the default); with --store redis of one of two nodes, or of both
 *     restart-loop  lives of a tenth of a second, ended in every way
 *     flapping      clients that come and go
 *     frozen        readers that read nothing
 *     slow          publishers at three times what subscribers read
 *     walk          the n-th store call of every operation fails, for n = 1, 2, 3 …
 *     points        kill -9 at every commit and every turn of one script
 *     sim           a simulated broker, clients, disk and network: thousands of seeds
 *     workers       SIGKILL for the broker and for workers over HTTP and MQTT; devices that send again; with
 *                   --store redis on two nodes
 *     redis-memory  a million messages through two nodes over Redis (--messages); its memory and its keys afterwards
 *     redis-workers SIGKILL for the node that keeps the queues, for Redis and for workers that know only Redis
 *
 *     --overload [--minutes 10]        publishers at three times what subscribers read
 *     --frozen-readers 10000 [--seconds 60] [--memory-mib 1024] [--qos 0|1]
 */
import { loadMode } from './load-modes.ts'
import { flappingMode, killMode, restartLoopMode } from './modes/kill.ts'
import { type FaultOptions, type Mode, readOptions } from './modes/options.ts'
import { pointsMode } from './modes/points.ts'
import { redisMemoryMode } from './modes/redis-memory.ts'
import { redisWorkersMode } from './modes/redis-workers.ts'
import { simMode } from './modes/sim.ts'
import { walkMode } from './modes/walk.ts'
import { workersMode } from './modes/workers.ts'

const run: Record<Mode, (options: FaultOptions) => Promise<boolean>> = {
  kill: (options) => killMode(options),
  'restart-loop': restartLoopMode,
  flapping: flappingMode,
  frozen: ({ report }) => loadMode(['--frozen-readers', '1000', '--seconds', '30'], report)!,
  slow: ({ minutes, report }) => loadMode(['--overload', '--minutes', String(minutes || 1)], report)!,
  walk: walkMode,
  points: pointsMode,
  sim: simMode,
  workers: workersMode,
  'redis-workers': redisWorkersMode,
  'redis-memory': redisMemoryMode,
}

async function main(): Promise<number> {
  let options: FaultOptions
  try {
    options = readOptions(process.argv.slice(2), report)
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    return 2
  }
  return (await run[options.mode](options)) ? 0 : 1
}

const report = (line: string): void => void process.stdout.write(`${line}\n`)
const load = loadMode(process.argv.slice(2), report)
process.exitCode = load === null ? await main() : (await load) ? 0 : 1
