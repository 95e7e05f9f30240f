import type { ConnectionLimits } from '../config/connection-limits.ts'
import type { Backpressure } from '../connection/backpressure.ts'
import type { Connection } from '../connection/connection.ts'
import type { Memory } from '../connection/memory.ts'
import type { Commits } from '../router/commits.ts'
import type { Subscription } from '../router/destinations.ts'
import { TextTable } from '../router/text-table.ts'
import type { Lane, SessionRecord, Store } from '../store.ts'
import type { Counters } from '../telemetry/counters.ts'
import type { DropCause } from '../telemetry/events.ts'
import { Delivery } from './delivery.ts'
import { makesRoomLater, measure } from './fullness.ts'
import type { Link } from './link.ts'
import type { Loan } from './loan.ts'
import { OnlySubscription, type SubscriptionsOfSession } from './only-subscription.ts'
import { SessionFacts } from './session-facts.ts'

/** Bits of the tag that a lane entry of a session carries. */
export const TAG_QOS = 3
export const TAG_RETAIN = 4
/** It came from a shared subscription: when the session ends, another member may get it. */
export const TAG_SHARED = 8

const NO_SUBSCRIPTIONS: SubscriptionsOfSession = new TextTable()

/** How much may wait in a session, and what happens to more. */
export type SessionLimits = Pick<
  ConnectionLimits,
  'sessionQueuedMessagesMax' | 'sessionQueuedBytesMax' | 'sessionFullPolicy'
>

/** What all sessions share. */
export interface SessionContext {
  readonly store: Store
  readonly commits: Commits
  readonly counters: Counters
  readonly backpressure: Backpressure
  readonly memory: Memory
  now(): number
  dropped(session: Session | null, cause: DropCause, count: number): void
  /** Limits of a session that no connection serves. @param user the user it belongs to */
  limitsOf(user: string | undefined): SessionLimits
  /** The session is full and its policy is to disconnect the client. */
  cutFull(session: Session): void
}

/**
 * The state of one Client Identifier ([v5 4.1] [v3 3.1.2.4]). It outlives its connections when it is persistent: then it
 * has a lane, in which every QoS 1 and 2 message waits until the client has acknowledged it. A session that ends with its
 * connection keeps such messages in memory, up to the same limits.
 *
 * There may be millions that wait for their clients: lane and delivery are made when they are first needed.
 */
export class Session extends SessionFacts {
  readonly #context: SessionContext
  #lane: Lane | null = null
  #delivery: Delivery | null = null
  /** Most sessions have one. */
  #subscriptions: Subscription | TextTable<Subscription> | null = null
  /** The connection that owns it from CONNECT on (it serves it from CONNACK on), or null. */
  owner: Connection | null = null
  /** Scratch of the router while it merges overlapping subscriptions. */
  mergeIndex = 0
  /** As in force for the connection that serves it, or served it last. */
  limits: SessionLimits

  /** @param kept false: the session ends with its connection */
  constructor(context: SessionContext, record: SessionRecord, kept: boolean) {
    super(record, kept)
    this.#context = context
    this.limits = context.limitsOf(record.userName)
  }

  /** Null: the session ends with its connection. */
  get lane(): Lane | null {
    if (this.#lane === null && this.kept) {
      this.#lane = this.#context.store.lane(this.laneName)
      this.#lane.onCommitted = (chunk) => this.#delivery?.committed(chunk)
    }
    return this.#lane
  }

  /** Made when it is first asked for: of a million sessions that were stored most wait for their clients. */
  get delivery(): Delivery {
    this.#delivery ??= new Delivery(this.#context, this, this.lane, this.maybeSentBefore)
    return this.#delivery
  }

  /** Changed by `Subscriptions` only, and not while it is gone through. */
  get subscriptions(): SubscriptionsOfSession {
    const subscriptions = this.#subscriptions
    if (subscriptions === null) return NO_SUBSCRIPTIONS
    return subscriptions instanceof TextTable ? subscriptions : new OnlySubscription(subscriptions)
  }

  setSubscription(subscription: Subscription): void {
    const known = this.#subscriptions
    if (known === null || (!(known instanceof TextTable) && known.topicFilter === subscription.topicFilter)) {
      this.#subscriptions = subscription
    } else if (known instanceof TextTable) {
      known.set(subscription)
    } else {
      this.#subscriptions = new TextTable()
      this.#subscriptions.set(known)
      this.#subscriptions.set(subscription)
    }
  }

  deleteSubscription(topicFilter: string): void {
    const known = this.#subscriptions
    if (known instanceof TextTable) known.delete(topicFilter)
    else if (known?.topicFilter === topicFilter) this.#subscriptions = null
  }

  clearSubscriptions(): void {
    this.#subscriptions = null
  }

  /** The connection that serves it, or null. */
  get link(): Link | null {
    return this.#delivery === null ? null : this.#delivery.link
  }

  /** Messages waiting for the client, those in flight included. */
  get waiting(): number {
    if (this.kept) return this.lane!.waiting
    return this.#delivery === null ? 0 : this.#delivery.inflightCount + this.#delivery.pendingCount
  }

  /** Messages held in memory because its window is closed. */
  get pendingCount(): number {
    return this.#delivery === null ? 0 : this.#delivery.pendingCount
  }

  /** Their bytes. */
  get pendingBytes(): number {
    return this.#delivery === null ? 0 : this.#delivery.pendingBytes
  }

  /** Bytes of those messages; of a session without a lane, those not sent yet. */
  get waitingBytes(): number {
    return this.lane !== null ? this.lane.waitingBytes : (this.#delivery?.pendingBytes ?? 0)
  }

  /** True while one more message may wait in it. */
  get hasRoom(): boolean {
    const { sessionQueuedMessagesMax, sessionQueuedBytesMax } = this.limits
    const messages = this.lane === null ? this.pendingCount : this.lane.waiting
    return messages < sessionQueuedMessagesMax && this.waitingBytes < sessionQueuedBytesMax
  }

  /** True when one more message may wait in it, after what its policy does about a session that is full. */
  makesRoom(): boolean {
    if (this.hasRoom || makesRoomLater(this, this.#context)) return true
    if (this.limits.sessionFullPolicy === 'disconnect') this.#context.cutFull(this)
    else if (this.limits.sessionFullPolicy === 'drop-oldest')
      while (!this.hasRoom && this.delivery.dropOldest()) this.#context.dropped(this, 'session_full', 1)
    else this.measure()
    return this.hasRoom
  }

  /** True when a message would be refused: the session is full and says so. */
  get refuses(): boolean {
    return this.limits.sessionFullPolicy === 'refuse' && !this.hasRoom
  }

  /** Where another node serves it, what is known here of how much waits may be old. */
  measure(): void {
    measure(this, this.#lane, this.#context)
  }

  /** True when a message for it would be sent without waiting. */
  get canTake(): boolean {
    const link = this.link
    if (link === null || this.delivery.inflightCount >= link.window) return false
    return link.out.hasRoom(link.outboundBytesMax)
  }

  /** Messages of shared subscriptions that were not acknowledged. They are no longer this session's. */
  takeLoans(): Loan[] {
    return this.#delivery === null ? [] : this.#delivery.takeLoans()
  }

  /** The connection is gone. What served it alone is let go of. */
  detach(): void {
    const maybeSentBefore = this.#delivery?.detach() ?? 0
    if (this.#delivery === null || !this.kept) return
    this.maybeSentBefore = maybeSentBefore
    this.#delivery = null
  }
}
