import { EventEmitter } from 'node:events'
import type { IncomingMessage } from 'node:http'
import type { Duplex } from 'node:stream'
import { Aedes, type AedesOptions, type PublishPacket } from 'aedes'
import { Connection } from '../connection/connection.ts'
import type { Core } from '../connection/core.ts'
import { Origin } from '../router/message.ts'
import type { Publication } from '../router/publication.ts'
import type { Observers, Publisher } from '../router/router.ts'
import type { ByteStream, Peer } from '../transport.ts'
import { Client } from './client.ts'
import { clientRegistry } from './client-registry.ts'
import type { Emitter } from './emitter.ts'
import { AedesHooks } from './hooks.ts'
import { type AedesPacket, type PublishRequest, packetOf, publicationOf } from './packets.ts'

export type { AedesOptions } from 'aedes'

type Done = (error?: Error | null) => void
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
  readonly #origin = new Origin('', undefined)
  /** Counts packets shown to hooks and events. */
  #counter = 0
  #publishListeners = 0
  declare readonly mq: Emitter<AedesPacket>
  declare clients: Record<string, Client>
  declare connectedClients: number

  constructor(parts: BrokerParts, options: AedesOptions = {}) {
    super({ ...options, mq: parts.emitter, persistence: parts.persistence })
    this.#parts = parts
    const on = EventEmitter.prototype.on
    on.call(this, 'newListener', (event: string | symbol) => {
      if (event === 'publish') this.#publishListeners++
    })
    on.call(this, 'removeListener', (event: string | symbol) => {
      if (event === 'publish') this.#publishListeners--
    })
    const hooks = new AedesHooks(this)
    this.core = parts.assemble(hooks, new EmitterObservers(this, parts.emitter))
    this.clients = clientRegistry(this.core.sessions, ({ owner }) =>
      owner?.state === 'connected' ? hooks.clientOf(owner) : undefined,
    )
    this.handle = (stream: Duplex, request?: IncomingMessage) => {
      const peer: Peer = request === undefined ? peerOf(stream) : { ...peerOf(stream), request }
      return hooks.clientOf(this.accept(parts.wrap(stream, peer))) as never
    }
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
    return ++this.#counter
  }

  override async listen(): Promise<void> {
    await this.core.store.open()
    await this.#parts.restore(this.core)
    this.core.watch.start()
    await super.listen()
    // Wills are ours: durable, published once, and not on a sweep every few minutes (facts: wills of live clients, twice).
    clearInterval((this as unknown as { _clearWillInterval: NodeJS.Timeout })._clearWillInterval)
    await this.core.wills.restore()
  }

  /** Publishes on behalf of the broker or of a client. Calls back when it is durable, if anything of it has to be. */
  override publish(packet: PublishRequest | PublishPacket, clientOrDone?: unknown, callback?: Done): void {
    const client = clientOrDone instanceof Client ? clientOrDone : null
    const done = (typeof clientOrDone === 'function' ? (clientOrDone as Done) : callback) ?? noop
    const { core } = this
    let durable: boolean
    let publication: Publication
    try {
      publication = publicationOf(packet as PublishRequest, client?.id ?? '', core.clock.now())
      const publisher: Publisher = client?.connection.session
        ? client.connection
        : { session: null, origin: this.#origin }
      const match = core.router.match(publication.topicBuf, publication.topicStart, publication.topicEnd)
      durable = core.router.publish(publication, match, publisher)
    } catch (error) {
      done(error as Error)
      return
    }
    const finish = (): void => {
      const published = core.hooks.published
      if (published === null) done()
      else published(client?.connection ?? null, publication, done)
    }
    if (durable) core.commits.wait({ committed: finish, notCommitted: (error) => done(error as Error) })
    else finish()
  }

  /** Publishes one of Aedes' $SYS topics, if anybody listens. */
  announce(suffix: string, payload: () => string): void {
    const topic = `$SYS/${this.id}/${suffix}`
    const bytes = Buffer.from(topic)
    const match = this.core.router.match(bytes, 0, bytes.length)
    if (match.empty && !match.observed && this.core.hooks.published === null) return
    this.publish({ topic, payload: Buffer.from(payload()) })
  }

  override close(callback: () => void = noop): void {
    if (this.closed) {
      callback()
      return
    }
    const { core } = this
    for (const connection of core.unconnected)
      connection.refuse(0x88, 'the broker is shutting down', 'server_shutting_down')
    super.close(() => {
      core.watch.stop()
      core.sessions.stop()
      core.wills.stop()
      this.#parts.release(core).then(callback, (error: unknown) => {
        core.events.emit('internalError', { where: 'close', error })
        callback()
      })
    })
  }
}

/** The broker's own subscribers as the router sees them. */
class EmitterObservers implements Observers {
  readonly #broker: Broker
  readonly #emitter: Emitter<AedesPacket>
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
  notify(publication: Publication, publisher: Publisher): void {
    const packet = packetOf(publication, this.#broker.id, this.#broker.nextCounter())
    if (publisher.session !== null) packet.clientId = publisher.session.clientId
    this.#emitter.emit(packet, noop)
  }
}

function peerOf(stream: Duplex): Peer {
  const { remoteAddress = '', remotePort = 0 } = stream as { remoteAddress?: string; remotePort?: number }
  return { protocol: 'stream', address: remoteAddress, port: remotePort }
}
