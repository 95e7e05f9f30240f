import { Readable } from 'node:stream'
import type { Core } from '../connection/core.ts'
import { SluiceError } from '../errors.ts'
import type { Store } from '../store.ts'
import type { PublishRequest } from './packets.ts'
import { Incoming, type IncomingPacket } from './persistence/incoming.ts'
import { Outgoing, type OutgoingPacket } from './persistence/outgoing.ts'
import { RetainedMessages } from './persistence/retained.ts'
import { openState, type PersistentState, stateOf } from './persistence/state.ts'
import { type StoredSubscription, StoredSubscriptions } from './persistence/subscriptions.ts'
import { StoredWills, type WillPacket } from './persistence/wills.ts'

/** A client as callers name it: anything with its Client Identifier. */
interface Named {
  readonly id: string | null
}

interface PersistenceHost {
  readonly id: string
  /** There when the host is a broker of ours. */
  readonly core?: Core
}

/**
 * Aedes' view of our store (the asynchronous interface of aedes-persistence 11).
 *
 * In a broker of ours (`broker.persistence`) it shows and changes the state that the clients use: a retained message stored
 * here is sent to the next subscriber, a subscription added here delivers. The broker itself does not go through it.
 *
 * Over a bare store (`new Persistence(store)`) it serves any Aedes broker, alone: the store must not be open elsewhere.
 *
 * Everything that changes something resolves when the change is durable.
 */
export class Persistence {
  readonly #store: Store | null
  #host: PersistenceHost | null = null
  #state: PersistentState | null = null
  #parts: Parts | null = null
  #destroyed = false

  constructor(store: Store | null = null) {
    this.#store = store
  }

  get broker(): PersistenceHost {
    return this.#host!
  }

  /** Aedes insists that this is an `async` function. @throws what the store throws when it is opened */
  async setup(broker: PersistenceHost): Promise<void> {
    this.#host = broker
    const { core } = broker
    if (core === undefined && this.#store === null)
      throw new SluiceError('config_invalid', 'persistence: needs a store where it is not in a broker of ours')
    this.#state = this.#store === null ? stateOf(core!) : await openState(this.#store)
    this.#parts = partsOf(this.#state, () => broker.id, this.#store !== null)
  }

  get #p(): Parts {
    if (this.#parts === null) throw new SluiceError('invariant', 'the persistence is used before its setup')
    return this.#parts
  }

  async storeRetained(packet: PublishRequest): Promise<void> {
    await this.#p.retained.store(packet)
  }

  createRetainedStream(topicFilter: string): Readable {
    return this.#p.retained.stream([topicFilter])
  }

  createRetainedStreamCombi(topicFilters: readonly string[]): Readable {
    return this.#p.retained.stream(topicFilters)
  }

  async addSubscriptions(client: Named, subscriptions: readonly StoredSubscription[]): Promise<void> {
    await this.#p.subscriptions.add(idOf(client), subscriptions)
  }

  async removeSubscriptions(client: Named, topicFilters: readonly string[]): Promise<void> {
    await this.#p.subscriptions.remove(idOf(client), topicFilters)
  }

  async cleanSubscriptions(client: Named): Promise<void> {
    await this.#p.subscriptions.removeAll(idOf(client))
  }

  /** Those of a session that outlives its connection; none of one that does not. */
  async subscriptionsByClient(client: Named): Promise<object[]> {
    return this.#p.subscriptions.ofClient(idOf(client))
  }

  async subscriptionsByTopic(topic: string): Promise<object[]> {
    return this.#p.subscriptions.ofTopic(topic)
  }

  async countOffline(): Promise<{ subsCount: number; clientsCount: number }> {
    return this.#p.subscriptions.count()
  }

  getClientList(topicFilter: string): Readable {
    return Readable.from(this.#p.subscriptions.clients(topicFilter))
  }

  async outgoingEnqueue(subscription: { clientId: string; qos?: number }, packet: PublishRequest): Promise<void> {
    await this.#p.outgoing.enqueue([subscription], packet)
  }

  async outgoingEnqueueCombi(
    subscriptions: readonly { clientId: string; qos?: number }[],
    packet: PublishRequest,
  ): Promise<void> {
    await this.#p.outgoing.enqueue(subscriptions, packet)
  }

  /** @throws Error when no such packet waits for the client */
  async outgoingUpdate(client: Named, packet: OutgoingPacket): Promise<void> {
    await this.#p.outgoing.update(idOf(client), packet)
  }

  async outgoingClearMessageId(client: Named, packet: { messageId?: number }): Promise<OutgoingPacket | undefined> {
    return this.#p.outgoing.clear(idOf(client), packet.messageId)
  }

  outgoingStream(client: Named): Readable {
    return this.#p.outgoing.stream(idOf(client))
  }

  async incomingStorePacket(client: Named, packet: PublishRequest): Promise<void> {
    await this.#p.incoming.store(idOf(client), packet)
  }

  /** @throws Error when there is none: Aedes tells by that whether a message is new */
  async incomingGetPacket(client: Named, packet: { messageId: number }): Promise<IncomingPacket> {
    return this.#p.incoming.get(idOf(client), packet.messageId)
  }

  /** @throws Error when there is none */
  async incomingDelPacket(client: Named, packet: { messageId: number }): Promise<void> {
    await this.#p.incoming.delete(idOf(client), packet.messageId)
  }

  async cleanIncoming(client: Named): Promise<void> {
    await this.#p.incoming.clean(idOf(client))
  }

  async putWill(client: Named, packet: WillPacket): Promise<void> {
    await this.#p.wills.put(idOf(client), packet)
  }

  async getWill(client: Named): Promise<WillPacket | undefined> {
    return this.#p.wills.get(idOf(client))
  }

  async delWill(client: Named): Promise<WillPacket | undefined> {
    return this.#p.wills.delete(idOf(client))
  }

  /** @param brokers brokers that are alive, by id: their wills are left out */
  streamWill(brokers: Readonly<Record<string, unknown>> = {}): Readable {
    return this.#p.wills.stream(brokers)
  }

  /** Closes a store of its own. The broker's is the broker's to close. */
  async destroy(): Promise<void> {
    if (this.#destroyed) throw new Error('destroyed called twice!')
    this.#destroyed = true
    if (this.#store === null) return
    this.#state?.sessions.stop()
    this.#state?.wills.stop()
    await this.#store.close()
  }
}

interface Parts {
  readonly retained: RetainedMessages
  readonly subscriptions: StoredSubscriptions
  readonly outgoing: Outgoing
  readonly incoming: Incoming
  readonly wills: StoredWills
}

function partsOf(state: PersistentState, brokerId: () => string, alone: boolean): Parts {
  return {
    retained: new RetainedMessages(state, alone),
    subscriptions: new StoredSubscriptions(state),
    outgoing: new Outgoing(state, brokerId, alone),
    incoming: new Incoming(state),
    wills: new StoredWills(state, brokerId),
  }
}

function idOf(client: Named): string {
  return client.id ?? ''
}
