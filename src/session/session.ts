import type { Backpressure } from '../connection/backpressure.ts'
import type { Connection } from '../connection/connection.ts'
import type { Commits } from '../router/commits.ts'
import type { Subscription } from '../router/destinations.ts'
import { Origin } from '../router/message.ts'
import type { Lane, SessionRecord, Store } from '../store.ts'
import type { Counters } from '../telemetry/counters.ts'
import type { DropCounts } from '../telemetry/drops.ts'
import type { DropCause } from '../telemetry/events.ts'
import { Delivery } from './delivery.ts'
import type { Link } from './link.ts'

/** Bits of the tag that a lane entry of a session carries. */
export const TAG_QOS = 3
export const TAG_RETAIN = 4
/** It came from a shared subscription: when the session ends, another member may get it. */
export const TAG_SHARED = 8

const NO_SUBSCRIPTIONS: ReadonlyMap<string, Subscription> = new Map()

let serials = 0

/** What all sessions share. */
export interface SessionContext {
  readonly store: Store
  readonly commits: Commits
  readonly counters: Counters
  readonly backpressure: Backpressure
  now(): number
  dropped(session: Session | null, cause: DropCause, count: number): void
  readonly limits: { readonly sessionQueuedMessagesMax: number; readonly sessionQueuedBytesMax: number }
}

/**
 * The state of one Client Identifier ([v5 4.1] [v3 3.1.2.4]). It outlives its connections when it is persistent: then it
 * has a lane, in which every QoS 1 and 2 message waits until the client has acknowledged it. A session that ends with its
 * connection keeps such messages in memory, up to the same limits.
 */
export class Session {
  /** Different for every session of the process. */
  readonly serial = ++serials
  readonly clientId: string
  #origin: Origin | null = null
  readonly userName: string | undefined
  /** Null: the session ends with its connection. */
  readonly lane: Lane | null
  /** The stored facts; null as `lane` is. */
  readonly record: SessionRecord | null
  readonly delivery: Delivery
  #subscriptions: Map<string, Subscription> | null = null
  /** The connection that owns it from CONNECT on (it serves it from CONNACK on), or null. */
  owner: Connection | null = null
  /** Packet Identifiers of QoS 2 PUBLISH packets taken and not yet released. Null: none so far. */
  inbound: Set<number> | null = null
  /** Seconds it outlives its connection; 0: not at all. */
  expirySeconds: number
  readonly #context: SessionContext
  /** Scratch of the router while it merges overlapping subscriptions. */
  mergeStamp = 0
  mergeIndex = 0
  ended = false
  /** Messages it did not get, by cause; null: none. */
  drops: DropCounts | null = null

  /** @param lane null: the session ends with its connection */
  constructor(context: SessionContext, record: SessionRecord, lane: Lane | null) {
    this.#context = context
    this.clientId = record.clientId
    this.userName = record.userName
    this.expirySeconds = record.expirySeconds
    this.lane = lane
    this.record = lane === null ? null : record
    this.delivery = new Delivery(context, this, lane, record.maybeSentBefore)
    if (lane !== null) lane.onCommitted = (chunk) => this.delivery.committed(chunk)
  }

  /** The publisher's part of every stored message. */
  get origin(): Origin {
    this.#origin ??= new Origin(this.clientId, this.userName)
    return this.#origin
  }

  /** By Topic Filter, `$share/…` included. Changed by `Subscriptions` only. */
  get subscriptions(): ReadonlyMap<string, Subscription> {
    return this.#subscriptions ?? NO_SUBSCRIPTIONS
  }

  setSubscription(subscription: Subscription): void {
    this.#subscriptions ??= new Map()
    this.#subscriptions.set(subscription.topicFilter, subscription)
  }

  deleteSubscription(topicFilter: string): void {
    this.#subscriptions?.delete(topicFilter)
  }

  /** The connection that serves it, or null. */
  get link(): Link | null {
    return this.delivery.link
  }

  /** Messages waiting for the client, those in flight included. */
  get waiting(): number {
    if (this.lane !== null) return this.lane.waiting
    return this.delivery.inflightCount + this.delivery.pendingCount
  }

  /** Bytes of those messages; of a session without a lane, those not sent yet. */
  get waitingBytes(): number {
    return this.lane !== null ? this.lane.waitingBytes : this.delivery.pendingBytes
  }

  /** True while the lane may take one more message. */
  get hasRoom(): boolean {
    const lane = this.lane!
    const limits = this.#context.limits
    return lane.waiting < limits.sessionQueuedMessagesMax && lane.waitingBytes < limits.sessionQueuedBytesMax
  }

  /** True when a message for it would be sent without waiting. */
  get canTake(): boolean {
    const link = this.delivery.link
    if (link === null || this.delivery.inflightCount >= link.window) return false
    return link.out.waitingBytes < link.outboundBytesMax
  }

  /** Wall clock, ms since 1970, at which its last connection ended; 0: connected, or it has no stored facts. */
  get disconnectedAt(): number {
    return this.record === null ? 0 : this.record.disconnectedAt
  }

  detach(): void {
    const maybeSentBefore = this.delivery.detach()
    if (this.record !== null) this.record.maybeSentBefore = maybeSentBefore
  }
}
