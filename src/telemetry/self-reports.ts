/** What the broker publishes about itself, put together from the running parts. */
import { packageVersion } from '../base/version.ts'
import type { Core } from '../connection/core.ts'
import type { Queues } from '../queue/queues.ts'
import { type BrokerFacts, SysTopics } from '../router/sys-topics.ts'
import { ClientEvents } from './client-events.ts'

export interface SelfReport {
  start(): void
  /** Publishes what waits; must come before the store closes. */
  stop(): void
}

/** The $SYS topics and, where the settings ask for them, the events of clients. */
export function selfReports(core: Core, queues: Queues): SelfReport[] {
  const { config, router, commits, clock, counters, events, sessions } = core
  const sysTopics = new SysTopics({
    router,
    clock,
    counters,
    events,
    intervalSeconds: config.sys.intervalSeconds,
    version: packageVersion(),
    connected: () => sessions.online,
    facts: () => brokerFacts(core, queues),
    heapBytes: () => process.memoryUsage().heapUsed,
  })
  if (!config.clientEvents) return [sysTopics]
  const { topicBytesMax } = config.limits
  return [sysTopics, new ClientEvents({ events, router, commits, clock, topicBytesMax })]
}

/** What the broker holds at this moment. Looks at every connected session and shared subscription, and not at those stored. */
function brokerFacts(core: Core, queues: Queues): BrokerFacts {
  let sharedSubscriptions = 0
  const stored = core.store.stats().waiting
  let waitingMessages = stored ?? 0
  for (const session of stored === undefined ? core.sessions.values() : core.sessions.passing)
    waitingMessages += session.waiting
  for (const group of core.subscriptions.groups.values()) sharedSubscriptions += group.members.size
  if (stored === undefined) for (const queue of queues) waitingMessages += queue.lane.waiting
  const subscriptions = core.subscriptions.size
  const retainedMessages = core.retained.size
  return { sessions: core.sessions.size, subscriptions, sharedSubscriptions, retainedMessages, waitingMessages }
}
