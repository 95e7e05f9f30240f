/** Sessions, retained messages, wills and named facts: writes go into the open group, reads ask Redis in slices. */
import type { SessionRecord, StoredSession, SubscriptionRecord, WillRecord } from '../../store.ts'
import type { Commits } from './commits.ts'
import type { Link } from './link.ts'
import type { MessageCodec } from './message-codec.ts'
import { packRetained, packSubscription, packWill, unpackRetained, unpackSubscription, unpackWill } from './records.ts'
import type { State } from './state.ts'

/** Fields asked for at a time. */
const SLICE = 500

export class Tables {
  readonly #state: State
  readonly #commits: Commits
  readonly #link: Link
  readonly #codec: MessageCodec | null

  constructor(state: State, commits: Commits, link: Link, codec: MessageCodec | null) {
    this.#state = state
    this.#commits = commits
    this.#link = link
    this.#codec = codec
  }

  putSession(record: SessionRecord): void {
    const { open } = this.#commits
    open.write('S', record.clientId, JSON.stringify(record))
    open.change({ is: 'session', own: true, record: { ...record } })
  }

  deleteSession(clientId: string): void {
    const { open } = this.#commits
    open.write('s', clientId, '', encodeURIComponent(clientId))
    open.change({ is: 'sessionDeleted', own: true, clientId })
  }

  putSubscription(clientId: string, record: SubscriptionRecord): void {
    const { open } = this.#commits
    open.write('U', clientId, packSubscription(record), encodeURIComponent(clientId), record.topicFilter)
    open.change({ is: 'subscription', own: true, clientId, record })
  }

  deleteSubscription(clientId: string, topicFilter: string): void {
    const { open } = this.#commits
    open.write('u', clientId, '', encodeURIComponent(clientId), topicFilter)
    open.change({ is: 'subscriptionDeleted', own: true, clientId, topicFilter })
  }

  putInboundPacketId(clientId: string, packetId: number): void {
    this.#commits.open.write('I', clientId, String(packetId))
  }

  deleteInboundPacketId(clientId: string, packetId: number): void {
    this.#commits.open.write('i', clientId, String(packetId))
  }

  async *sessions(): AsyncIterable<StoredSession> {
    const seen = new Set<string>()
    for await (const slice of this.#scan(this.#state.keys.sessions)) {
      const fresh = slice.filter(([clientId]) => !seen.has(clientId))
      for (const [clientId] of fresh) seen.add(clientId)
      yield* await Promise.all(fresh.map(([clientId, value]) => this.#stored(clientId, value)))
    }
  }

  async session(clientId: string): Promise<StoredSession | null> {
    const value = await this.#link.ask((client) => client.hgetBuffer(this.#state.keys.sessions, clientId))
    return value === null ? null : this.#stored(clientId, value)
  }

  async #stored(clientId: string, value: Buffer): Promise<StoredSession> {
    const { keys } = this.#state
    const [subscriptions, inbound] = await this.#link.ask((client) =>
      Promise.all([client.hgetallBuffer(keys.client(clientId)), client.smembers(keys.inbound(clientId))]),
    )
    return {
      session: JSON.parse(value.toString()) as SessionRecord,
      subscriptions: Object.entries(subscriptions).map(([filter, packed]) => unpackSubscription(filter, packed)),
      inboundPacketIds: inbound.map(Number),
    }
  }

  putRetained(topic: string, message: Buffer): void {
    const { open } = this.#commits
    open.write('R', topic, packRetained(topic, message, this.#codec))
    open.change({ is: 'retained', own: true, topic, message })
  }

  deleteRetained(topic: string): void {
    const { open } = this.#commits
    open.write('r', topic, '')
    open.change({ is: 'retained', own: true, topic, message: null })
  }

  async *retained(): AsyncIterable<{ topic: string; message: Buffer }> {
    const seen = new Set<string>()
    for await (const slice of this.#scan(this.#state.keys.retained)) {
      for (const [topic, value] of slice) {
        if (seen.has(topic)) continue
        seen.add(topic)
        const message = this.unpackRetained(topic, value)
        if (message !== null) yield { topic, message }
      }
    }
  }

  unpackRetained(topic: string, value: Buffer): Buffer | null {
    return unpackRetained(topic, value, this.#codec, this.#state.clock.now())
  }

  putWill(record: WillRecord): void {
    const { open } = this.#commits
    open.write('W', record.clientId, packWill(record))
    open.change({ is: 'will', own: true, record: { ...record } })
  }

  deleteWill(clientId: string): void {
    const { open } = this.#commits
    open.write('w', clientId, '')
    open.change({ is: 'willDeleted', own: true, clientId })
  }

  async *wills(): AsyncIterable<WillRecord> {
    const seen = new Set<string>()
    for await (const slice of this.#scan(this.#state.keys.wills)) {
      for (const [clientId, value] of slice) {
        if (seen.has(clientId)) continue
        seen.add(clientId)
        yield unpackWill(value)
      }
    }
  }

  putMeta(key: string, value: unknown): void {
    const { open } = this.#commits
    open.write('M', key, JSON.stringify(value))
    open.metaPut.set(key, value)
    open.change({ is: 'meta', own: true, key, value })
  }

  deleteMeta(key: string): void {
    const { open } = this.#commits
    open.write('m', key, '')
    open.metaPut.set(key, undefined)
    open.change({ is: 'meta', own: true, key, value: undefined })
  }

  /** Sees what was put and is not yet answered. */
  meta(prefix: string): Map<string, unknown> {
    const all = new Map(this.#state.meta)
    for (const { metaPut, repairs } of this.#commits.unanswered)
      if (!repairs) for (const [key, value] of metaPut) all.set(key, value)
    const found = [...all].filter(([key, value]) => key.startsWith(prefix) && value !== undefined)
    return new Map(found.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
  }

  async loadMeta(): Promise<void> {
    this.#state.meta.clear()
    const all = await this.#link.ask((client) => client.hgetall(this.#state.keys.meta))
    for (const [key, value] of Object.entries(all)) this.#state.meta.set(key, JSON.parse(value))
  }

  /** Fields and values of a hash, in slices; a field that is written meanwhile may come twice. */
  async *#scan(key: string): AsyncIterable<[string, Buffer][]> {
    let cursor = '0'
    do {
      const [next, flat] = await this.#link.ask((client) => client.hscanBuffer(key, cursor, 'COUNT', SLICE))
      cursor = next.toString()
      const slice: [string, Buffer][] = []
      for (let i = 0; i < flat.length; i += 2) slice.push([flat[i]!.toString(), flat[i + 1]!])
      yield slice
    } while (cursor !== '0')
  }
}
