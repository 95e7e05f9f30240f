import { EventEmitter } from 'node:events'
import { Aedes } from 'aedes'
import type { Connection } from '../connection/connection.ts'
import type { Hooks, Mqtt3Limits, Refusal, SubscriptionOutcome } from '../connection/hooks.ts'
import { isGranted } from '../connection/permission.ts'
import type { Publication } from '../router/publication.ts'
import type { AckListener } from '../session/link.ts'
import { connackReturnCode } from '../wire/reason-codes.ts'
import type { SubscriptionRequest } from '../wire/subscribe.ts'
import type { Broker } from './broker.ts'
import { Client } from './client.ts'
import { adoptConnect, connectPacketOf } from './connect-packet.ts'
import { aedesError, authenticationRefusal } from './errors.ts'
import { type AedesPacket, packetOfStored, publicationOf, publishPacketOf, wasChanged } from './packets.ts'
import { type AedesSubscription, requestOf, subscriptionOf } from './subscriptions.ts'

/** What Aedes puts where no hook was given: recognised by identity, and then not called. */
const unhooked = new Aedes()

type Callback = (error?: Error | null) => void

/**
 * Aedes' hooks and events, called in the terms of a connection.
 *
 * What a listener throws never reaches the broker's own work: it is reported as `internalError`, with the name of the
 * event. What a hook throws fails the connection it was asked about: an unknown error means no.
 */
export class AedesHooks implements Hooks {
  readonly #broker: Broker
  readonly mqtt3: Mqtt3Limits
  // Read for each message: see `look`.
  authorizePublish: Hooks['authorizePublish'] = null
  published: Hooks['published'] = null

  constructor(broker: Broker, mqtt3: Mqtt3Limits) {
    this.#broker = broker
    this.mqtt3 = mqtt3
  }

  /**
   * Looks whether the hooks about messages are there. The broker tells when that may have changed: to ask it for each message is
   * slow, an object of so many properties being a hash table to V8.
   */
  look(): void {
    const { authorizePublish, published, hasPublishListeners } = this.#broker
    this.authorizePublish = authorizePublish === unhooked.authorizePublish ? null : this.#authorizePublish
    this.published = published === unhooked.published && !hasPublishListeners ? null : this.#published
  }

