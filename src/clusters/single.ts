import type { Cluster } from '../cluster.ts'
import { SluiceError } from '../errors.ts'

const done = Promise.resolve()

/** The cluster of one node: it leads, and every Client Identifier is its own. */
export function singleNode(nodeId: string): Cluster {
  return {
    kind: 'single',
    nodeId,
    incarnation: 1,
    leads: true,
    leader: nodeId,
    others: new Map(),
    join: (listener) => {
      listener.leading(true)
      return done
    },
    leave: () => done,
    announce: () => done,
    claim: () => null,
    claimVacant: () => Promise.resolve(true),
    ownerOf: () => Promise.resolve(nodeId),
    release() {},
    passedOver: () => Promise.resolve([]),
    concede: () => done,
    send: () => false,
    untaken: () => 0,
    request: (other) => Promise.reject(new SluiceError('node_gone', `there is no node named ${other}`)),
  }
}
