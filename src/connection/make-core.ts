import { machineMemoryBytes, usedMemoryBytes } from '../base/machine-memory.ts'
import type { Random } from '../base/random.ts'
import type { Cluster } from '../cluster.ts'
import { Drain } from '../nodes/drain.ts'
import { Interest } from '../nodes/interest.ts'
import { Nodes } from '../nodes/nodes.ts'
import type { RemoteNode } from '../nodes/remote-node.ts'
import type { Destination, Member, RemoteMember } from '../router/destinations.ts'
import { Publication } from '../router/publication.ts'
import { RetainedJournal } from '../router/retained-journal.ts'
import { type Observers, Router } from '../router/router.ts'
import { SharedGroup } from '../router/shared-groups.ts'
import { StoreRoom } from '../router/store-room.ts'
import type { TopicTree } from '../router/topic-tree.ts'
import { Claims } from '../session/claims.ts'
import type { Loan } from '../session/loan.ts'
import type { Session, SessionLimits } from '../session/session.ts'
import { Sessions } from '../session/sessions.ts'
import { Subscriptions } from '../session/subscriptions.ts'
import { Wills } from '../session/will.ts'
import type { Drops } from '../telemetry/drops.ts'
import type { DropCause } from '../telemetry/events.ts'
import type { Connection } from './connection.ts'
import type { Core } from './core.ts'
import { Flusher } from './flusher.ts'
import { Gate } from './gate.ts'
import { mayHave } from './identity.ts'
import { LimitsBook } from './limits-book.ts'
import { Memory } from './memory.ts'
import { MemoryRelief } from './memory-relief.ts'
import { cutFullReader } from './slow-reader.ts'
import { Watch } from './watch.ts'

/** What the composition root has made before. */
export interface CoreParts
  extends Pick<
    Core,
    | 'config'
    | 'clock'
    | 'store'
    | 'commits'
    | 'backpressure'
    | 'counters'
    | 'events'
    | 'hooks'
    | 'queues'
    | 'findQueue'
    | 'workerHeard'
    | 'authenticationMethods'
  > {
  readonly random: Random
  readonly tree: TopicTree<Destination>
  readonly drops: Drops
  readonly observers: Observers
  /** Null: there is one node, and the store is its own. */
  readonly cluster: Cluster | null
}

/** Makes the parts that serve connections, each with those it needs. */
export function makeCore(parts: CoreParts): Core {
  const { config, clock, store, commits, backpressure, counters, events, hooks, random, tree, drops, observers } = parts
  const { limits } = config
  const limitsBook = new LimitsBook(limits, config.limitOverrides)
  const retainedJournal = new RetainedJournal(store)
  const storeRoom = new StoreRoom(store, limits, clock, events)
  const retained = retainedJournal.index
  const dropped = (session: Session | null, cause: DropCause, count: number): void => drops.count(session, cause, count)
  const memoryBytesMax = limits.memoryBytesMax === 0 ? Math.floor(machineMemoryBytes() / 2) : limits.memoryBytesMax
  // The other half is for what the process is made of and what it keeps for good.
  const memory = new Memory(memoryBytesMax / 2)
  const shared = { memory, store, commits, counters, backpressure, clock, events, limits, dropped }
  const mayRefuse = limitsBook.some('sessionFullPolicy', (policy) => policy === 'refuse')
  const routerLimits = {
    ...limits,
    topicLevelsMax: limitsBook.highest('topicLevelsMax'),
    topicBytesMax: limitsBook.highest('topicBytesMax'),
  }
  const remoteNode = (nodeId: string): RemoteNode | undefined => nodes?.remote(nodeId)
  const router = new Router({
    ...shared,
    limits: routerLimits,
    tree,
    retained,
    retainedJournal,
    storeRoom,
    observers,
    mayRefuse,
    remoteNode,
  })
  const { strategy, localFirst } = config.shared
  const makeGroup = (): SharedGroup<Member | RemoteMember> => new SharedGroup(strategy, random, localFirst)
  const subscriptions = new Subscriptions({ store, tree, makeGroup })
  const limitsOf = (user: string | undefined): SessionLimits => limitsBook.of(null, user)
  const now = (): number => clock.now()
  const nodeId = parts.cluster?.nodeId ?? config.nodeId ?? 'local'
  const redistribute = (loans: Iterable<Loan>): void => router.redistribute(loans)
  const leads = (): boolean => parts.cluster?.leads ?? true
  const sessions = new Sessions({
    ...shared,
    random,
    subscriptions,
    nodeId,
    leads,
    now,
    redistribute,
    limitsOf,
    cutFull: cutFullReader,
  })
  const published = (will: Publication): void => hooks.published?.(null, will, () => {})
  const session = (clientId: string): Session | undefined => sessions.find(clientId)
  const wills = new Wills({ store, commits, clock, events, router, session, published })
  const nodes = parts.cluster === null ? null : joinNodes(parts.cluster)
  const gate = new Gate(clock, limits.connectionsMax)
  const watch = new Watch(clock, limits.drainTimeoutMs)
  const unconnected = new Set<Connection>()
  const connections = function* (): Iterable<Connection> {
    for (const { owner } of sessions.values()) if (owner !== null) yield owner
    yield* unconnected
  }
  const relief = { memory, memoryBytesMax, clock, events, gate, watch, backpressure, connections }
  const memoryRelief = new MemoryRelief({ ...relief, ownBytes: usedMemoryBytes })
  return {
    config,
    clock,
    store,
    commits,
    router,
    retained,
    retainedJournal,
    storeRoom,
    sessions,
    subscriptions,
    wills,
    queues: parts.queues,
    findQueue: parts.findQueue,
    workerHeard: parts.workerHeard,
    flusher: new Flusher(),
    limitsBook,
    gate,
    memory,
    memoryRelief,
    watch,
    backpressure,
    counters,
    events,
    hooks,
    authenticationMethods: parts.authenticationMethods,
    scratch: new Publication(),
    unconnected,
    nodes,
    drain: new Drain({
      clock,
      connections: () => [...sessions.values()].flatMap(({ owner }) => (owner?.state === 'connected' ? [owner] : [])),
      announce: async (draining) => parts.cluster?.announce({ draining }),
    }),
  }

  function joinNodes(cluster: Cluster): Nodes {
    const interest = new Interest({
      store,
      tree,
      nodeId: cluster.nodeId,
      groupOf: (key) => subscriptions.groupOf(key)!,
      groupLeft: (group) => subscriptions.groupLeft(group),
    })
    const claims = new Claims({ cluster, store, commits, sessions, mayHave: (...of) => mayHave(config.mqtt, ...of) })
    sessions.claims = claims
    subscriptions.interest = interest
    const lost = (count: number): void => dropped(null, 'node_unreachable', count)
    const others = { store, cluster, clock, events, commits, router, sessions, subscriptions, wills, retained }
    return new Nodes({ ...others, claims, interest, dropped: lost, backpressure })
  }
}