  /** The client that hooks and events show for the connection. Made when it is asked for: most are never. */
  clientOf(connection: Connection): Client {
    connection.client ??= new Client(this.#broker, connection)
    return connection.client as Client
  }

  get preConnect(): Hooks['preConnect'] {
    return this.#broker.preConnect === unhooked.preConnect ? null : this.#preConnect
  }
  readonly #preConnect: NonNullable<Hooks['preConnect']> = (connection, packet, done) => {
    const shown = connectPacketOf(packet)
    this.#broker.preConnect(this.clientOf(connection) as never, shown as never, (error, success) => {
      if (error) return done({ message: error.message, reasonCode: 0x87, error })
      if (success !== true) return done({ message: 'refused by preConnect', reasonCode: 0x87 })
      adoptConnect(packet, shown)
      done(null)
    })
  }

  get authenticate(): Hooks['authenticate'] {
    return this.#broker.authenticate === unhooked.authenticate ? null : this.#authenticate
  }
  readonly #authenticate: NonNullable<Hooks['authenticate']> = (connection, packet, done) => {
    const client = this.clientOf(connection) as never
    this.#broker.authenticate(client, packet.userName, packet.password, (error, success) => {
      done(!error && success ? null : authenticationRefusal(error))
    })
  }

  readonly #authorizePublish: NonNullable<Hooks['authorizePublish']> = (connection, publication, done) => {
    const packet = publishPacketOf(publication)
    this.#broker.authorizePublish(this.clientOf(connection) as never, packet as never, (error) => {
      if (error) return done(refusal(error))
      try {
        if (wasChanged(packet, publication)) this.#replace(publication, packet, connection)
      } catch (cause) {
        return done(refusal(cause as Error))
      }
      done(null)
    })
  }

  /** A will of a client that the last process took with it: `authorizePublish` is asked without a client. */
  authorizeWill(will: Publication): Promise<boolean> {
    const { authorizePublish } = this.#broker
    if (authorizePublish === unhooked.authorizePublish) return Promise.resolve(true)
    return new Promise((resolve) => {
      authorizePublish.call(this.#broker, null, publishPacketOf(will) as never, (error) => resolve(!error))
    })
  }

  get authorizeSubscribe(): Hooks['authorizeSubscribe'] {
    return this.#broker.authorizeSubscribe === unhooked.authorizeSubscribe ? null : this.#authorizeSubscribe
  }
  readonly #authorizeSubscribe: NonNullable<Hooks['authorizeSubscribe']> = (connection, request, done) => {
    const asked = subscriptionOf(request, connection.version5)
    this.#broker.authorizeSubscribe(this.clientOf(connection) as never, asked as never, (error, allowed) => {
      if (error) return this.#denied(connection, error, done)
      // Aedes takes anything that is no object for a no.
      if (!allowed || typeof allowed !== 'object') return done(null, null)
      try {
        done(null, requestOf(allowed as AedesSubscription, request))
      } catch (cause) {
        this.#denied(connection, cause as Error, done)
      }
    })
  }

  #denied(
    connection: Connection,
    error: Error,
    done: (refusal: Refusal | null, granted: SubscriptionRequest | null) => void,
  ): void {
    this.failed(connection, error)
    done(refusal(error), null)
  }

  get authorizeForward(): Hooks['authorizeForward'] {
    return this.#broker.authorizeForward === unhooked.authorizeForward ? null : this.#authorizeForward
  }
  readonly #authorizeForward: NonNullable<Hooks['authorizeForward']> = (connection, publication) => {
    const packet = this.#broker.packetOf(publication)
    const forwarded = this.#broker.authorizeForward(this.clientOf(connection) as never, packet as never)
    if (!forwarded) return null
    const answer = forwarded as unknown as AedesPacket
    if (answer === packet && !wasChanged(packet, publication)) return publication
    return publicationOf(answer, publication.publisherId, this.#broker.core.clock.now())
  }

  readonly #published: NonNullable<Hooks['published']> = (connection, publication, done) => {
    const packet = this.#broker.packetOf(publication)
    if (publication.packetId > 0) packet.messageId = publication.packetId
    const client = connection === null ? null : this.clientOf(connection)
    this.#broker.published(packet as never, client as never, ((error) => done(error ?? null)) as Callback)
    this.#tell('publish', packet, client)
  }

  registered(connection: Connection): void {
    this.hook(connection)
    this.#broker.connectedClients++
    if (this.#hears('client')) {
      // Until `ready`, it is shown as connecting.
      const client = this.clientOf(connection)
      client.ready = false
      this.#tell('client', client)
    }
    this.#broker.announce('new/clients', () => connection.clientId)
  }

  #hears(event: string): boolean {
    return this.#broker.listenerCount(event) > 0
  }

  /** Has the connection ask what is hooked now: hooks may come and go while clients are connected. */
  hook(connection: Connection, acks = this.#broker.listenerCount('ack') > 0): void {
    const forward = this.authorizeForward
    connection.forward = forward === null ? null : (publication) => this.#forward(connection, publication)
    if (!acks) connection.acks = null
    else connection.acks ??= this.#ackListener(connection)
  }

  /** A hook that throws does not say yes. */
  #forward(connection: Connection, publication: Publication): Publication | null {
    try {
      return this.#authorizeForward(connection, publication)
    } catch (error) {
      this.#broker.report('authorizeForward', error)
      return null
    }
  }

  #ackListener(connection: Connection): AckListener {
    const sent = new Map<number, Buffer>()
    return {
      sent: (packetId, message) => void sent.set(packetId, message),
      acknowledged: (packetId, qos) => {
        const message = sent.get(packetId)
        sent.delete(packetId)
        this.#tell('ack', this.#acknowledgedPacket(packetId, qos, message), this.clientOf(connection))
      },
    }
  }

  /** As in Aedes: the message for QoS 1, PUBREL for QoS 2, and nothing for a session that ends with its connection. */
  #acknowledgedPacket(packetId: number, qos: 1 | 2, message: Buffer | undefined): object | undefined {
    if (message === undefined) return undefined
    if (qos === 2) return { cmd: 'pubrel', messageId: packetId }
    const counters = { brokerId: this.#broker.id, brokerCounter: this.#broker.nextCounter() }
    return { ...packetOfStored(message), ...counters, qos, messageId: packetId }
  }

  connackSent(connection: Connection, reasonCode: number, sessionPresent: boolean): void {
    if (!this.#hears('connackSent')) return
    const returnCode = connection.version5 ? reasonCode : connackReturnCode(reasonCode)
    this.#tell('connackSent', { cmd: 'connack', returnCode, sessionPresent }, this.clientOf(connection))
  }

  /** Whoever waits for the CONNACK may listen after it came: told in the next turn, before the client's next packet. */
  ready(connection: Connection, proceed: () => void): void {
    setImmediate(() => {
      if (connection.state === 'connected') this.#ready(connection)
      proceed()
    })
  }

  #ready(connection: Connection): void {
    // Nobody listens to a client that nobody has seen.
    const known = connection.client !== null
    if (!known && !this.#hears('clientReady')) return
    const client = this.clientOf(connection)
    client.ready = true
    this.#tell('clientReady', client)
    if (known) this.#guard('connected', () => client.emit('connected'))
  }

  pinged(connection: Connection): void {
    if (!this.#hears('ping')) return
    const packet = { cmd: 'pingreq', retain: false, qos: 0, dup: false, length: 0, topic: null, payload: null }
    this.#tell('ping', packet, this.clientOf(connection))
  }

  keepAliveTimeout(connection: Connection): void {
    if (this.#hears('keepaliveTimeout')) this.#tell('keepaliveTimeout', this.clientOf(connection))
  }

  /** Told with the last word on each Topic Filter; `qos` 128: refused. */
  subscribed(connection: Connection, outcomes: readonly SubscriptionOutcome[]): void {
    const byFilter = new Map<string, object>()
    for (const outcome of outcomes) {
      const { request } = outcome
      const subscription = subscriptionOf(request, connection.version5)
      subscription.qos = (isGranted(outcome) ? outcome.code : 128) as 0
      byFilter.set(request.topicFilter, subscription)
    }
    const subs = [...byFilter.values()]
    if (this.#hears('subscribe')) this.#tell('subscribe', subs, this.clientOf(connection))
    const { clientId } = connection
    this.#broker.announce('new/subscribes', () => JSON.stringify({ clientId, subs }))
  }

  unsubscribed(connection: Connection, topicFilters: readonly string[]): void {
    if (this.#hears('unsubscribe')) this.#tell('unsubscribe', topicFilters, this.clientOf(connection))
    const { clientId } = connection
    this.#broker.announce('new/unsubscribes', () => JSON.stringify({ clientId, subs: topicFilters }))
  }

  failed(connection: Connection, error: Error): void {
    const told = aedesError(error)
    const client = connection.client as Client | null
    if (client !== null && client.listenerCount('error') > 0)
      this.#guard("the client's error", () => client.emit('error', told))
    const event = connection.introduced ? 'clientError' : 'connectionError'
    if (this.#hears(event)) this.#tell(event, this.clientOf(connection), told)
  }

  closed(connection: Connection, ended: readonly string[]): void {
    // Without a session it was never announced.
    if (connection.session === null) return
    if (ended.length > 0) this.unsubscribed(connection, ended)
    this.#broker.connectedClients--
    if (this.#hears('clientDisconnect')) this.#tell('clientDisconnect', this.clientOf(connection))
    this.#broker.announce('disconnect/clients', () => connection.clientId)
  }

  /** The hook changed the packet: what travels on is the changed one, with the old Packet Identifier. */
  #replace(publication: Publication, packet: AedesPacket, connection: Connection): void {
    const { packetId, dup } = publication
    const now = this.#broker.core.clock.now()
    publication.load(publicationOf(packet, connection.clientId, now).buf, now)
    publication.packetId = packetId
    publication.dup = dup
  }

  #tell(event: string, ...args: unknown[]): void {
    this.#guard(event, () => EventEmitter.prototype.emit.call(this.#broker, event, ...args))
  }

  #guard(event: string, call: () => void): void {
    try {
      call()
    } catch (error) {
      this.#broker.report(`a listener of ${event}`, error)
    }
  }
}

function refusal(error: Error): Refusal {
  return { message: error.message, reasonCode: 0x87, error }
}
