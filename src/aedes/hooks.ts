import { Aedes } from 'aedes'
import type { Connection } from '../connection/connection.ts'
import type { Hooks, Refusal } from '../connection/hooks.ts'
import type { Subscription } from '../router/destinations.ts'
import type { Publication } from '../router/publication.ts'
import type { ConnectPacket } from '../wire/connect.ts'
import { connackReturnCode } from '../wire/reason-codes.ts'
import type { SubscriptionRequest } from '../wire/subscribe.ts'
import type { Broker } from './broker.ts'
import { Client } from './client.ts'
import { type AedesPacket, packetOf, publicationOf, wasChanged } from './packets.ts'

/** What Aedes puts where no hook was given: recognised by identity, and then not called. */
const unhooked = new Aedes()

/** MQTT 5 reason codes for the return codes that Aedes' `authenticate` may name. */
const reasonCodeOfReturnCode: Record<number, number> = { 2: 0x85, 3: 0x88, 4: 0x86, 5: 0x87 }

type Callback = (error?: Error | null) => void

/** Aedes' hooks and events, called in the terms of a connection. */
export class AedesHooks implements Hooks {
  readonly #broker: Broker

  constructor(broker: Broker) {
    this.#broker = broker
  }

  accepted(connection: Connection): void {
    connection.client = new Client(this.#broker, connection)
  }

  get preConnect(): Hooks['preConnect'] {
    return this.#broker.preConnect === unhooked.preConnect ? null : this.#preConnect
  }
  readonly #preConnect: NonNullable<Hooks['preConnect']> = (connection, packet, done) => {
    this.#broker.preConnect(clientOf(connection) as never, connectPacketOf(packet) as never, (error, success) => {
      if (error) this.failed(connection, error)
      done(error || success !== true ? { message: error?.message ?? 'refused by preConnect', reasonCode: 0x87 } : null)
    })
  }

  get authenticate(): Hooks['authenticate'] {
    return this.#broker.authenticate === unhooked.authenticate ? null : this.#authenticate
  }
  readonly #authenticate: NonNullable<Hooks['authenticate']> = (connection, packet, done) => {
    const client = clientOf(connection) as never
    this.#broker.authenticate(client, packet.userName, packet.password, (error, success) => {
      if (!error && success) return done(null)
      const reasonCode = reasonCodeOfReturnCode[error?.returnCode ?? 0] ?? 0x87
      done({ message: error?.message || messageOf(reasonCode), reasonCode })
    })
  }

  get authorizePublish(): Hooks['authorizePublish'] {
    return this.#broker.authorizePublish === unhooked.authorizePublish ? null : this.#authorizePublish
  }
  readonly #authorizePublish: NonNullable<Hooks['authorizePublish']> = (connection, publication, done) => {
    const packet = this.#packet(publication)
    this.#broker.authorizePublish(clientOf(connection) as never, packet as never, (error) => {
      if (error) return done(refusal(error))
      if (wasChanged(packet, publication)) this.#replace(publication, packet, connection)
      done(null)
    })
  }

  get authorizeSubscribe(): Hooks['authorizeSubscribe'] {
    return this.#broker.authorizeSubscribe === unhooked.authorizeSubscribe ? null : this.#authorizeSubscribe
  }
  readonly #authorizeSubscribe: NonNullable<Hooks['authorizeSubscribe']> = (connection, request, done) => {
    const { topicFilter, qos, noLocal, retainAsPublished, retainHandling } = request
    const asked = { topic: topicFilter, qos, nl: noLocal, rap: retainAsPublished, rh: retainHandling }
    this.#broker.authorizeSubscribe(clientOf(connection) as never, asked as never, (error, allowed) => {
      if (error) return done(refusal(error), null)
      if (!allowed) return done(null, null)
      const granted: SubscriptionRequest = { ...request, topicFilter: allowed.topic, qos: allowed.qos }
      done(null, granted)
    })
  }

  get authorizeForward(): Hooks['authorizeForward'] {
    return this.#broker.authorizeForward === unhooked.authorizeForward ? null : this.#authorizeForward
  }
  readonly #authorizeForward: NonNullable<Hooks['authorizeForward']> = (connection, publication) => {
    const packet = this.#packet(publication)
    const forwarded = this.#broker.authorizeForward(clientOf(connection) as never, packet as never)
    if (!forwarded) return null
    const answer = forwarded as unknown as AedesPacket
    return answer === packet && !wasChanged(packet, publication)
      ? publication
      : publicationOf(answer, '', this.#broker.core.clock.now())
  }

  get published(): Hooks['published'] {
    return this.#broker.published === unhooked.published && !this.#broker.hasPublishListeners ? null : this.#published
  }
  readonly #published: NonNullable<Hooks['published']> = (connection, publication, done) => {
    const packet = this.#packet(publication)
    const client = connection === null ? null : clientOf(connection)
    if (client !== null && client.id !== null) packet.clientId = client.id
    this.#broker.published(packet as never, client as never, ((error) => done(error ?? null)) as Callback)
    this.#broker.emit('publish', packet, client)
  }

  get acknowledged(): Hooks['acknowledged'] {
    return this.#broker.listenerCount('ack') === 0 ? null : this.#acknowledged
  }
  readonly #acknowledged: NonNullable<Hooks['acknowledged']> = (connection, packetId) => {
    this.#broker.emit('ack', { cmd: 'publish', messageId: packetId }, clientOf(connection))
  }

  registered(connection: Connection): void {
    const client = clientOf(connection)
    if (this.authorizeForward !== null) connection.forward = (publication) => this.#forward(connection, publication)
    const acknowledged = this.acknowledged
    if (acknowledged !== null) connection.acknowledged = (packetId) => acknowledged(connection, packetId)
    this.#broker.registerClient(client as never)
  }

  #forward(connection: Connection, publication: Publication): Publication | null {
    const authorize = this.authorizeForward
    return authorize === null ? publication : authorize(connection, publication)
  }

  connackSent(connection: Connection, reasonCode: number, sessionPresent: boolean): void {
    const returnCode = connection.version5 ? reasonCode : connackReturnCode(reasonCode)
    this.#broker.emit('connackSent', { cmd: 'connack', returnCode, sessionPresent }, clientOf(connection))
  }

  ready(connection: Connection): void {
    const client = clientOf(connection)
    this.#broker.emit('clientReady', client)
    client.emit('connected')
  }

  pinged(connection: Connection): void {
    if (this.#broker.listenerCount('ping') > 0) this.#broker.emit('ping', { cmd: 'pingreq' }, clientOf(connection))
  }

  keepAliveTimeout(connection: Connection): void {
    this.#broker.emit('keepaliveTimeout', clientOf(connection))
  }

  subscribed(connection: Connection, subscriptions: readonly Subscription[]): void {
    const subs = subscriptions.map((s) => ({
      topic: s.topicFilter,
      qos: s.qos,
      nl: s.noLocal,
      rap: s.retainAsPublished,
      rh: s.retainHandling,
    }))
    const client = clientOf(connection)
    this.#broker.emit('subscribe', subs, client)
    this.#broker.announce('new/subscribes', () => JSON.stringify({ clientId: client.id, subs }))
  }

  unsubscribed(connection: Connection, topicFilters: readonly string[]): void {
    const client = clientOf(connection)
    this.#broker.emit('unsubscribe', topicFilters, client)
    this.#broker.announce('new/unsubscribes', () => JSON.stringify({ clientId: client.id, subs: topicFilters }))
  }

  failed(connection: Connection, error: Error): void {
    const client = clientOf(connection)
    const event = client.id === null ? 'connectionError' : 'clientError'
    if (this.#broker.listenerCount(event) > 0) this.#broker.emit(event, client, error)
  }

  closed(connection: Connection): void {
    const client = clientOf(connection)
    if (this.#broker.clients[connection.clientId] === client) this.#broker.unregisterClient(client as never)
  }

  #packet(publication: Publication): AedesPacket {
    return packetOf(publication, this.#broker.id, this.#broker.nextCounter())
  }

  /** The hook changed the packet: what travels on is the changed one, with the old Packet Identifier. */
  #replace(publication: Publication, packet: AedesPacket, connection: Connection): void {
    const { packetId, dup } = publication
    const changed = publicationOf(packet, connection.clientId, this.#broker.core.clock.now())
    publication.load(changed.buf, this.#broker.core.clock.now())
    publication.packetId = packetId
    publication.dup = dup
  }
}

export function clientOf(connection: Connection): Client {
  return connection.client as Client
}

function refusal(error: Error): Refusal {
  return { message: error.message, reasonCode: 0x87 }
}

function messageOf(reasonCode: number): string {
  return (
    { 133: 'identifier rejected', 136: 'Server unavailable', 134: 'bad user name or password' }[reasonCode] ??
    'not authorized'
  )
}

/** CONNECT in the form that Aedes' `preConnect` expects. */
function connectPacketOf(packet: ConnectPacket): Record<string, unknown> {
  return {
    cmd: 'connect',
    protocolId: packet.version === 3 ? 'MQIsdp' : 'MQTT',
    protocolVersion: packet.version,
    clean: packet.clean,
    clientId: packet.clientId,
    keepalive: packet.keepAliveSeconds,
    username: packet.userName,
    password: packet.password,
    will: packet.will ?? undefined,
    properties: packet.properties ?? undefined,
  }
}
