/** Several nodes in one process over one Redis: each has its own store, cluster and broker, on free loopback ports. */
import { redisFabric } from '../../src/aedes/fabric.ts'
import { systemClock } from '../../src/base/clock.ts'
import { systemRandom } from '../../src/base/random.ts'
import { connectRedis, keyPrefix } from '../../src/base/redis-connection.ts'
import { type Built, build } from '../../src/broker.ts'
import { RedisCluster } from '../../src/clusters/redis.ts'
import { type ConfigInput, configSchema } from '../../src/config/schema.ts'
import { RedisDoor } from '../../src/doors/redis.ts'
import { messageCodec } from '../../src/router/message-codec.ts'
import { redisStore } from '../../src/stores/redis.ts'
import { Events } from '../../src/telemetry/events.ts'
import { serve } from './spread.ts'

export interface Node extends Built {
  readonly nodeId: string
  readonly mqtt: { host: string; port: number }
  readonly cluster: RedisCluster
  stop(): Promise<void>
  /** Ends it as SIGKILL would: nothing is said to anybody. */
  kill(): Promise<void>
}

/** In ms; see `nodes` and `redis` in the config. */
export interface NodeTiming {
  nodeTimeoutMs?: number
  surrenderTimeoutMs?: number
  commitTimeoutMs?: number
  answerTimeoutMs?: number
  /** Another way to the same Redis, for the doors of queues. */
  doorUrl?: string
}

/** Starts a node. Heartbeats are fast, so that a dead node is noticed within a second or two. */
export async function startNode(
  url: string,
  nodeId: string,
  overrides: ConfigInput = {},
  { nodeTimeoutMs = 1000, surrenderTimeoutMs = 1000, commitTimeoutMs, answerTimeoutMs, doorUrl = url }: NodeTiming = {},
): Promise<Node> {
  const config = configSchema.parse({ bridge: [], ...overrides, store: 'memory', nodeId })
  const events = new Events()
  const settings = { url }
  const errors: unknown[] = []
  events.on('internalError', ({ error }) => errors.push(error))
  const connections = ['cluster', 'publish', 'subscribe'].map((name) => connectRedis(settings, `${nodeId} ${name}`))
  for (const connection of connections) connection.on('error', () => {})
  await Promise.all(connections.map(ready))
  const [redis, publishing, subscribing] = connections as [never, never, never]
  const cluster = new RedisCluster({
    nodeId,
    version: 'test',
    clock: systemClock,
    redis,
    ready: async () => {},
    close: () => {},
    fabric: redisFabric(publishing, subscribing, () => {}),
    prefix: keyPrefix(settings),
    nodeTimeoutMs,
    surrenderTimeoutMs,
    unsentBytesMax: 8 * 1024 * 1024,
    patienceMs: 5000,
    onError: () => {},
    onHeard: () => {},
  })
  const store = redisStore({
    redis: settings,
    clock: systemClock,
    random: systemRandom,
    codec: messageCodec,
    commitTimeoutMs,
    answerTimeoutMs,
  })
  const doorKeeper = connectRedis({ url: doorUrl }, `${nodeId} doors`)
  connections.push(doorKeeper)
  const door = new RedisDoor({
    connect: () => doorKeeper,
    clock: systemClock,
    random: systemRandom,
    prefix: keyPrefix(settings),
    leader: () => `${cluster.nodeId} ${cluster.incarnation}`,
    answerTimeoutMs: answerTimeoutMs ?? 2000,
  })
  const built = build({ config, events, store, cluster, door })
  await built.broker.listen()
  const server = await serve((socket) => void built.broker.handle(socket))
  return {
    ...built,
    nodeId,
    cluster,
    mqtt: server.address,
    async stop() {
      await new Promise<void>((resolve) => built.broker.close(() => resolve()))
      await server.close()
      for (const connection of connections) connection.disconnect()
    },
    async kill() {
      throw new Error('kill needs a process')
    },
  }
}

function ready(client: ReturnType<typeof connectRedis>): Promise<void> {
  return new Promise((resolve) => (client.status === 'ready' ? resolve() : void client.once('ready', () => resolve())))
}
