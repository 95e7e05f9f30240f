import type { Session } from '../../session/session.ts'
import type { SubscriptionRecord } from '../../store.ts'
import { type AedesSubscription, requestOf } from '../subscriptions.ts'
import type { PersistentState } from './state.ts'

/** A subscription as it is stored: with the Subscription Identifier of MQTT 5. */
export interface StoredSubscription extends AedesSubscription {
  subscriptionIdentifier?: number
}

/** The same with whose it is; the options of MQTT 5 are undefined for a client of MQTT 3. */
interface ShownSubscription {
  clientId?: string
  topic: string
  qos: 0 | 1 | 2
  rh: 0 | 1 | 2 | undefined
  rap: boolean | undefined
  nl: boolean | undefined
  subscriptionIdentifier?: number
}

/** Subscriptions of persistent sessions as Aedes' persistence knows them. */
export class StoredSubscriptions {
  readonly #state: PersistentState

  constructor(state: PersistentState) {
    this.#state = state
  }

  /** @throws SluiceError topic_filter_invalid; then none of them is added */
  async add(clientId: string, subs: readonly StoredSubscription[]): Promise<void> {
    const { sessions, subscriptions, commits, expirySeconds } = this.#state
    const records = subs.map(recordOf)
    const version = subs.some(({ rh, rap, nl }) => (rh ?? rap ?? nl) !== undefined) ? 5 : 4
    const session = sessions.prepare(clientId, version, expirySeconds)
    for (const record of records) subscriptions.add(session, record)
    await commits.done()
  }

  async remove(clientId: string, topicFilters: readonly string[]): Promise<void> {
    const session = this.#state.sessions.find(clientId)
    for (const topicFilter of session === undefined ? [] : topicFilters)
      this.#state.subscriptions.remove(session!, topicFilter)
    await this.#state.commits.done()
  }

  async removeAll(clientId: string): Promise<void> {
    const subscriptions = this.#state.sessions.find(clientId)?.subscriptions.values() ?? []
    await this.remove(
      clientId,
      [...subscriptions].map(({ topicFilter }) => topicFilter),
    )
  }

  ofClient(clientId: string): ShownSubscription[] {
    const session = this.#state.sessions.find(clientId)
    if (session === undefined || !session.kept) return []
    return [...session.subscriptions.values()].map((subscription) => {
      const shown = show(session, subscription)
      const { subscriptionIdentifier } = subscription
      return subscriptionIdentifier === 0 ? shown : { ...shown, subscriptionIdentifier }
    })
  }

  /** Those of QoS 1 and 2 that match the topic: whose sessions keep a message for it. */
  ofTopic(topic: string): ShownSubscription[] {
    const matching = this.#state.subscriptions.matching(topic).filter(({ qos, session }) => qos > 0 && session.kept)
    // Filters with wildcards first, as Aedes has it.
    matching.sort((a, b) => Number(a.topicFilter === topic) - Number(b.topicFilter === topic))
    return matching.map((subscription) => {
      const { session } = subscription
      return { clientId: session.clientId, ...show(session, subscription) }
    })
  }

  /** How many subscriptions of QoS 1 and 2 there are, and how many clients with any. */
  count(): { subsCount: number; clientsCount: number } {
    let subsCount = 0
    let clientsCount = 0
    for (const session of this.#state.sessions.values()) {
      if (!session.kept || session.subscriptions.size === 0) continue
      clientsCount++
      for (const { qos } of session.subscriptions.values()) if (qos > 0) subsCount++
    }
    return { subsCount, clientsCount }
  }

  /** The clients that subscribed to exactly this Topic Filter. */
  *clients(topicFilter: string): Generator<string> {
    for (const { clientId, kept, subscriptions } of this.#state.sessions.values())
      if (kept && subscriptions.has(topicFilter)) yield clientId
  }
}

function recordOf(subscription: StoredSubscription): SubscriptionRecord {
  const { topicFilter, qos, noLocal, retainAsPublished, retainHandling } = requestOf(subscription)
  const { subscriptionIdentifier = 0 } = subscription
  return { topicFilter, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }
}

function show(session: Session, record: SubscriptionRecord): ShownSubscription {
  const version5 = session.version === 5
  return {
    topic: record.topicFilter,
    qos: record.qos,
    rh: version5 ? record.retainHandling : undefined,
    rap: version5 ? record.retainAsPublished : undefined,
    nl: version5 ? record.noLocal : undefined,
  }
}
