/** SluiceMQ as built in dist/, with its defaults: durable, LMDB in a temporary directory. */
import { readFile, writeFile } from 'node:fs/promises'
import { basename, dirname, join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { BrokerProcess, freePort } from './broker-process.ts'
import { type Certificate, makeCertificate } from './certificate.ts'
import type { Peer, RunningBroker, StartOptions } from './peer.ts'
import { redisVersion, startOverRedis } from './redis-server.ts'

/** From dist/bench/peers to the program and to the manifest of the project. */
const PROGRAM = fileURLToPath(new URL('../../src/main.js', import.meta.url))
const MANIFEST = new URL('../../../package.json', import.meta.url)
const READY = /^ready .*\bmqtt=mqtt:\/\/\S+:(\d+).* ws=ws:\/\/\S+:(\d+)\/mqtt.* http=(\S+).*$/m

export const sluicemq: Peer = {
  name: 'sluicemq',
  settings: 'defaults; LMDB store, acknowledges after the commit is on disk',

  async version(): Promise<string | null> {
    try {
      await readFile(PROGRAM)
      return String(JSON.parse(await readFile(MANIFEST, 'utf8')).version)
    } catch {
      return null
    }
  },

  refuses: () => null,
  start: (options) => start(options),
}

export const sluicemqRedis: Peer = {
  name: 'sluicemq-redis',
  settings: 'store: redis; redis-server with appendfsync always, or without appendonly where it is said',

  async version(): Promise<string | null> {
    const [own, redis] = await Promise.all([sluicemq.version(), redisVersion()])
    return own === null || redis === null ? null : `${own}, redis-server ${redis}`
  },

  refuses: () => null,

  start: (options) =>
    startOverRedis(options, (port, own) =>
      start(own, ['--store', 'redis', '--redis-url', `redis://127.0.0.1:${port}`]),
    ),
}

async function start(options: StartOptions, more: readonly string[] = []): Promise<RunningBroker> {
  const tlsPort = options.transport === 'tls' ? await freePort() : null
  const command = async (directory: string) => {
    const config = join(directory, 'sluicemq.yaml')
    const certificate = tlsPort === null ? null : await makeCertificate(directory)
    await writeFile(config, configuration(options.queue, tlsPort, certificate))
    const ports = ['--host', '127.0.0.1', '--mqtt-port', '0', '--http-port', '0']
    const args = [
      ...profiling(options.profile),
      PROGRAM,
      'start',
      '--config',
      config,
      ...ports,
      '--data-dir',
      join(directory, 'data'),
      ...more,
    ]
    return { command: process.execPath, args, core: options.core }
  }
  const { broker, facts } = await BrokerProcess.start(options.dataRoot, command, async (starting) => {
    const ready = await starting.line(READY)
    if (tlsPort !== null) await starting.listening(tlsPort)
    return ready
  })
  const [, mqttPort, webSocketPort, http] = facts
  return {
    port: tlsPort ?? Number(options.transport === 'websocket' ? webSocketPort : mqttPort),
    pids: [broker.pid],
    queued: async (queue) => {
      const response = await fetch(`${http}/api/v1/queues/${encodeURIComponent(queue)}`)
      if (!response.ok) throw new Error(`GET queue ${queue}: HTTP ${response.status}`)
      return Number(((await response.json()) as { ready: number }).ready)
    },
    stop: () => broker.stop(),
  }
}

function profiling(file: string | undefined): string[] {
  if (file === undefined) return []
  return ['--cpu-prof', `--cpu-prof-dir=${dirname(file)}`, `--cpu-prof-name=${basename(file)}`]
}

function configuration(queue: string | undefined, tlsPort: number | null, certificate: Certificate | null): string {
  const settings = {
    ...(queue === undefined ? {} : { bridge: [{ topicFilter: 'b/+/telemetry', queue }] }),
    ...(tlsPort === null || certificate === null ? {} : { tls: { port: tlsPort, ...certificate } }),
  }
  // JSON is YAML.
  return `${JSON.stringify(settings)}\n`
}
