import { Readable } from 'node:stream'
import { encodeMessage } from '../../router/message.ts'
import { type AedesPacket, messageOf, type PublishRequest, packetOfStored } from '../packets.ts'
import type { PersistentState } from './state.ts'

/** What a packet says that a message keeps by itself. */
const kept = new Set([
  'cmd',
  'topic',
  'payload',
  'qos',
  'retain',
  'dup',
  'messageId',
  'length',
  'clientId',
  'properties',
])

/** Retained messages as Aedes' persistence knows them. */
export class RetainedMessages {
  readonly #state: PersistentState
  /** What else was in the packets, by topic: kept only over a bare store, as long as the process lives. Null: not at all. */
  readonly #rest: Map<string, object> | null

  constructor(state: PersistentState, keepsRest: boolean) {
    this.#state = state
    this.#rest = keepsRest ? new Map() : null
  }

  /** Replaces the retained message of the topic, or removes it where the payload is empty [v5 MQTT-3.3.1-6]. */
  async store(packet: PublishRequest): Promise<void> {
    const { retainedJournal, clock, commits } = this.#state
    const { topic } = packet
    this.#rest?.delete(topic)
    if (packet.payload === undefined || packet.payload.length === 0) {
      retainedJournal.delete(topic)
    } else {
      const message = encodeMessage({ ...messageOf(packet, packet.clientId ?? '', clock.now()), retain: true })
      retainedJournal.put(topic, message)
      this.#rest?.set(topic, Object.fromEntries(Object.entries(packet).filter(([key]) => !kept.has(key))))
    }
    await commits.done()
  }

  /** The retained messages that match one of the filters, once for each filter. The stream has no errors of its own. */
  stream(topicFilters: readonly string[]): Readable {
    const found: [topic: string, message: Buffer][] = []
    for (const topicFilter of topicFilters) {
      this.#state.retained.match(topicFilter, (topic, message) => {
        found.push([topic, message])
      })
    }
    return Readable.from(this.#packets(found))
  }

  *#packets(found: Iterable<[topic: string, message: Buffer]>): Generator<Omit<AedesPacket, 'dup'>> {
    for (const [topic, message] of found) {
      const { dup: _dup, ...packet } = packetOfStored(message)
      yield { ...packet, ...this.#rest?.get(topic) }
    }
  }
}
