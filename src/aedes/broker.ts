import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import { Aedes, type AedesOptions, type PublishPacket } from 'aedes'
import { Connection } from '../connection/connection.ts'
import type { Core } from '../connection/core.ts'
import { Origin } from '../router/message.ts'
import type { Publication } from '../router/publication.ts'
import type { Observers, Publisher } from '../router/router.ts'
import type { ByteStream, Peer } from '../transport.ts'
import { countLevels } from '../wire/topic.ts'
import { Client } from './client.ts'
import { clientRegistry } from './client-registry.ts'
import type { Emitter } from './emitter.ts'
import { AedesHooks } from './hooks.ts'
import { LaterStream } from './later-stream.ts'
import { checkOptions, mqtt3LimitsFor } from './options.ts'
import { type AedesPacket, type PublishRequest, packetOf, publicationOf } from './packets.ts'
import { watchProperties } from './watched.ts'

export type { AedesOptions } from 'aedes'

type Done = (error?: Error | null) => void
/** What is announced under $SYS when a client has connected. */
const NEW_CLIENTS = 'new/clients'
const noop = (): void => {}

/** What the composition root hands to the broker. */
export interface BrokerParts {
  /** Makes everything that needs the hooks and the observers of this broker. */
  assemble(hooks: AedesHooks, observers: Observers): Core
  readonly emitter: Emitter<AedesPacket>
  /** Aedes' view of our store. */
  readonly persistence: unknown
  /** Wraps a stream given to `handle`. */
  wrap(stream: Duplex, peer: Peer): ByteStream
  /** Restores what the store kept. */
  restore(core: Core): Promise<void>
  /** Lets go of the store. */
  release(core: Core): Promise<void>
}

/**
 * An Aedes broker whose connections, sessions, router and stores are ours. Aedes' class stays the owner of the broker's
 * identity, hooks, events, client registry and close; a program that embeds Aedes embeds this without change.
 */
export class Broker extends Aedes {
  readonly core: Core
  readonly #parts: BrokerParts
  readonly #options: AedesOptions
  readonly #hooks: AedesHooks
  readonly #observers: EmitterObservers
  readonly #origin = new Origin('', undefined)
  #publishListeners = 0
  #cancelForgetting = noop
  /** Listeners for new clients that Aedes' own class has put into `mq`. */
  #aedesListeners = 0
  declare readonly mq: Emitter<AedesPacket>
  declare clients: Record<string, Client>
  declare connectedClients: number
  /** Number of the last packet shown to hooks, events and subscribers. */
  declare counter: number

  constructor(parts: BrokerParts, options: AedesOptions = {}) {
    super({ ...options, mq: parts.emitter, persistence: parts.persistence })
    this.#parts = parts
    this.#options = options
    this.#hooks = new AedesHooks(this, mqtt3LimitsFor(options))
    this.#observers = new EmitterObservers(this, parts.emitter)
    this.core = parts.assemble(this.#hooks, this.#observers)
    this.clients = clientRegistry(this.core.sessions, ({ owner }) =>
      owner?.state === 'connected' ? this.#hooks.clientOf(owner) : undefined,
    )
    this.#watchListeners()
    // Hooks may be assigned while clients are connected.
    watchProperties(this, ['authorizePublish', 'published'], () => this.#hooks.look())
    watchProperties(this, ['authorizeForward'], () => this.#rehook())
    this.handle = (stream: Duplex, request?: IncomingMessage) => {
      const peer: Peer = request === undefined ? peerOf(stream) : { ...peerOf(stream), request }
      const bytes = parts.wrap(stream, peer)
      const connection = this.accept(stream instanceof Socket ? bytes : new LaterStream(bytes))
      return this.#hooks.clientOf(connection) as never
    }
  }

  readonly #listenerAdded = (event: string | symbol): void => {
    if (event === 'publish') this.#publishes(1)
    if (event === 'ack') this.#rehook(true)
  }
  readonly #listenerRemoved = (event: string | symbol): void => {
    if (event === 'publish') this.#publishes(-1)
    if (event === 'ack') this.#rehook()
  }

  #publishes(listeners: number): void {
    this.#publishListeners += listeners
    this.#hooks.look()
  }

