/** Starts one of the benchmark's own broker programs (stock Aedes, the mirror) in a Node process. */
import { fileURLToPath } from 'node:url'
import { BrokerProcess } from './broker-process.ts'
import type { RunningBroker, StartOptions } from './peer.ts'

/** `program` is a file beside this one; it takes `more` as arguments, runs in its data directory and prints `ready PORT`. */
export async function startNodeBroker(
  program: string,
  options: StartOptions,
  more: readonly string[] = [],
): Promise<RunningBroker> {
  const file = fileURLToPath(new URL(program, import.meta.url))
  const args = [file, ...(options.transport === 'websocket' ? ['--websocket'] : []), ...more]
  const command = async () => ({ command: process.execPath, args, core: options.core })
  const { broker, facts } = await BrokerProcess.start(options.dataRoot, command, (starting) =>
    starting.line(/^ready (\d+)$/m),
  )
  return { port: Number(facts[1]), pids: [broker.pid], stop: () => broker.stop() }
}
