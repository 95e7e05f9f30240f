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

  /** The client that hooks and events show for the connection. Made when it is asked for: most are never. */
  clientOf(connection: Connection): Client {
    connection.client ??= new Client(this.#broker, connection)
    return connection.client as Client
  }

  get preConnect(): Hooks['preConnect'] {
    return this.#broker.preConnect === unhooked.preConnect ? null : this.#preConnect
  }
  readonly #preConnect: NonNullable<Hooks['preConnect']> = (connection, packet, done) => {
    this.#broker.preConnect(this.clientOf(connection) as never, connectPacketOf(packet) as never, (error, success) => {
      if (error) this.failed(connection, error)
      done(error || success !== true ? { message: error?.message ?? 'refused by preConnect', reasonCode: 0x87 } : null)
    })
  }

  get authenticate(): Hooks['authenticate'] {
    return this.#broker.authenticate === unhooked.authenticate ? null : this.#authenticate
  }
  readonly #authenticate: NonNullable<Hooks['authenticate']> = (connection, packet, done) => {
    const client = this.clientOf(connection) as never
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
    this.#broker.authorizePublish(this.clientOf(connection) as never, packet as never, (error) => {
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
    this.#broker.authorizeSubscribe(this.clientOf(connection) as never, asked as never, (error, allowed) => {
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
    const forwarded = this.#broker.authorizeForward(this.clientOf(connection) as never, packet as never)
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
    const client = connection === null ? null : this.clientOf(connection)
    if (client !== null && client.id !== null) packet.clientId = client.id
    this.#broker.published(packet as never, client as never, ((error) => done(error ?? null)) as Callback)
    this.#broker.emit('publish', packet, client)
  }

  get acknowledged(): Hooks['acknowledged'] {
    return this.#broker.listenerCount('ack') === 0 ? null : this.#acknowledged
  }
  readonly #acknowledged: NonNullable<Hooks['acknowledged']> = (connection, packetId) => {
    this.#broker.emit('ack', { cmd: 'publish', messageId: packetId }, this.clientOf(connection))
  }

  registered(connection: Connection): void {
    if (this.authorizeForward !== null) connection.forward = (publication) => this.#forward(connection, publication)
    const acknowledged = this.acknowledged
    if (acknowledged !== null) connection.acknowledged = (packetId) => acknowledged(connection, packetId)
    this.#broker.connectedClients++
    if (this.#hears('client')) this.#broker.emit('client', this.clientOf(connection))
    this.#broker.announce('new/clients', () => connection.clientId)
  }

  #hears(event: string): boolean {
    return this.#broker.listenerCount(event) > 0
  }

  #forward(connection: Connection, publication: Publication): Publication | null {
    const authorize = this.authorizeForward
    return authorize === null ? publication : authorize(connection, publication)
  }

  connackSent(connection: Connection, reasonCode: number, sessionPresent: boolean): void {
    if (!this.#hears('connackSent')) return
    const returnCode = connection.version5 ? reasonCode : connackReturnCode(reasonCode)
    this.#broker.emit('connackSent', { cmd: 'connack', returnCode, sessionPresent }, this.clientOf(connection))
  }

  ready(connection: Connection): void {
    if (this.#hears('clientReady')) this.#broker.emit('clientReady', this.clientOf(connection))
    // Nobody listens to a client that nobody has seen.
    if (connection.client !== null) this.clientOf(connection).emit('connected')
  }

  pinged(connection: Connection): void {
    if (this.#hears('ping')) this.#broker.emit('ping', { cmd: 'pingreq' }, this.clientOf(connection))
  }

  keepAliveTimeout(connection: Connection): void {
    if (this.#hears('keepaliveTimeout')) this.#broker.emit('keepaliveTimeout', this.clientOf(connection))
  }

  subscribed(connection: Connection, subscriptions: readonly Subscription[]): void {
    const subs = subscriptions.map((s) => ({
      topic: s.topicFilter,
      qos: s.qos,
      nl: s.noLocal,
      rap: s.retainAsPublished,
      rh: s.retainHandling,
    }))
    if (this.#hears('subscribe')) this.#broker.emit('subscribe', subs, this.clientOf(connection))
    this.#broker.announce('new/subscribes', () => JSON.stringify({ clientId: connection.clientId, subs }))
  }

  unsubscribed(connection: Connection, topicFilters: readonly string[]): void {
    if (this.#hears('unsubscribe')) this.#broker.emit('unsubscribe', topicFilters, this.clientOf(connection))
    const { clientId } = connection
    this.#broker.announce('new/unsubscribes', () => JSON.stringify({ clientId, subs: topicFilters }))
  }

  failed(connection: Connection, error: Error): void {
    const event = connection.clientId === '' ? 'connectionError' : 'clientError'
    if (this.#hears(event)) this.#broker.emit(event, this.clientOf(connection), error)
  }

  closed(connection: Connection): void {
    // Without a session it was never announced.
    if (connection.session === null) return
    this.#broker.connectedClients--
    if (this.#hears('clientDisconnect')) this.#broker.emit('clientDisconnect', this.clientOf(connection))
    this.#broker.announce('disconnect/clients', () => connection.clientId)
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
