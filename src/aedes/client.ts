import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import type { Connection } from '../connection/connection.ts'
import { suback, subscribe } from '../connection/handlers/subscribe.ts'
import { judge } from '../connection/permission.ts'
import { TAG_RETAIN } from '../session/session.ts'
import { encodeUnsuback } from '../wire/suback.ts'
import type { SubscriptionRequest } from '../wire/subscribe.ts'
import type { Broker } from './broker.ts'
import { type AedesPacket, type PublishRequest, packetOfStored, publicationOf } from './packets.ts'
import { type AedesSubscription, requestOf } from './subscriptions.ts'

type Done = (error?: Error) => void

/** One subscription, several, or a packet with them; with a `messageId` the client gets the answer to a packet. */
type SubscribeArgument =
  | AedesSubscription
  | AedesSubscription[]
  | { subscriptions: AedesSubscription[]; messageId?: number }
type Unsubscription = string | { topic: string }
type UnsubscribeArgument = Unsubscription | Unsubscription[] | { unsubscriptions: Unsubscription[]; messageId?: number }

/**
 * A connection as Aedes' hooks and events show it: `client` in `authenticate(client, …)` and everywhere else. All of it
 * is read from the connection; the object itself holds only its listeners and how far its program has been told.
 */
export class Client extends EventEmitter {
  readonly broker: Broker
  readonly #connection: Connection
  /** The program was told that the client is ready, or need not be. Set by the hooks. */
  ready: boolean

  constructor(broker: Broker, connection: Connection) {
    super()
    this.broker = broker
    this.#connection = connection
    this.ready = connection.state === 'connected'
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
  /** Null until CONNECT is accepted as such. A program may set it in `authenticate`. */
  get id(): string | null {
    return this.#connection.introduced ? this.#connection.clientId : null
  }
  set id(id: string) {
    this.#connection.clientId = id
  }
  get clean(): boolean {
    return this.#connection.session === null ? this.#connection.clean : this.#connection.session.lane === null
  }
  /** MQTT protocol level: 3, 4 or 5. Null as `id` is. */
  get version(): number | null {
    return this.#connection.introduced ? this.#connection.version : null
  }
  /** From CONNECT until the program was told that the client is ready. */
  get connecting(): boolean {
    const { state } = this.#connection
    return state === 'connecting' || (state === 'connected' && !this.ready)
  }
  get connected(): boolean {
    return this.#connection.state === 'connected' && this.ready
  }
  get connackSent(): boolean {
    return this.#connection.state === 'connected'
  }
  get closed(): boolean {
    return this.#connection.state === 'closed'
  }
  get errored(): boolean {
    return this.closed && this.#connection.closeError !== null
  }
  get will(): AedesPacket | null {
    const record = this.#connection.hasWill ? this.broker.core.wills.get(this.#connection.clientId) : undefined
    return record === undefined ? null : packetOfStored(record.message)
  }
  get subscriptions(): Record<string, { qos: number; rh: number; rap: boolean; nl: boolean }> {
    const all: Record<string, { qos: number; rh: number; rap: boolean; nl: boolean }> = Object.create(null)
    for (const s of this.#connection.session?.subscriptions.values() ?? [])
      all[s.topicFilter] = { qos: s.qos, rh: s.retainHandling, rap: s.retainAsPublished, nl: s.noLocal }
    return all
  }

  /** Sends a message to this client only. Calls back when it is sent, or durable for a persistent session. */
  publish(message: PublishRequest, done: Done = () => {}): void {
    const session = this.#connection.session
    if (session === null) return void setImmediate(done, notConnected())
    const { core } = this.broker
    try {
      const publication = publicationOf(message, '', core.clock.now())
      if (publication.qos === 0 || session.lane === null) {
        session.delivery.deliver(publication, publication.qos, publication.retain, null, null)
        return void setImmediate(done)
      }
      const tag = publication.qos | (publication.retain ? TAG_RETAIN : 0)
      core.store.append(publication.buf, [{ lane: session.lane, tag, extra: null }])
      this.#whenDurable(done)
    } catch (error) {
      setImmediate(done, error as Error)
    }
  }

  /** Subscribes on behalf of the client; hooks and limits apply as to a SUBSCRIBE packet. */
  subscribe(argument: SubscribeArgument, done: Done = () => {}): void {
    const connection = this.#connection
    if (connection.session === null) return void setImmediate(done, notConnected())
    const packet = 'subscriptions' in argument ? argument : { subscriptions: [argument].flat() as AedesSubscription[] }
    let requests: SubscriptionRequest[]
    try {
      requests = packet.subscriptions.map((subscription) => requestOf(subscription))
    } catch (error) {
      return void setImmediate(done, error as Error)
    }
    const { messageId } = packet
    judge(connection, requests, (outcomes) => {
      subscribe(connection, outcomes, 0, (failure) => {
        if (failure !== null) return void setImmediate(done, failure as Error)
        if (messageId !== undefined) suback(connection, messageId, outcomes)
        setImmediate(done)
      })
    })
  }

  unsubscribe(argument: UnsubscribeArgument, done: Done = () => {}): void {
    const connection = this.#connection
    const session = connection.session
    if (session === null) return void setImmediate(done, notConnected())
    const packet =
      typeof argument === 'object' && 'unsubscriptions' in argument ? argument : { unsubscriptions: [argument].flat() }
    const topicFilters = packet.unsubscriptions.map((one) => (typeof one === 'string' ? one : one.topic))
    const removed = topicFilters.filter((topicFilter) => this.broker.core.subscriptions.remove(session, topicFilter))
    if (removed.length > 0) this.broker.core.hooks.unsubscribed(connection, removed)
    const { messageId } = packet
    this.#whenDurable((error) => {
      const codes = topicFilters.map((topicFilter) => (removed.includes(topicFilter) ? 0 : 0x11))
      if (error === undefined && messageId !== undefined)
        connection.out.write(encodeUnsuback(connection.version, messageId, codes))
      done(error)
    })
  }

  /** Ends the connection; its will is published. Calls back when the client is gone from the broker's registry. */
  close(done?: () => void): void {
    this.#connection.disconnect(0x98, 'closed by the broker', null)
    if (typeof done === 'function') setImmediate(done)
  }

  /** Discards what waits for the client. */
  emptyOutgoingQueue(done: Done = () => {}): void {
    this.#connection.session?.delivery.discard()
    this.#whenDurable(done)
  }

  pause(): void {
    this.#connection.hold()
  }
  resume(): void {
    this.#connection.release()
  }

  #whenDurable(done: Done): void {
    this.broker.core.commits.wait({
      committed: () => done(),
      notCommitted: (error) => done(error as Error),
    })
  }
}

function notConnected(): Error {
  return new Error('the client is not connected')
}
