import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Connection } from '../connection/connection.ts'
import { judgeAll, subscribe } from '../connection/handlers/subscribe.ts'
import { TAG_RETAIN } from '../session/session.ts'
import type { SubscriptionRequest } from '../wire/subscribe.ts'
import { isTopicFilter } from '../wire/topic.ts'
import type { Broker } from './broker.ts'
import { type AedesPacket, type PublishRequest, packetOfStored, publicationOf } from './packets.ts'

type Done = (error?: Error) => void

/** What `client.subscribe` takes: one subscription, several, or a packet with them. */
export interface AedesSubscription {
  topic: string
  qos: 0 | 1 | 2
  nl?: boolean
  rap?: boolean
  rh?: 0 | 1 | 2
}
type SubscribeArgument = AedesSubscription | AedesSubscription[] | { subscriptions: AedesSubscription[] }
type UnsubscribeArgument = string | string[] | { unsubscriptions: string[] }

/**
 * A connection as Aedes' hooks and events show it: `client` in `authenticate(client, …)` and everywhere else. All of it
 * is read from the connection; the object itself holds nothing but its listeners.
 */
export class Client extends EventEmitter {
  readonly broker: Broker
  readonly #connection: Connection
  #id: string | null = null

  constructor(broker: Broker, connection: Connection) {
    super()
    this.broker = broker
    this.#connection = connection
    const conn = connection.stream.source as Duplex & { client?: Client }
    conn.client = this
  }

  /** Aedes' own bookkeeping of other brokers; always empty. */
  get duplicates(): Record<string, number> {
    return Object.create(null)
  }
  get connection(): Connection {
    return this.#connection
  }
  get conn(): Duplex {
    return this.#connection.stream.source
  }
  get req(): IncomingMessage | undefined {
    return this.#connection.stream.peer.request
  }
  get connDetails(): unknown {
    return (this.req as { connDetails?: unknown } | undefined)?.connDetails ?? null
  }
  /** Null until CONNECT was read. Programs may set it in `preConnect` or `authenticate`. */
  get id(): string | null {
    return this.#id ?? (this.#connection.clientId || null)
  }
  set id(id: string | null) {
    this.#id = id
    if (id !== null) this.#connection.clientId = id
  }
  get clean(): boolean {
    return this.#connection.session === null ? this.#connection.clean : this.#connection.session.lane === null
  }
  get version(): number | null {
    return this.#connection.state === 'accepted' ? null : this.#connection.version
  }
  get connecting(): boolean {
    return this.#connection.state === 'connecting'
  }
  get connected(): boolean {
    return this.#connection.state === 'connected'
  }
  get connackSent(): boolean {
    return this.connected
  }
  get closed(): boolean {
    return this.#connection.state === 'closed'
  }
  get errored(): boolean {
    return this.closed && this.#connection.closeError !== null
  }
  get will(): AedesPacket | null {
    const record = this.broker.core.wills.get(this.#connection.clientId)
    return record === undefined ? null : packetOfStored(record.message, this.broker.id)
  }
  get subscriptions(): Record<string, { qos: number; rh: number; rap: boolean; nl: boolean }> {
    const all: Record<string, { qos: number; rh: number; rap: boolean; nl: boolean }> = Object.create(null)
    for (const [topicFilter, s] of this.#connection.session?.subscriptions ?? [])
      all[topicFilter] = { qos: s.qos, rh: s.retainHandling, rap: s.retainAsPublished, nl: s.noLocal }
    return all
  }

  /** Sends a message to this client only. Calls back when it is sent, or durable for a persistent session. */
  publish(message: PublishRequest, done: Done = () => {}): void {
    const session = this.#connection.session
    if (session === null) return void setImmediate(done, new Error('the client is not connected'))
    const { core } = this.broker
    try {
      const publication = publicationOf(message, '', core.clock.now())
      if (publication.qos === 0 || session.lane === null) {
        session.delivery.deliver(publication, publication.qos, publication.retain, null, null)
        return void setImmediate(done)
      }
      const tag = publication.qos | (publication.retain ? TAG_RETAIN : 0)
      const target = { lane: session.lane, tag, extra: null }
      core.store.append(publication.store(session.origin, core.clock.now()), [target])
      core.commits.wait({ committed: () => done(), notCommitted: (error) => done(error as Error) })
    } catch (error) {
      setImmediate(done, error as Error)
    }
  }

  /** Subscribes on behalf of the client; hooks and limits apply as to a SUBSCRIBE packet. */
  subscribe(argument: SubscribeArgument, done: Done = () => {}): void {
    const connection = this.#connection
    if (connection.session === null) return void setImmediate(done, new Error('the client is not connected'))
    const list = Array.isArray(argument) ? argument : 'subscriptions' in argument ? argument.subscriptions : [argument]
    const wrong = list.find((subscription) => !isTopicFilter(subscription.topic))
    if (wrong !== undefined) return void setImmediate(done, new Error(`not a Topic Filter: ${wrong.topic}`))
    judgeAll(connection, list.map(requestOf), (codes, granted) => {
      subscribe(connection, granted, 0, codes, () => setImmediate(done))
    })
  }

  unsubscribe(argument: UnsubscribeArgument, done: Done = () => {}): void {
    const connection = this.#connection
    const session = connection.session
    if (session === null) return void setImmediate(done, new Error('the client is not connected'))
    const list =
      typeof argument === 'string' ? [argument] : Array.isArray(argument) ? argument : argument.unsubscriptions
    const removed = list.filter((topicFilter) => this.broker.core.subscriptions.remove(session, topicFilter))
    if (removed.length > 0) this.broker.core.hooks.unsubscribed(connection, removed)
    this.broker.core.commits.wait({ committed: () => done(), notCommitted: (error) => done(error as Error) })
  }

  close(done?: () => void): void {
    this.#connection.disconnect(0x98, 'closed by the broker', null)
    if (typeof done === 'function') setImmediate(done)
  }

  /** Discards what waits for the client. */
  emptyOutgoingQueue(done: Done = () => {}): void {
    this.#connection.session?.delivery.discard()
    this.broker.core.commits.wait({ committed: () => done(), notCommitted: (error) => done(error as Error) })
  }

  pause(): void {
    this.#connection.hold()
  }
  resume(): void {
    this.#connection.release()
  }
}

function requestOf(subscription: AedesSubscription): SubscriptionRequest {
  return {
    topicFilter: subscription.topic,
    qos: subscription.qos,
    noLocal: subscription.nl ?? false,
    retainAsPublished: subscription.rap ?? false,
    retainHandling: subscription.rh ?? 0,
  }
}
