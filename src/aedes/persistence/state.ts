import { systemClock } from '../../base/clock.ts'
import { systemRandom } from '../../base/random.ts'
import { configSchema } from '../../config/schema.ts'
import { Backpressure } from '../../connection/backpressure.ts'
import type { Core } from '../../connection/core.ts'
import { Memory } from '../../connection/memory.ts'
import { Commits } from '../../router/commits.ts'
import type { Destination, Member, RemoteMember } from '../../router/destinations.ts'
import { RetainedJournal } from '../../router/retained-journal.ts'
import { Router } from '../../router/router.ts'
import { SharedGroup } from '../../router/shared-groups.ts'
import { TopicTree } from '../../router/topic-tree.ts'
import { NEVER } from '../../session/expiry.ts'
import { Sessions } from '../../session/sessions.ts'
import { Subscriptions } from '../../session/subscriptions.ts'
import { Wills } from '../../session/will.ts'
import type { Store } from '../../store.ts'
import { Counters } from '../../telemetry/counters.ts'
import { Events } from '../../telemetry/events.ts'

/** The state that a persistence shows: the broker's own, or one made over a bare store. */
export interface PersistentState
  extends Pick<
    Core,
    'clock' | 'commits' | 'retained' | 'retainedJournal' | 'sessions' | 'store' | 'subscriptions' | 'wills'
  > {
  /** Session Expiry Interval of sessions that the persistence makes. */
  readonly expirySeconds: number
}

/** The state of a running broker: what is changed is seen by its clients, and their changes are seen here. */
export function stateOf(core: Core): PersistentState {
  const { clock, commits, retained, retainedJournal, sessions, store, subscriptions, wills } = core
  const expirySeconds = core.config.limits.sessionExpirySecondsMax
  return { clock, commits, retained, retainedJournal, sessions, store, subscriptions, wills, expirySeconds }
}

/** Opens the store and takes up what is in it, without a broker. Sessions made here never expire, as in Aedes. */
export async function openState(store: Store): Promise<PersistentState> {
  const { limits } = configSchema.parse({ store: 'memory' })
  const clock = systemClock
  const random = systemRandom
  const events = new Events()
  const counters = new Counters()
  const tree = new TopicTree<Destination>()
  const retainedJournal = new RetainedJournal(store)
  const retained = retainedJournal.index
  // Failures reach whoever waits for the commit; nobody counts them.
  const commits = new Commits(store, { succeeded() {}, failed() {} }, () => {})
  const backpressure = new Backpressure(store, limits.inboundPausedBytes, clock)
  const memory = new Memory(Number.POSITIVE_INFINITY)
  const shared = {
    store,
    commits,
    counters,
    backpressure,
    clock,
    events,
    limits,
    dropped: () => {},
    mayRefuse: false,
    storeRoom: { shortage: null },
    memory,
  }
  const observers = { generation: 0, observes: () => false, notify: () => {} }
  const router = new Router({ ...shared, tree, retained, retainedJournal, observers, remoteNode: () => undefined })
  const makeGroup = (): SharedGroup<Member | RemoteMember> => new SharedGroup('round-robin', random)
  const subscriptions = new Subscriptions({ store, tree, makeGroup })
  const now = (): number => clock.now()
  const alone = {
    nodeId: 'aedes',
    leads: () => true,
    redistribute: () => {},
    limitsOf: () => limits,
    cutFull: () => {},
  }
  const sessions = new Sessions({ ...shared, ...alone, random, subscriptions, now })
  const wills = new Wills({ ...shared, router, session: (id) => sessions.find(id), published: () => {} })
  await store.open()
  for await (const { topic, message } of store.retained()) retained.set(topic, message)
  await sessions.restore()
  for await (const record of store.wills()) wills.set(record)
  return { clock, commits, retained, retainedJournal, sessions, store, subscriptions, wills, expirySeconds: NEVER }
}
