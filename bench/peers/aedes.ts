/** Stock Aedes: the library SluiceMQ extends, in memory and with the two stores its users choose. */
import { packageVersion } from './installed.ts'
import { startNodeBroker } from './node-broker.ts'
import type { Need, Peer, RunningBroker, StartOptions } from './peer.ts'
import { redisVersion, startRedisServer } from './redis-server.ts'

function refuses(need: Need): string | null {
  if (need.version === 5) return 'no MQTT 5'
  if (need.queue) return 'no work queues'
  return need.transport === 'tls' ? 'not set up for tls here' : null
}

export const aedes: Peer = {
  name: 'aedes',
  settings: 'defaults, in memory; socket option noDelay',
  version: () => packageVersion('aedes'),
  refuses,
  start: (options) => startNodeBroker('aedes-server.js', options),
}

export const aedesLevel: Peer = {
  name: 'aedes-level',
  settings: 'aedes-persistence-level over classic-level, defaults (nothing is synced); socket option noDelay',
  version: () => versions('aedes', 'aedes-persistence-level', 'classic-level'),
  refuses,
  start: (options) => startNodeBroker('aedes-server.js', options, ['--level']),
}

export const aedesRedis: Peer = {
  name: 'aedes-redis',
  settings: 'mqemitter-redis and aedes-persistence-redis, defaults; redis-server with appendfsync always',
  async version() {
    const server = await redisVersion()
    const packages = await versions('aedes', 'aedes-persistence-redis', 'mqemitter-redis')
    return server === null || packages === null ? null : `${packages}, redis-server ${server}`
  },
  refuses,

  /** The CPU and memory of the Redis server are not in the figures. */
  async start(options: StartOptions): Promise<RunningBroker> {
    const redis = await startRedisServer(options.dataRoot)
    try {
      const broker = await startNodeBroker('aedes-server.js', options, ['--redis', String(redis.port)])
      return {
        ...broker,
        stop: async () => {
          await broker.stop()
          await redis.stop()
        },
      }
    } catch (error) {
      await redis.stop()
      throw error
    }
  },
}

/** `1.2.0, aedes-persistence-level 9.2.0, …`, or null when one of the packages is not there. */
async function versions(first: string, ...others: string[]): Promise<string | null> {
  const found = await Promise.all([first, ...others].map(packageVersion))
  if (found.includes(null)) return null
  return [found[0], ...others.map((name, i) => `${name} ${found[i + 1]}`)].join(', ')
}
