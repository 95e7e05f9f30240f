/** A redis-server for brokers that keep their data in one, and the brokers that use it. */
import type { RedisNeed } from '../scenario.ts'
import { BrokerProcess, freePort } from './broker-process.ts'
import { programVersion } from './installed.ts'
import type { RunningBroker, StartOptions } from './peer.ts'

export const redisVersion = (): Promise<string | null> => programVersion('redis-server', ['--version'], /v=(\S+)/)

export interface RedisServer {
  readonly port: number
  readonly pid: number
  stop(): Promise<void>
}

/** @param core CPU core to run on; undefined: wherever the system likes */
export async function startRedisServer(
  dataRoot: string,
  need: RedisNeed,
  core: number | undefined,
): Promise<RedisServer> {
  const port = await freePort()
  const disk = need.appendfsync === 'no' ? ['--appendonly', 'no'] : ['--appendonly', 'yes', '--appendfsync', 'always']
  const command = async (directory: string) => ({
    command: 'redis-server',
    args: ['--port', String(port), '--bind', '127.0.0.1', '--dir', directory, '--save', '', ...disk],
    core,
  })
  const { broker: redis } = await BrokerProcess.start(dataRoot, command, (starting) => starting.listening(port))
  return { port, pid: redis.pid, stop: () => redis.stop() }
}

/**
 * An empty Redis server, as the scenario wants it, and on it one or two nodes of a broker. Where the broker is pinned to a core, Redis
 * runs on the other, with the load.
 */
export async function startOverRedis(
  options: StartOptions,
  startNode: (redisPort: number, options: StartOptions) => Promise<RunningBroker>,
): Promise<RunningBroker> {
  const need = options.redis ?? { appendfsync: 'always', nodes: 1 }
  const redis = await startRedisServer(
    options.dataRoot,
    need,
    options.core === undefined ? undefined : 1 - options.core,
  )
  const nodes: RunningBroker[] = []
  const stop = async (): Promise<void> => {
    for (const node of nodes) await node.stop()
    await redis.stop()
  }
  try {
    while (nodes.length < need.nodes) nodes.push(await startNode(redis.port, ofNode(options, nodes.length + 1)))
  } catch (error) {
    await stop()
    throw error
  }
  const [first, second = first] = nodes as [RunningBroker, ...RunningBroker[]]
  return {
    ...first,
    subscriberPort: second.port,
    pids: nodes.flatMap(({ pids }) => pids),
    redisPids: [redis.pid],
    stop,
  }
}

/** Each node has a profile of its own. */
function ofNode(options: StartOptions, number: number): StartOptions {
  if (options.profile === undefined || number === 1) return options
  return { ...options, profile: options.profile.replace(/(\.\w+)$/, `-node${number}$1`) }
}
