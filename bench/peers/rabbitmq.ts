/** RabbitMQ with its MQTT plugin, from the system's packages. */
import { readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { BrokerProcess, freePort } from './broker-process.ts'
import { programVersion } from './installed.ts'
import type { Need, Peer, RunningBroker, StartOptions } from './peer.ts'

/** The server itself: the program of that name on PATH wants to become another user. */
const SERVER = '/usr/lib/rabbitmq/bin/rabbitmq-server'
const START_MS = 60_000

export const rabbitmq: Peer = {
  name: 'rabbitmq',
  settings: 'MQTT plugin, defaults: QoS 1 in classic queues, not synced; prefetch 100',

  async version(): Promise<string | null> {
    const version = await programVersion('/usr/lib/rabbitmq/bin/rabbitmqctl', ['version'], /^(\d\S*)/m)
    return version
  },

  refuses(need: Need): string | null {
    if (need.qos === 2) return 'no QoS 2'
    // RabbitMQ speaks MQTT 5 from 3.13 on; the package of Debian 12 is 3.10.
    if (need.version === 5) return 'no MQTT 5'
    if (need.shared) return 'no shared subscriptions'
    if (need.queue) return 'not set up for a work queue here'
    return need.transport === 'tcp' ? null : `not set up for ${need.transport} here`
  },

  async start(options: StartOptions): Promise<RunningBroker> {
    const [port, amqpPort, distributionPort, epmdPort] = await Promise.all([
      freePort(),
      freePort(),
      freePort(),
      freePort(),
    ])
    // The server would leave a name daemon running behind it. It uses ours, which ends with the run.
    const epmd = ['-port', String(epmdPort), '-address', '127.0.0.1']
    const { broker: names } = await BrokerProcess.start(
      options.dataRoot,
      async () => ({ command: 'epmd', args: epmd }),
      (starting) => starting.listening(epmdPort),
    )
    const command = async (directory: string) => {
      await writeFile(join(directory, 'enabled'), '[rabbitmq_mqtt].\n')
      await writeFile(join(directory, 'rabbitmq.conf'), configuration(port, amqpPort))
      const env = environment(directory, distributionPort, epmdPort)
      return { command: SERVER, args: [], core: options.core, env }
    }
    try {
      const { broker, facts: pid } = await BrokerProcess.start(options.dataRoot, command, async (starting) => {
        await starting.listening(port, START_MS)
        return Number(await readFile(join(starting.directory, 'pid'), 'utf8'))
      })
      return {
        port,
        pids: [pid],
        stop: async () => {
          // The server may be a child of the script that was started.
          if (pid > 0 && pid !== broker.pid) end(pid)
          await broker.stop()
          await names.stop()
        },
      }
    } catch (error) {
      await names.stop()
      throw error
    }
  },
}

function end(pid: number): void {
  try {
    process.kill(pid, 'SIGTERM')
  } catch {
    // Already gone.
  }
}

function environment(directory: string, distributionPort: number, epmdPort: number): Record<string, string> {
  return {
    HOME: directory,
    RABBITMQ_NODENAME: 'bench@localhost',
    RABBITMQ_MNESIA_BASE: join(directory, 'mnesia'),
    RABBITMQ_LOG_BASE: join(directory, 'log'),
    RABBITMQ_ENABLED_PLUGINS_FILE: join(directory, 'enabled'),
    RABBITMQ_CONFIG_FILE: join(directory, 'rabbitmq'),
    RABBITMQ_PID_FILE: join(directory, 'pid'),
    RABBITMQ_DIST_PORT: String(distributionPort),
    ERL_EPMD_PORT: String(epmdPort),
    ERL_EPMD_ADDRESS: '127.0.0.1',
  }
}

function configuration(port: number, amqpPort: number): string {
  return [
    `mqtt.listeners.tcp.1 = 127.0.0.1:${port}`,
    'mqtt.allow_anonymous = true',
    'mqtt.prefetch = 100',
    `listeners.tcp.1 = 127.0.0.1:${amqpPort}`,
    '',
  ].join('\n')
}