  /** Whether anybody listens to `publish` is asked for each message, so it is counted and not looked up. */
  #watchListeners(): void {
    const { on, off } = EventEmitter.prototype
    off.call(this, 'newListener', this.#listenerAdded)
    off.call(this, 'removeListener', this.#listenerRemoved)
    on.call(this, 'newListener', this.#listenerAdded)
    on.call(this, 'removeListener', this.#listenerRemoved)
    this.#publishListeners = this.listenerCount('publish')
    this.#hooks.look()
    this.#rehook()
  }

  override removeAllListeners(event?: string | symbol): this {
    // EventEmitter counts the arguments.
    if (event === undefined) super.removeAllListeners()
    else super.removeAllListeners(event)
    if (event === undefined || event === 'newListener' || event === 'removeListener') this.#watchListeners()
    return this
  }

  #rehook(acks?: boolean): void {
    for (const { owner } of this.core.sessions.values()) if (owner?.state === 'connected') this.#hooks.hook(owner, acks)
  }

  /** Serves a byte stream. */
  accept(stream: ByteStream): Connection {
    const connection = new Connection(this.core, stream)
    if (this.closed) connection.close('the broker is closed', 'server_shutting_down', true)
    return connection
  }

  get hasPublishListeners(): boolean {
    return this.#publishListeners > 0
  }

  nextCounter(): number {
    return ++this.counter
  }

  /** A message as hooks, events and subscribers are shown it. */
  packetOf(publication: Publication): AedesPacket {
    return packetOf(publication, this.id, this.nextCounter())
  }

  /** A listener or hook of the program threw. */
  report(where: string, error: unknown): void {
    this.core.events.emit('internalError', { where, error })
  }

  /** @throws SluiceError config_invalid for an option that asks for a part which is built in; what the store throws */
  override async listen(): Promise<void> {
    checkOptions(this.#options)
    await this.core.store.open()
    await this.#parts.restore(this.core)
    this.core.watch.start()
    this.core.memoryRelief.start()
    const listeners = this.mq.count(this.#topicOf(NEW_CLIENTS))
    await super.listen()
    this.#aedesListeners = this.mq.count(this.#topicOf(NEW_CLIENTS)) - listeners
    // Wills are ours: durable, published once, and not on a sweep every few minutes (facts: wills of live clients, twice).
    clearInterval((this as unknown as { _clearWillInterval: NodeJS.Timeout })._clearWillInterval)
    this.#forgetBrokersLater()
    await this.core.wills.restore((will) => this.#hooks.authorizeWill(will))
    await this.core.nodes?.ready()
  }

  /** Brokers whose heartbeat was heard stay in `brokers` for three of their intervals. */
  #forgetBrokersLater(): void {
    const { clock } = this.core
    const interval = this.#options.heartbeatInterval ?? 60_000
    this.#cancelForgetting = clock.after(4 * interval, () => {
      const brokers = this.brokers as Record<string, number>
      for (const [id, heardAt] of Object.entries(brokers)) if (heardAt + 3 * interval < clock.now()) delete brokers[id]
      this.#forgetBrokersLater()
    })
  }

  /**
   * Publishes on behalf of the broker or of a client. Calls back when it is durable, if anything of it has to be, and every
   * subscriber of the broker is done with it.
   */
  override publish(packet: PublishRequest | PublishPacket, clientOrDone?: unknown, callback?: Done): void {
    const client = clientOrDone instanceof Client ? clientOrDone : null
    const done = (typeof clientOrDone === 'function' ? (clientOrDone as Done) : callback) ?? noop
    const { core } = this
    let publication: Publication
    let open = 2
    let failure: Error | null = null
    const settle = (error?: Error | null): void => {
      failure ??= error ?? null
      if (--open > 0) return
      if (failure !== null) done(failure)
      else if (core.hooks.published === null) done()
      else core.hooks.published(client?.connection ?? null, publication, done)
    }
    let durable: boolean
    try {
      publication = publicationOf(packet as PublishRequest, client?.id ?? '', core.clock.now())
      const publisher: Publisher = client?.connection.session
        ? client.connection
        : { session: null, origin: this.#origin }
      const match = core.router.match(publication.topicBuf, publication.topicStart, publication.topicEnd)
      durable = this.#observers.following(settle, () => core.router.publish(publication, match, publisher))
    } catch (error) {
      return done(error as Error)
    }
    if (durable) core.commits.wait({ committed: settle, notCommitted: (error) => settle(error as Error) })
    else settle()
  }

  /** Publishes one of Aedes' $SYS topics, if anybody listens. */
  announce(suffix: string, payload: () => string): void {
    const topic = this.#topicOf(suffix)
    // As in Aedes, a limit on levels holds for these topics too.
    if (countLevels(topic) > this.core.config.limits.topicLevelsMax) return
    const bytes = Buffer.from(topic)
    const match = this.core.router.match(bytes, 0, bytes.length)
    if (match.empty && this.core.hooks.published === null) {
      // Aedes' own listener passes over the clients of its own broker.
      const own = suffix === NEW_CLIENTS ? this.#aedesListeners : 0
      if (!match.observed || this.mq.count(topic) <= own) return
    }
    this.publish({ topic, payload: Buffer.from(payload()) })
  }

  #topicOf(suffix: string): string {
    return `$SYS/${this.id}/${suffix}`
  }

  override close(callback: () => void = noop): void {
    if (this.closed) {
      callback()
      return
    }
    const { core } = this
    for (const connection of core.unconnected)
      connection.refuse(0x88, 'the broker is shutting down', 'server_shutting_down')
    this.#cancelForgetting()
    super.close(() => {
      core.watch.stop()
      core.memoryRelief.stop()
      core.sessions.stop()
      core.wills.stop()
      this.#parts.release(core).then(callback, (error: unknown) => {
        this.report('close', error)
        callback()
      })
    })
  }
}

/** The broker's own subscribers as the router sees them. */
class EmitterObservers implements Observers {
  readonly #broker: Broker
  readonly #emitter: Emitter<AedesPacket>
  /** Who waits for the subscribers of the message that is being published. */
  #follower: Done | null = null

  constructor(broker: Broker, emitter: Emitter<AedesPacket>) {
    this.#broker = broker
    this.#emitter = emitter
  }

  get generation(): number {
    return this.#emitter.generation
  }

  observes(topic: string): boolean {
    return this.#emitter.has(topic)
  }

  notify(publication: Publication): void {
    const follower = this.#follower ?? noop
    this.#follower = null
    this.#emitter.emit(this.#broker.packetOf(publication), follower)
  }

  /** Publishes; `done` follows when the subscribers are done with the message, at once when there are none. */
  following(done: Done, publish: () => boolean): boolean {
    this.#follower = done
    try {
      return publish()
    } finally {
      const unheard = this.#follower === done
      this.#follower = null
      if (unheard) done()
    }
  }
}

function peerOf(stream: Duplex): Peer {
  const { remoteAddress = '', remotePort = 0 } = stream as { remoteAddress?: string; remotePort?: number }
  return { protocol: 'stream', address: remoteAddress, port: remotePort }
}
