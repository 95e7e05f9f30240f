import { Readable } from 'node:stream'
import { SluiceError } from '../../errors.ts'
import { encodeMessage } from '../../router/message.ts'
import { packetIdOf } from '../../session/packet-ids.ts'
import { type Session, TAG_RETAIN } from '../../session/session.ts'
import type { Lane } from '../../store.ts'
import { messageOf, type PublishRequest, packetOfStored } from '../packets.ts'
import type { PersistentState } from './state.ts'

/** A packet on its way to a client: PUBLISH, or PUBREL once PUBREC came. */
export interface OutgoingPacket {
  cmd: string
  payload?: Buffer | string
  brokerId?: string | undefined
  brokerCounter?: number | undefined
  messageId?: number | undefined
}

/** What Aedes remembers of a packet for its own use. */
interface Note {
  readonly brokerId: string | undefined
  readonly brokerCounter: number | undefined
  /** The payload was given as text. */
  readonly text: boolean
  messageId: number | undefined
}

interface Entry {
  readonly seq: number
  readonly message: Buffer
  /** PUBREC came; the bytes hold the Packet Identifier that PUBREL needs. */
  readonly mark: Buffer | undefined
}

/**
 * What waits for clients, as Aedes' persistence knows it.
 *
 * In a broker of ours an entry is known by its sequence number, from which its Packet Identifier follows; both are shown as
 * `brokerCounter` and `messageId`. What is enqueued goes out at once to a client that is connected, and what is cleared
 * counts as delivered.
 *
 * Over a bare store Aedes gives identifiers itself, anew on every connection: they are noted in memory.
 */
export class Outgoing {
  readonly #state: PersistentState
  readonly #brokerId: () => string
  /** By lane, by sequence number. Null in a broker of ours. */
  readonly #notes: Map<Lane, Map<number, Note>> | null

  constructor(state: PersistentState, brokerId: () => string, keepsNotes: boolean) {
    this.#state = state
    this.#brokerId = brokerId
    this.#notes = keepsNotes ? new Map() : null
  }

  /** @throws SluiceError quota_exceeded when a session is full */
  async enqueue(subs: readonly { clientId: string; qos?: number }[], packet: PublishRequest): Promise<void> {
    const { store, clock, commits } = this.#state
    const message = encodeMessage(messageOf(packet, packet.clientId ?? '', clock.now()))
    for (const { clientId, qos = 2 } of subs) {
      const lane = this.#lane(clientId)
      const { brokerId, brokerCounter } = packet
      const text = typeof packet.payload === 'string'
      this.#notesOf(lane)?.set(lane.nextSeq, { brokerId, brokerCounter, text, messageId: undefined })
      // A lane holds nothing of QoS 0.
      const granted = Math.max(1, Math.min(qos, packet.qos ?? 0))
      store.append(message, [{ lane, tag: granted | (packet.retain ? TAG_RETAIN : 0), extra: null }])
    }
    await commits.done()
  }

  #lane(clientId: string): Lane {
    const session: Session = this.#state.sessions.prepare(clientId, 4, this.#state.expirySeconds)
    if (session.lane === null) throw new SluiceError('quota_exceeded', `the session of ${clientId} keeps nothing`)
    if (!session.hasRoom) throw new SluiceError('quota_exceeded', `the session of ${clientId} is full`)
    return session.lane
  }

  /** Notes the Packet Identifier of a PUBLISH, or that PUBREC came. @throws Error when it is not there */
  async update(clientId: string, packet: OutgoingPacket): Promise<void> {
    const lane = this.#state.sessions.find(clientId)?.lane ?? null
    const entry = await this.#find(lane, (shown) =>
      shown.brokerId !== undefined && shown.brokerId === packet.brokerId
        ? shown.brokerCounter === packet.brokerCounter
        : shown.messageId === packet.messageId,
    )
    if (lane === null || entry === null) throw new Error('no such packet')
    if (packet.cmd === 'pubrel') this.#state.store.mark(lane, entry.seq, markOf(packet.messageId ?? 0))
    const note = this.#notesOf(lane)?.get(entry.seq)
    if (note !== undefined) note.messageId = packet.messageId
    await this.#state.commits.done()
  }

  /** The client has the message: returns it, or undefined when it is not there. */
  async clear(clientId: string, messageId: number | undefined): Promise<OutgoingPacket | undefined> {
    if (messageId === undefined) return undefined
    const lane = this.#state.sessions.find(clientId)?.lane ?? null
    const entry = await this.#find(lane, (shown) => shown.messageId === messageId)
    if (lane === null || entry === null) return undefined
    const shown = this.#show(lane, entry)
    this.#state.store.settle(lane, entry.seq)
    this.#notesOf(lane)?.delete(entry.seq)
    await this.#state.commits.done()
    return shown
  }

  /** Everything that waits for the client, in order. */
  stream(clientId: string): Readable {
    const lane = this.#state.sessions.find(clientId)?.lane ?? null
    return Readable.from(this.#packets(lane))
  }

  async *#packets(lane: Lane | null): AsyncGenerator<OutgoingPacket> {
    for await (const entry of this.#entries(lane)) yield this.#show(lane!, entry)
  }

  async #find(lane: Lane | null, wanted: (shown: OutgoingPacket) => boolean): Promise<Entry | null> {
    for await (const entry of this.#entries(lane)) if (wanted(this.#show(lane!, entry))) return entry
    return null
  }

  async *#entries(lane: Lane | null): AsyncGenerator<Entry> {
    for (let next = 1; lane !== null; ) {
      const chunk = await this.#state.store.read(lane, next)
      if (chunk === null) return
      for (let i = 0; i < chunk.count; i++)
        if (!chunk.isSettled(i)) yield { seq: chunk.firstSeq + i, message: chunk.message(i), mark: chunk.markOf(i) }
      next = chunk.firstSeq + chunk.count
    }
  }

  #show(lane: Lane, { seq, message, mark }: Entry): OutgoingPacket {
    const note = this.#notesOf(lane)?.get(seq)
    const ownId = this.#notes === null ? packetIdOf(seq) : note?.messageId
    if (mark !== undefined) return { cmd: 'pubrel', messageId: mark.length === 3 ? mark.readUInt16BE(1) : ownId }
    const { clientId: _publisher, payload, ...packet } = packetOfStored(message)
    if (note !== undefined) {
      const { brokerId, brokerCounter, text } = note
      return { ...packet, payload: text ? payload.toString() : payload, brokerId, brokerCounter, messageId: ownId }
    }
    // What was in a bare store before has no counter any more; this pair is as good, and no broker's.
    const brokerId = this.#notes === null ? this.#brokerId() : `${this.#brokerId()}/stored`
    return { ...packet, payload, brokerId, brokerCounter: seq, messageId: ownId }
  }

  #notesOf(lane: Lane): Map<number, Note> | null {
    if (this.#notes === null) return null
    let notes = this.#notes.get(lane)
    if (notes === undefined) {
      notes = new Map()
      this.#notes.set(lane, notes)
    }
    return notes
  }
}

/** The mark of a session that PUBREC came, with the identifier that PUBREL needs. */
function markOf(messageId: number): Buffer {
  return Buffer.from([1, messageId >> 8, messageId & 255])
}
