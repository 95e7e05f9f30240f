/**
 * Everything that happens in the broker, as one typed map. Log, metrics, alarms, dashboard and tests attach here, so
 * that they cannot tell different stories. Events are for things that happen now and then; what happens per message is
 * counted in plain numbers and sampled.
 *
 * Payloads and passwords are never part of an event.
 */
import type { ErrorCode } from '../errors.ts'
import type { Peer } from '../transport.ts'

/** Why messages were not delivered. */
export type DropCause =
  /** The connection's unsent bytes reached limits.outboundBytesMax. */
  | 'outbound_full'
  /** The session reached limits.sessionQueuedMessagesMax or limits.sessionQueuedBytesMax. */
  | 'session_full'
  /** They waited for a session that ended. */
  | 'session_ended'
  /** Larger than the Maximum Packet Size the client named. */
  | 'packet_too_large'
  /** The Message Expiry Interval ran out. */
  | 'expired'
  /** No member of a shared subscription could take it. */
  | 'no_capacity'
  /** limits.retainedMessagesMax is reached. */
  | 'retained_full'
  /** A queue's limits are reached, and it drops what comes (or the publisher cannot be told to wait). */
  | 'queue_full'
  /** A queue has a message with this deduplication key already. */
  | 'duplicate'
  /** A bridge rule refused a message whose publisher cannot be told. */
  | 'rule_refused'
  /** Live messages for another node that it could not be sent. */
  | 'node_unreachable'
  /** A QoS 0 message for a session without a connection. */
  | 'offline'
  /** The hook authorizeForward withheld it from this client. */
  | 'forbidden'
  /** A QoS 0 message for a slow reader while memory is short (limits.memoryBytesMax). */
  | 'memory'
  /** A QoS 0 message for a queue while the store is short of room (limits.storeBytesMax, limits.diskFreeBytesMin). */
  | 'store_full'
  /** Not taken from this publisher, which was told: a subscriber's session or the retained messages are full. */
  | 'refused'

