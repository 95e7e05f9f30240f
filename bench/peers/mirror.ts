/**
 * Not a broker: it hands the bytes of publisher n to subscriber n unread. Its figure for a QoS 0 scenario is the most
 * the load generator could ever show on this machine; a broker close to it is limited by the instrument.
 */
import { startNodeBroker } from './node-broker.ts'
import type { Need, Peer } from './peer.ts'

export const mirror: Peer = {
  name: 'mirror',
  settings: 'no broker: the ceiling of the load generator',
  version: async () => process.versions.node,
  refuses: (need: Need) => (unlike(need) ? 'QoS 0 over TCP only' : null),
  start: (options) => startNodeBroker('mirror-server.js', options),
}

function unlike({ qos, transport, version, shared, queue }: Need): boolean {
  return qos > 0 || transport !== 'tcp' || version !== 4 || shared || queue
}
