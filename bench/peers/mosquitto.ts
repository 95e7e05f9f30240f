/** Eclipse Mosquitto from the system's packages. */
import { writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BrokerProcess, freePort } from './broker-process.ts'
import { type Certificate, makeCertificate } from './certificate.ts'
import { programVersion } from './installed.ts'
import type { Need, Peer, RunningBroker, StartOptions } from './peer.ts'

export const mosquitto: Peer = {
  name: 'mosquitto',
  settings: 'no persistence; set_tcp_nodelay true; max_queued_messages 0, max_inflight_messages 100: drops nothing',
  version: () => programVersion('mosquitto', ['-h'], /mosquitto version (\S+)/),
  refuses: (need: Need) => (need.queue ? 'no work queues' : null),

  async start(options: StartOptions): Promise<RunningBroker> {
    const port = await freePort()
    const webSocket = options.transport === 'websocket'
    const plainPort = webSocket ? await freePort() : port
    const command = async (directory: string) => {
      const file = join(directory, 'mosquitto.conf')
      const certificate = options.transport === 'tls' ? await makeCertificate(directory) : null
      await writeFile(file, configuration(plainPort, webSocket ? port : null, certificate))
      return { command: 'mosquitto', args: ['-c', file], core: options.core }
    }
    const { broker } = await BrokerProcess.start(options.dataRoot, command, (starting) => starting.listening(port))
    return { port, pids: [broker.pid], stop: () => broker.stop() }
  },
}

function configuration(port: number, webSocketPort: number | null, certificate: Certificate | null): string {
  return [
    // Mosquitto 2.0.11 does not start with a WebSocket listener alone.
    `listener ${port} 127.0.0.1`,
    ...(certificate === null ? [] : [`certfile ${certificate.certFile}`, `keyfile ${certificate.keyFile}`]),
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
