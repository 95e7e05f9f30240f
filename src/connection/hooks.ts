import type { Subscription } from '../router/destinations.ts'
import type { Publication } from '../router/publication.ts'
import type { ConnectPacket } from '../wire/connect.ts'
import type { SubscriptionRequest } from '../wire/subscribe.ts'
import type { Connection } from './connection.ts'

/** Why a hook said no. */
export interface Refusal {
  readonly message: string
  /** MQTT 5 reason code for the answer. */
  readonly reasonCode: number
}

/**
 * What an embedding program may decide and hear, in the terms of a connection. The Aedes seam implements it with Aedes'
 * hooks and events. A property that is null is not hooked, and costs nothing.
 */
export interface Hooks {
  readonly preConnect:
    | ((connection: Connection, packet: ConnectPacket, done: (refusal: Refusal | null) => void) => void)
    | null
  readonly authenticate:
    | ((connection: Connection, packet: ConnectPacket, done: (refusal: Refusal | null) => void) => void)
    | null
  readonly authorizePublish:
    | ((connection: Connection, publication: Publication, done: (refusal: Refusal | null) => void) => void)
    | null
  readonly authorizeSubscribe:
    | ((
        connection: Connection,
        request: SubscriptionRequest,
        done: (refusal: Refusal | null, granted: SubscriptionRequest | null) => void,
      ) => void)
    | null
  readonly authorizeForward: ((connection: Connection, publication: Publication) => Publication | null) | null
  /** Called after a message went through; `done` lets the acknowledgement go. */
  readonly published:
    | ((connection: Connection | null, publication: Publication, done: (error: Error | null) => void) => void)
    | null
  readonly acknowledged: ((connection: Connection, packetId: number) => void) | null
  registered(connection: Connection): void
  connackSent(connection: Connection, reasonCode: number, sessionPresent: boolean): void
  ready(connection: Connection): void
  pinged(connection: Connection): void
  keepAliveTimeout(connection: Connection): void
  subscribed(connection: Connection, subscriptions: readonly Subscription[]): void
  unsubscribed(connection: Connection, topicFilters: readonly string[]): void
  failed(connection: Connection, error: Error): void
  closed(connection: Connection): void
}
