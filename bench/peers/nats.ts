/** NATS server with its MQTT listener (JetStream, file store). */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BrokerProcess, freePort } from './broker-process.ts'
import { programVersion } from './installed.ts'
import type { Need, Peer, RunningBroker, StartOptions } from './peer.ts'

export const nats: Peer = {
  name: 'nats',
  settings: 'JetStream file store, fsync every two minutes; max_pending 1 GB: slow subscribers are not cut off',
  version: () => programVersion('nats-server', ['--version'], /v(\d\S*)/),

  refuses(need: Need): string | null {
    if (need.qos === 2) return 'no QoS 2'
    if (need.version === 5) return 'no MQTT 5'
    if (need.shared) return 'no shared subscriptions of MQTT'
    if (need.queue) return 'no work queues fed by MQTT acknowledgements'
    return need.transport === 'tcp' ? null : `not set up for ${need.transport} here`
  },

  async start(options: StartOptions): Promise<RunningBroker> {
    const port = await freePort()
    const ownPort = await freePort()
    const command = async (directory: string) => {
      const file = join(directory, 'nats.conf')
      await writeFile(file, configuration(port, ownPort, directory))
      return { command: 'nats-server', args: ['-c', file], core: options.core }
    }
    const { broker } = await BrokerProcess.start(options.dataRoot, command, (starting) => starting.listening(port))
    return { port, pids: [broker.pid], stop: () => broker.stop() }
  },
}

function configuration(port: number, ownPort: number, directory: string): string {
  return [
    'server_name: bench',
    `listen: "127.0.0.1:${ownPort}"`,
    // With the default of 64 MB it hangs up on a subscriber of large messages.
    'max_pending: 1073741824',
    `jetstream: { store_dir: ${JSON.stringify(join(directory, 'jetstream'))} }`,
    `mqtt: { listen: "127.0.0.1:${port}" }`,
    '',
  ].join('\n')
}
