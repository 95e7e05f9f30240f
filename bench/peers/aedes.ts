/** Stock Aedes, in memory: the library SluiceMQ extends. */
import { packageVersion } from './installed.ts'
import { startNodeBroker } from './node-broker.ts'
import type { Need, Peer } from './peer.ts'

export const aedes: Peer = {
  name: 'aedes',
  settings: 'defaults, in memory; socket option noDelay',
  version: () => packageVersion('aedes'),
  refuses: (need: Need) => (need.version === 5 ? 'no MQTT 5' : null),
  start: (options) => startNodeBroker('aedes-server.js', options),
}
