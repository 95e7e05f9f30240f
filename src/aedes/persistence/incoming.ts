import { encodeMessage } from '../../router/message.ts'
import type { Lane } from '../../store.ts'
import { type AedesPacket, messageOf, type PublishRequest, packetOfStored } from '../packets.ts'
import type { PersistentState } from './state.ts'

/** QoS 2 messages that clients sent and did not release yet. A broker of ours keeps no more of them than this. */
export type IncomingPacket = AedesPacket | { cmd: 'publish'; qos: 2; messageId: number }

/**
 * Half-done QoS 2 exchanges as Aedes' persistence knows them. Our broker keeps their Packet Identifiers only: the message
 * itself went on its way before PUBREC. Packets that were stored here are kept whole, in a lane of their own.
 */
export class Incoming {
  readonly #state: PersistentState

  constructor(state: PersistentState) {
    this.#state = state
  }

  async store(clientId: string, packet: PublishRequest): Promise<void> {
    const { store, clock, sessions, commits } = this.#state
    const messageId = packet.messageId ?? 0
    const lane = this.#lane(clientId)
    await this.#settle(lane, messageId)
    const message = encodeMessage(messageOf(packet, clientId, clock.now()))
    store.append(message, [{ lane, tag: messageId, extra: null }])
    const session = sessions.find(clientId)
    if (session !== undefined) {
      session.inbound ??= new Set()
      session.inbound.add(messageId)
      if (session.kept) store.putInboundPacketId(clientId, messageId)
    }
    await commits.done()
  }

  /** @throws Error when there is none */
  async get(clientId: string, messageId: number): Promise<IncomingPacket> {
    const session = this.#state.sessions.find(clientId)
    const taken = session?.inbound?.has(messageId) === true
    if (session !== undefined && !taken) throw new Error('no such packet')
    const stored = await this.#find(this.#lane(clientId), messageId)
    if (stored !== null) {
      const { clientId: _publisher, ...packet } = packetOfStored(stored.message)
      return { ...packet, messageId }
    }
    if (!taken) throw new Error('no such packet')
    return { cmd: 'publish', qos: 2, messageId }
  }

  /** @throws Error when there is none */
  async delete(clientId: string, messageId: number): Promise<void> {
    const { sessions, store, commits } = this.#state
    const session = sessions.find(clientId)
    const released = session?.inbound?.delete(messageId) === true
    if (released && session?.kept) store.deleteInboundPacketId(clientId, messageId)
    const settled = await this.#settle(this.#lane(clientId), messageId)
    if (!released && !settled) throw new Error('no such packet')
    await commits.done()
  }

  async clean(clientId: string): Promise<void> {
    const { sessions, store, commits } = this.#state
    const session = sessions.find(clientId)
    if (session?.kept) for (const packetId of session.inbound ?? []) store.deleteInboundPacketId(clientId, packetId)
    session?.inbound?.clear()
    store.dropLane(this.#lane(clientId))
    await commits.done()
  }

  #lane(clientId: string): Lane {
    return this.#state.store.lane(`aedes/incoming/${clientId}`)
  }

  async #settle(lane: Lane, messageId: number): Promise<boolean> {
    const found = await this.#find(lane, messageId)
    if (found !== null) this.#state.store.settle(lane, found.seq)
    return found !== null
  }

  async #find(lane: Lane, messageId: number): Promise<{ seq: number; message: Buffer } | null> {
    for (let next = 1; ; ) {
      const chunk = await this.#state.store.read(lane, next)
      if (chunk === null) return null
      for (let i = 0; i < chunk.count; i++)
        if (!chunk.isSettled(i) && chunk.tags[i] === messageId)
          return { seq: chunk.firstSeq + i, message: chunk.message(i) }
      next = chunk.firstSeq + chunk.count
    }
  }
}
