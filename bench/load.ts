/**
 * The load generator: `node dist/bench/load.js --port 1883 --publishers 10 --subscribers 10 --qos 1 --window 100`.
 *
 * A process of its own, so that neither side borrows the other's time. Prints one JSON line (`LoadResult`).
 * Exit codes: 0 done, 1 the run is void (the reason is on stderr), 2 wrong options.
 */
import { hold } from './load/hold.ts'
import { type LoadOptions, parseLoadOptions } from './load/options.ts'
import type { LoadResult } from './load/result.ts'
import { Traffic } from './load/traffic.ts'

async function run(options: LoadOptions): Promise<{ result: LoadResult; close: () => void }> {
  if (options.mode === 'hold') return hold(options)
  const traffic = new Traffic(options)
  return { result: await traffic.run(), close: () => traffic.close() }
}

function options(): LoadOptions {
  try {
    return parseLoadOptions(process.argv.slice(2))
  } catch (error) {
    process.stderr.write(`${(error as Error).message}\n`)
    process.exit(2)
  }
}

try {
  const { result, close } = await run(options())
  // The result first: some brokers do not survive what closing does to them.
  process.stdout.write(`${JSON.stringify(result)}\n`)
  close()
} catch (error) {
  process.stderr.write(`${(error as Error).message}\n`)
  process.exit(1)
}
