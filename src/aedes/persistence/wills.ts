import { Readable } from 'node:stream'
import { encodeMessage } from '../../router/message.ts'
import type { WillRecord } from '../../store.ts'
import type { Properties } from '../../wire/properties.ts'
import { type AedesPacket, messageOf, packetOfStored } from '../packets.ts'
import type { PersistentState } from './state.ts'

/** A will as Aedes' persistence shows it. */
export type WillPacket = Pick<
  AedesPacket,
  'topic' | 'payload' | 'qos' | 'retain' | 'clientId' | 'brokerId' | 'properties'
>

type GivenWill = WillPacket & { properties?: Properties & { willDelayInterval?: number } }

/** Wills as Aedes' persistence knows them. */
export class StoredWills {
  readonly #state: PersistentState
  readonly #brokerId: () => string

  constructor(state: PersistentState, brokerId: () => string) {
    this.#state = state
    this.#brokerId = brokerId
  }

  /** Keeps the will, and writes into the packet whose it is. It is published when the client's connection is lost. */
  async put(clientId: string, packet: GivenWill): Promise<void> {
    const { wills, clock, commits } = this.#state
    packet.brokerId = this.#brokerId()
    packet.clientId = clientId
    const { willDelayInterval: delaySeconds = 0, ...properties } = packet.properties ?? {}
    const message = messageOf({ ...packet, properties }, clientId, clock.now())
    const { qos, retain } = message
    wills.set({
      clientId,
      message: encodeMessage(message),
      qos,
      retain,
      delaySeconds,
      dueAt: 0,
      node: packet.brokerId,
    })
    this.#tellConnection(clientId, true)
    await commits.done()
  }

  get(clientId: string): WillPacket | undefined {
    const record = this.#state.wills.get(clientId)
    return record === undefined ? undefined : this.#show(record)
  }

  /** Returns the will that was there. Never rejects: Aedes does not listen. */
  async delete(clientId: string): Promise<WillPacket | undefined> {
    const packet = this.get(clientId)
    this.#state.wills.discard(clientId)
    this.#tellConnection(clientId, false)
    await this.#state.commits.done().catch(() => {})
    return packet
  }

  /** The wills of brokers that are not among those given. */
  stream(brokers: Readonly<Record<string, unknown>>): Readable {
    return Readable.from(this.#of(brokers))
  }

  *#of(brokers: Readonly<Record<string, unknown>>): Generator<WillPacket> {
    for (const record of [...this.#state.wills.values()]) {
      const packet = this.#show(record)
      if (!brokers[packet.brokerId!]) yield packet
    }
  }

  #show(record: WillRecord): WillPacket {
    const { topic, payload, qos, retain, properties } = packetOfStored(record.message)
    const brokerId = record.node === this.#state.sessions.nodeId ? this.#brokerId() : record.node
    const packet: WillPacket = { clientId: record.clientId, brokerId, topic, payload, qos, retain }
    return properties === undefined ? packet : { ...packet, properties }
  }

  /** A connection that stands publishes its will only if it knows of one. */
  #tellConnection(clientId: string, hasWill: boolean): void {
    const owner = this.#state.sessions.find(clientId)?.owner
    if (owner) owner.hasWill = hasWill
  }
}
