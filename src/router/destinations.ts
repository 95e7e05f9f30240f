import type { Intake } from '../queue/intake.ts'
import type { Session } from '../session/session.ts'
import type { Lane, LaneTarget, SubscriptionRecord } from '../store.ts'
import type { Entering } from './entering.ts'
import { identifierProperty } from './match.ts'
import type { Publication } from './publication.ts'
import type { Publisher } from './router.ts'
import type { SharedGroup, ShareMember } from './shared-groups.ts'

/** A Topic Filter of one session ([v5 3.8.3.1]). There may be millions: the options share one small integer. */
export class Subscription {
  readonly session: Session
  /** As the client wrote it, `$share/…` included. */
  readonly topicFilter: string
  /** Bits 0-1 QoS, 2 No Local, 3 Retain As Published, 4-5 Retain Handling: as on the wire. */
  readonly #options: number

  constructor(session: Session, record: SubscriptionRecord) {
    this.session = session
    this.topicFilter = record.topicFilter
    this.#options =
      record.qos | (record.noLocal ? 4 : 0) | (record.retainAsPublished ? 8 : 0) | (record.retainHandling << 4)
  }

  get kind(): 'subscription' {
    return 'subscription'
  }
  /** What it is found by, in the session and in the topic tree. */
  get text(): string {
    return this.topicFilter
  }
  /** 0: none. */
  get subscriptionIdentifier(): number {
    return 0
  }
  /** Its membership, when the filter is shared. */
  get member(): Member | null {
    return null
  }
  get qos(): 0 | 1 | 2 {
    return (this.#options & 3) as 0 | 1 | 2
  }
  get noLocal(): boolean {
    return (this.#options & 4) !== 0
  }
  get retainAsPublished(): boolean {
    return (this.#options & 8) !== 0
  }
  get retainHandling(): 0 | 1 | 2 {
    return (this.#options >> 4) as 0 | 1 | 2
  }
}

/** A subscription with a Subscription Identifier ([v5 3.8.2.1.2]). Most have none, and no place for one. */
export class NumberedSubscription extends Subscription {
  readonly #identifier: number

  constructor(session: Session, record: SubscriptionRecord) {
    super(session, record)
    this.#identifier = record.subscriptionIdentifier
  }

  override get subscriptionIdentifier(): number {
    return this.#identifier
  }
}

/** A subscription to a `$share/…` filter. */
export class SharedSubscription extends NumberedSubscription {
  readonly #member: Member

  constructor(session: Session, record: SubscriptionRecord, group: Group) {
    super(session, record)
    this.#member = new Member(this, group)
  }

  override get member(): Member {
    return this.#member
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
    const { session } = this.subscription
    return session.link !== null || session.node !== null
  }
  get near(): boolean {
    return this.subscription.session.link !== null
  }
  get inflight(): number {
    const { session } = this.subscription
    return session.link === null ? 0 : session.delivery.inflightCount
  }
  /** The Subscription Identifier as property bytes, or null. */
  get prefix(): Buffer | null {
    const identifier = this.subscription.subscriptionIdentifier
    return identifier === 0 ? null : identifierProperty(identifier)
  }
  get canTake(): boolean {
    const { session } = this.subscription
    // How full its window is only the node knows that serves it.
    return session.canTake || (session.link === null && session.node !== null && session.hasRoom)
  }
}

/** A place outside this node that messages go to. */
export interface Elsewhere {
  readonly nodeId: string
  /** What has to arrive waits here until it is taken. */
  readonly mailbox: Lane
  /** The mailbox as a receiver of messages of QoS 1 and 2. */
  readonly target: LaneTarget
  /** Broker time, ms since 1970, for the message that is sent next. */
  readonly time: number
  /** True the first time it is asked about a publication: a place gets each one once. */
  takes(publication: number): boolean
  /**
   * Sends a message that nobody was promised.
   * @param group key of the shared subscription of which one member there is to get it; empty: everybody who is subscribed
   */
  live(message: Buffer, group: string): void
}

/** A member of a shared subscription whose session another node has in its memory. */
export class RemoteMember implements ShareMember {
  readonly node: Elsewhere
  readonly group: Group
  readonly key: string
  readonly online = true
  readonly near = false
  readonly inflight = 0
  readonly canTake = true
  /** @param index among the members on that node */
  constructor(node: Elsewhere, group: Group, index: number) {
    this.node = node
    this.group = group
    this.key = `${node.nodeId}/${index}`
  }
}

/** A shared subscription: one share name on one Topic Filter. */
export class Group {
  readonly kind = 'group'
  readonly key: string
  readonly shareName: string
  readonly topicFilter: string
  readonly members: SharedGroup<Member | RemoteMember>
  constructor(key: string, shareName: string, topicFilter: string, members: SharedGroup<Member | RemoteMember>) {
    this.key = key
    this.shareName = shareName
    this.topicFilter = topicFilter
    this.members = members
  }
  /** What the topic tree finds it by. */
  get text(): string {
    return this.topicFilter
  }
}

/** What a bridge rule does beyond letting the message in as it is; made by `src/bridge`. */
export interface RuleWork {
  /** Says by `entering.enter` and `entering.refuse` what is to become of the message. Writes nothing. */
  apply(publication: Publication, publisher: Publisher, entering: Entering): void
}

/** A bridge rule: what matches goes into a queue. */
export class BridgeTarget {
  readonly kind = 'bridge'
  /** The queue of the rule; a rule with work may choose others. */
  readonly intake: Intake
  /** Null: every message enters as it is. */
  readonly work: RuleWork | null
  /** Whether messages of this topic are the rule's at all, asked once for each topic. Null: all that match. */
  readonly takesTopic: ((topic: string) => boolean) | null
  constructor(intake: Intake, work: RuleWork | null = null, takesTopic: ((topic: string) => boolean) | null = null) {
    this.intake = intake
    this.work = work
    this.takesTopic = takesTopic
  }
}

/** Clients on another node are subscribed to the filter. */
export class NodeInterest {
  readonly kind = 'node'
  readonly node: Elsewhere
  /** Messages of QoS 1 and 2 have to arrive. */
  readonly reliable: boolean
  /** Who takes the messages there asks for Packet Identifier and DUP of the PUBLISH. */
  readonly numbered: boolean
  constructor(node: Elsewhere, reliable: boolean, numbered = false) {
    this.node = node
    this.reliable = reliable
    this.numbered = numbered
  }
}

export type Destination = Subscription | Group | BridgeTarget | NodeInterest
