/** Stock Aedes: the library SluiceMQ extends, in memory and with the two stores its users choose. */
import { packageVersion } from './installed.ts'
import { startNodeBroker } from './node-broker.ts'
import type { Need, Peer } from './peer.ts'
import { redisVersion, startOverRedis } from './redis-server.ts'

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
  settings:
    'mqemitter-redis and aedes-persistence-redis, defaults; redis-server with appendfsync always, or without appendonly where it is said',
  async version() {
    const server = await redisVersion()
    const packages = await versions('aedes', 'aedes-persistence-redis', 'mqemitter-redis')
    return server === null || packages === null ? null : `${packages}, redis-server ${server}`
  },
  refuses,

  start: (options) =>
    startOverRedis(options, (port, own) => startNodeBroker('aedes-server.js', own, ['--redis', String(port)])),
}

/** `1.2.0, aedes-persistence-level 9.2.0, …`, or null when one of the packages is not there. */
async function versions(first: string, ...others: string[]): Promise<string | null> {
  const found = await Promise.all([first, ...others].map(packageVersion))
  if (found.includes(null)) return null
  return [found[0], ...others.map((name, i) => `${name} ${found[i + 1]}`)].join(', ')
}