export interface EventMap {
  /** The process serves clients. */
  started: { mqtt: { host: string; port: number }; http: { host: string; port: number } }
  stopping: { drainMs: number }
  clientConnected: {
    clientId: string
    userName: string | null
    address: string
    protocol: Peer['protocol']
    /** MQTT protocol level: 3, 4 or 5. */
    version: number
    sessionPresent: boolean
  }
  /** `error` is null when the client sent DISCONNECT or closed between packets. */
  clientDisconnected: {
    clientId: string
    userName: string | null
    address: string
    /** MQTT protocol level: 3, 4 or 5. */
    version: number
    reason: string
    error: ErrorCode | null
  }
  /** A certificate for TLS is in use from now on. `validTo`: its end, as OpenSSL writes it. */
  certificateLoaded: { file: string; validTo: string }
  /** A certificate or key that changed is no good; the one in use stays. */
  certificateRejected: { error: string }
  /** A connection that never became a client. */
  connectionRefused: { address: string; clientId: string | null; reason: string; error: ErrorCode | null }
  sessionTakenOver: { clientId: string; address: string }
  sessionExpired: { clientId: string; messages: number }
  clientSubscribed: { clientId: string; topicFilter: string; qos: number }
  clientUnsubscribed: { clientId: string; topicFilter: string }
  /** Gathered: `count` messages since the last event for this client and cause. */
  messageDropped: { clientId: string; cause: DropCause; count: number }
  /** The peer does not read: it has `bufferedBytes` unsent. */
  slowReader: { clientId: string; bufferedBytes: number; disconnected: boolean }
  /** Memory is short, or no longer (level 0). Levels: docs/limits.md. */
  memoryShort: { level: number; heldBytes: number; budgetBytes: number }
  willPublished: { clientId: string; topic: string }
  /** A group of writes did not reach the disk; its publishes are not acknowledged. */
  commitFailed: { error: string; code: ErrorCode | null }
  commitRecovered: { failedForMs: number }
  /** The store cannot go on: every commit fails until the process starts again. */
  storeBroken: { error: string }
  /**
   * The room of the store. Level 0: enough; 1: getting less; 2: publishes that would be kept are refused, `reason` says why.
   * `diskFreeBytes` null: unknown.
   */
  storeRoom: { level: 0 | 1 | 2; usedBytes: number; diskFreeBytes: number | null; reason: string | null }
  /** A record on disk is not what was written. It is not used; what it is, in words. */
  storeDamaged: { record: string }
  /** Its file was written anew without free space; `error`: it could not be, and stays as it is. */
  storeCompacted: { beforeBytes: number; afterBytes: number; error: string | null }
  /** The store had an older format; the data directory has it as it was under this name. */
  storeMigrated: { from: number; to: number; keptAs: string }
  /** The connection to a store elsewhere is gone; it is made again and again. */
  storeAway: Record<never, never>
  storeBack: { awayMs: number }
  /** The store has forgotten writes that it had confirmed: a failover to a copy that lagged, or a server that keeps nothing. */
  storeRolledBack: { groups: number }
  /** A write that had been refused was found done; what it stored was taken back. */
  storeTookBack: { entries: number }
  /** Data of another broker was taken over. */
  storeImported: { sessions: number; messages: number; wills: number }
  /** Another node is there. */
  nodeJoined: { nodeId: string }
  /** Another node left, or was declared dead. */
  nodeGone: { nodeId: string }
  /** Redis could not be asked about the other nodes; it is tried again. Told once, then every 10 s with how often. */
  clusterTroubled: { where: string; error: string; failures: number }
  /** It answers again. `failures`: those since the last `clusterTroubled`. */
  clusterRecovered: { failedForMs: number; failures: number }
  /** Others declared this node dead: it serves nobody until it starts again. */
  nodeFenced: { nodeId: string }
  /** Messages for workers that read them from Redis could not be laid out or looked at; it is tried again. */
  doorTroubled: { where: string; error: string }
  leaseExpired: { queue: string; count: number }
  deadLettered: { queue: string; deadLetterQueue: string; count: number; reason: string }
  /** Something of ours broke and one connection or request paid for it. */
  internalError: { where: string; error: unknown }
}

export type EventName = keyof EventMap
export type EventListener<K extends EventName> = (event: EventMap[K]) => void

/**
 * A tiny emitter over `EventMap`. Listeners run at once, in the order in which they were added. A listener that throws
 * does not stop the others nor the emitter: the failure is reported as `internalError` (and dropped when it is a
 * listener of `internalError` that throws).
 */
export class Events {
  #listeners: { [K in EventName]?: EventListener<K>[] } = {}

  /** Adds a listener; returns a function that removes it. */
  on<K extends EventName>(name: K, listener: EventListener<K>): () => void {
    const before = this.#listeners[name] as EventListener<K>[] | undefined
    // A new array each time: an emit under way keeps walking the old one.
    this.#set(name, before === undefined ? [listener] : [...before, listener])
    return () => this.off(name, listener)
  }

  off<K extends EventName>(name: K, listener: EventListener<K>): void {
    const before = this.#listeners[name] as EventListener<K>[] | undefined
    const at = before === undefined ? -1 : before.indexOf(listener)
    if (before === undefined || at === -1) return
    this.#set(name, before.length === 1 ? undefined : before.toSpliced(at, 1))
  }

  /** True when somebody listens: ask before building an event that costs something to build. */
  has(name: EventName): boolean {
    return this.#listeners[name] !== undefined
  }

  emit<K extends EventName>(name: K, event: EventMap[K]): void {
    const listeners = this.#listeners[name] as EventListener<K>[] | undefined
    if (listeners === undefined) return
    for (const listener of listeners) {
      try {
        listener(event)
      } catch (error) {
        if (name !== 'internalError') this.emit('internalError', { where: `a listener of ${name}`, error })
      }
    }
  }

  #set<K extends EventName>(name: K, listeners: EventListener<K>[] | undefined): void {
    const map = this.#listeners as Record<string, unknown>
    if (listeners === undefined) delete map[name]
    else map[name] = listeners
  }
}
