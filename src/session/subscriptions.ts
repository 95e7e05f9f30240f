import {
  type Destination,
  Group,
  type Member,
  NumberedSubscription,
  type RemoteMember,
  SharedSubscription,
  Subscription,
} from '../router/destinations.ts'
import type { SharedGroup } from '../router/shared-groups.ts'
import type { TopicTree } from '../router/topic-tree.ts'
import { UndoJournal } from '../router/undo-journal.ts'
import type { Store, SubscriptionRecord } from '../store.ts'
import { isQueueFilter, isShared, parseShare } from '../wire/topic.ts'
import type { Session } from './session.ts'

export interface SubscriptionsContext {
  readonly store: Store
  readonly tree: TopicTree<Destination>
  makeGroup(): SharedGroup<Member | RemoteMember>
}

/** Tells other nodes of subscriptions that are in no store: those of sessions that end with their connections. */
export interface InterestTeller {
  add(topicFilter: string, qos: number): void
  remove(topicFilter: string, qos: number): void
}

/** A subscription as it was before it was changed; null: there was none. */
interface Before {
  readonly session: Session
  readonly topicFilter: string
  readonly subscription: Subscription | null
}

/** The subscriptions of sessions, kept in three places at once: the session, the topic tree and the store. */
export class Subscriptions {
  readonly #c: SubscriptionsContext
  /** Shared subscriptions by `$share/name/filter`. */
  readonly #groups = new Map<string, Group>()
  readonly #undo: UndoJournal<Before>
  #size = 0
  /** Null: there is one node. */
  interest: InterestTeller | null = null

  constructor(context: SubscriptionsContext) {
    this.#c = context
    this.#undo = new UndoJournal(context.store, (_key, before) => this.#takeBack(before))
  }

  /** Subscriptions of all sessions, shared ones included. */
  get size(): number {
    return this.#size
  }

  get groups(): ReadonlyMap<string, Group> {
    return this.#groups
  }

  /**
   * Adds or replaces a subscription [v5 MQTT-3.8.4-3] [v3 MQTT-3.8.4-3]. Returns it with whether it is new.
   */
  add(session: Session, record: SubscriptionRecord): { subscription: Subscription; isNew: boolean } {
    if (session.kept) {
      this.#note(session, record.topicFilter)
      this.#c.store.putSubscription(session.clientId, record)
    }
    return this.restore(session, record)
  }

  restore(session: Session, record: SubscriptionRecord): { subscription: Subscription; isNew: boolean } {
    const known = session.subscriptions.get(record.topicFilter)
    // Replaced by a new object even where it exists: matches that were made with the old one must not see new options.
    if (known !== undefined) this.#unlink(known)
    const subscription = this.#link(session, record)
    session.setSubscription(subscription)
    return { subscription, isNew: known === undefined }
  }

  /** Those whose Topic Filter matches the topic, in no order; not the shared ones. */
  matching(topic: string): Subscription[] {
    const found: Subscription[] = []
    this.#c.tree.match(topic, (destination) => {
      if (destination.kind === 'subscription') found.push(destination)
    })
    return found
  }

  /** False when there was no such subscription. */
  remove(session: Session, topicFilter: string): boolean {
    const subscription = session.subscriptions.get(topicFilter)
    if (subscription === undefined) return false
    if (session.kept) {
      this.#note(session, topicFilter)
      this.#c.store.deleteSubscription(session.clientId, topicFilter)
    }
    this.#forget(session, subscription)
    return true
  }

  #forget(session: Session, subscription: Subscription): void {
    this.#unlink(subscription)
    session.deleteSubscription(subscription.topicFilter)
  }

  #note(session: Session, topicFilter: string): void {
    const subscription = session.subscriptions.get(topicFilter) ?? null
    this.#undo.note(`${session.serial} ${topicFilter}`, { session, topicFilter, subscription })
  }

  /** The commit failed: what the client asked for did not happen. */
  #takeBack({ session, topicFilter, subscription }: Before): void {
    const current = session.subscriptions.get(topicFilter)
    if (session.ended || current === subscription) return
    if (current !== undefined) this.#forget(session, current)
    if (subscription !== null) this.restore(session, subscription)
  }

  /** Forgets one that another node has taken out of the store. */
  forget(session: Session, topicFilter: string): void {
    const subscription = session.subscriptions.get(topicFilter)
    if (subscription === undefined) return
    this.#unlink(subscription)
    session.deleteSubscription(topicFilter)
  }

  /** Forgets all of them in the tree; the store forgets them with the session. */
  removeAll(session: Session): void {
    for (const subscription of session.subscriptions.values()) this.#unlink(subscription)
    session.clearSubscriptions()
  }

  /** The shared subscription of that key, made when there is none; null: the key is none. */
  groupOf(key: string): Group | null {
    const known = this.#groups.get(key)
    if (known !== undefined) return known
    const share = parseShare(key)
    if (share === null) return null
    const group = new Group(key, share.shareName, share.topicFilter, this.#c.makeGroup())
    this.#groups.set(key, group)
    this.#c.tree.add(share.topicFilter, group)
    return group
  }

  /** A member left: without members there is no group. */
  groupLeft(group: Group): void {
    if (group.members.size > 0) return
    this.#groups.delete(group.key)
    this.#c.tree.remove(group.topicFilter, group)
  }

  #link(session: Session, record: SubscriptionRecord): Subscription {
    this.#size++
    // A work queue's messages do not come through the topic tree.
    if (isQueueFilter(record.topicFilter)) return new Subscription(session, record)
    if (!session.kept) this.interest?.add(record.topicFilter, record.qos)
    if (!isShared(record.topicFilter)) {
      const numbered = record.subscriptionIdentifier !== 0
      const subscription = numbered ? new NumberedSubscription(session, record) : new Subscription(session, record)
      this.#c.tree.add(record.topicFilter, subscription)
      return subscription
    }
    const group = this.groupOf(record.topicFilter)!
    const subscription = new SharedSubscription(session, record, group)
    group.members.add(subscription.member)
    return subscription
  }

  #unlink(subscription: Subscription): void {
    this.#size--
    if (isQueueFilter(subscription.topicFilter)) return
    if (!subscription.session.kept) this.interest?.remove(subscription.topicFilter, subscription.qos)
    const member = subscription.member
    if (member === null) {
      this.#c.tree.remove(subscription.topicFilter, subscription)
      return
    }
    member.group.members.remove(member)
    this.groupLeft(member.group)
  }
}
