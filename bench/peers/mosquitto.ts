/** Eclipse Mosquitto from the system's packages. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BrokerProcess, freePort } from './broker-process.ts'
import { programVersion } from './installed.ts'
import type { Peer, RunningBroker, StartOptions } from './peer.ts'

export const mosquitto: Peer = {
  name: 'mosquitto',
  settings: 'no persistence; set_tcp_nodelay true; max_queued_messages 0, max_inflight_messages 100: drops nothing',
  version: () => programVersion('mosquitto', ['-h'], /mosquitto version (\S+)/),
  refuses: () => null,

  async start(options: StartOptions): Promise<RunningBroker> {
    const port = await freePort()
    const plainPort = options.webSocket ? await freePort() : port
    const command = async (directory: string) => {
      const file = join(directory, 'mosquitto.conf')
      await writeFile(file, configuration(plainPort, options.webSocket ? port : null))
      return { command: 'mosquitto', args: ['-c', file], core: options.core }
    }
    const { broker } = await BrokerProcess.start(options.dataRoot, command, (starting) => starting.listening(port))
    return { port, pid: broker.pid, stop: () => broker.stop() }
  },
}

function configuration(port: number, webSocketPort: number | null): string {
  return [
    // Mosquitto 2.0.11 does not start with a WebSocket listener alone.
    `listener ${port} 127.0.0.1`,
    ...(webSocketPort === null ? [] : [`listener ${webSocketPort} 127.0.0.1`, 'protocol websockets']),
    'allow_anonymous true',
    'persistence false',
    'set_tcp_nodelay true',
    // By default it acknowledges and throws away what a subscriber's queue of 1,000 cannot take. These two let it
    // deliver everything, and made it faster where they made a difference.
    'max_queued_messages 0',
    'max_inflight_messages 100',
    // Started by root it would become a user who may not read the temporary directory.
    ...(process.getuid?.() === 0 ? ['user root'] : []),
    'log_dest none',
    '',
  ].join('\n')
}
