import type { Publication } from '../router/publication.ts'
import type { ConnectPacket } from '../wire/connect.ts'
import type { SubscriptionRequest } from '../wire/subscribe.ts'
import type { Connection } from './connection.ts'

/** Why a hook said no. */
export interface Refusal {
  readonly message: string
  /** MQTT 5 reason code for the answer. */
  readonly reasonCode: number
  /** What the hook said it with, for those who are told of the failure. */
  readonly error?: Error
}

/** What became of one Topic Filter of a SUBSCRIBE. */
export interface SubscriptionOutcome {
  /** As granted, or as asked for where it was refused. */
  readonly request: SubscriptionRequest
  /** The granted QoS, or 0x80 and above: refused. */
  readonly code: number
}

/**
 * Limits that an embedding program may set for MQTT 3, whose CONNACK cannot tell the client: it is refused or closed. MQTT 5
 * clients hear of theirs in the CONNACK.
 */
export interface Mqtt3Limits {
  /** Longest Client Identifier of MQTT 3.1, in characters. */
  readonly clientIdCharactersMax: number
  /** Longest Keep Alive a CONNECT may ask for, in seconds; then 0 (none) is too long as well. 0: any. */
  readonly keepAliveSecondsMax: number
  /** QoS 2 messages that may wait for their PUBREL. */
  readonly unreleasedMax: number
}

/**
 * What an embedding program may decide and hear, in the terms of a connection. The Aedes seam implements it with Aedes'
 * hooks and events. A property that is null is not hooked, and costs nothing.
 */
export interface Hooks {
  readonly mqtt3: Mqtt3Limits
  /** May change the packet. */
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
  registered(connection: Connection): void
  connackSent(connection: Connection, reasonCode: number, sessionPresent: boolean): void
  /** CONNACK was sent. `proceed` lets the client's messages go, and its next packet be handled. */
  ready(connection: Connection, proceed: () => void): void
  pinged(connection: Connection): void
  keepAliveTimeout(connection: Connection): void
  /** Called once per SUBSCRIBE, also when nothing of it was granted. */
  subscribed(connection: Connection, outcomes: readonly SubscriptionOutcome[]): void
  unsubscribed(connection: Connection, topicFilters: readonly string[]): void
  failed(connection: Connection, error: Error): void
  /** @param ended Topic Filters of the session, when it ended with the connection */
  closed(connection: Connection, ended: readonly string[]): void
}
