import type { Session } from '../session/session.ts'
import type { LaneTarget } from '../store.ts'
import { identifierProperty } from './match.ts'
import type { SharedGroup, ShareMember } from './shared-groups.ts'

/** A Topic Filter of one session ([v5 3.8.3.1]). */
export class Subscription {
  readonly kind = 'subscription'
  readonly session: Session
  /** As the client wrote it, `$share/…` included. */
  readonly topicFilter: string
  qos: 0 | 1 | 2
  noLocal: boolean
  retainAsPublished: boolean
  retainHandling: 0 | 1 | 2
  /** 0: none. */
  subscriptionIdentifier: number
  /** The group, when the filter is shared. */
  member: Member | null = null

  constructor(session: Session, topicFilter: string) {
    this.session = session
    this.topicFilter = topicFilter
    this.qos = 0
    this.noLocal = false
    this.retainAsPublished = false
    this.retainHandling = 0
    this.subscriptionIdentifier = 0
  }
}

/** A session's membership of a shared subscription ([v5 4.8.2]). */
export class Member implements ShareMember {
  readonly subscription: Subscription
  readonly group: Group
  constructor(subscription: Subscription, group: Group) {
    this.subscription = subscription
    this.group = group
  }
  get key(): string {
    return this.subscription.session.clientId
  }
  get online(): boolean {
    return this.subscription.session.link !== null
  }
  get inflight(): number {
    return this.subscription.session.delivery.inflightCount
  }
  /** The Subscription Identifier as property bytes, or null. */
  get prefix(): Buffer | null {
    const identifier = this.subscription.subscriptionIdentifier
    return identifier === 0 ? null : identifierProperty(identifier)
  }
  get canTake(): boolean {
    return this.subscription.session.canTake
  }
}

/** A shared subscription: one share name on one Topic Filter. */
export class Group {
  readonly kind = 'group'
  readonly key: string
  readonly shareName: string
  readonly topicFilter: string
  readonly members: SharedGroup<Member>
  constructor(key: string, shareName: string, topicFilter: string, members: SharedGroup<Member>) {
    this.key = key
    this.shareName = shareName
    this.topicFilter = topicFilter
    this.members = members
  }
}

/** A bridge rule: what matches goes into the queue's lane. Rules that name one queue share its target. */
export class BridgeTarget {
  readonly kind = 'bridge'
  readonly target: LaneTarget
  constructor(target: LaneTarget) {
    this.target = target
  }
}

export type Destination = Subscription | Group | BridgeTarget
