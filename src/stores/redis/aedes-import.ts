/**
 * Takes over what aedes-persistence-redis left: clients that have subscriptions and no session of ours, their offline queues, wills.
 * Subscriptions and retained messages stay where they are, in the layout both know. Each client is one group, so that a
 * crash in the middle imports nobody twice.
 *
 *     clients                  set     Client Identifiers with subscriptions
 *     client:<id>              hash    Topic Filter -> subscription
 *     outgoing:<id>            list    keys of packets, oldest first
 *     packet:<broker>:<n>      string  packet; :offlineCount beside it
 *     will                     list    keys of wills, will:<broker>:<id>
 */
import type { SessionRecord, Store } from '../../store.ts'
import type { Commits } from './commits.ts'
import type { Link } from './link.ts'
import type { MessageCodec } from './message-codec.ts'
import { type Packed, unpack } from './msgpack.ts'
import { foreignMessage } from './records.ts'
import type { State } from './state.ts'

const SLICE = 500
const NEVER = 0xffffffff
/** A node that dies while it imports holds others up for this long. */
const LOCK_MS = 30_000
const LOCK_PAUSE_MS = 100

type Packet = { [key: string]: Packed }

export class AedesImport {
  readonly #state: State
  readonly #link: Link
  readonly #commits: Commits
  readonly #store: Store
  readonly #codec: MessageCodec
  /** Packets that imported queues named: removed when all clients are done, since queues share them. */
  readonly #packets = new Set<string>()
  #messages = 0

  constructor(state: State, link: Link, commits: Commits, store: Store, codec: MessageCodec) {
    this.#state = state
    this.#link = link
    this.#commits = commits
    this.#store = store
    this.#codec = codec
  }

  /** One node at a time; who comes second finds nothing left. */
  async run(): Promise<void> {
    const { client } = this.#link
    const { keys, clock, writer } = this.#state
    const lock = `${keys.prefix}importing`
    while ((await client.set(lock, writer, 'PX', LOCK_MS, 'NX')) === null)
      await new Promise<void>((resolve) => clock.after(LOCK_PAUSE_MS, resolve))
    try {
      await this.#import()
    } finally {
      await client.del(lock)
    }
  }

  async #import(): Promise<void> {
    const sessions = await this.#clients()
    const wills = await this.#wills()
    for (const key of this.#packets) this.#remove(key)
    await this.#store.commit()
    if (sessions + wills > 0) this.#state.onEvent({ type: 'imported', sessions, messages: this.#messages, wills })
  }

  async #clients(): Promise<number> {
    const { client } = this.#link
    const { keys } = this.#state
    let imported = 0
    let cursor = '0'
    do {
      const [next, ids] = await client.sscan(keys.clients, cursor, 'COUNT', SLICE)
      cursor = next
      if (ids.length === 0) continue
      const known = await client.hmget(keys.sessions, ...ids)
      for (const [i, clientId] of ids.entries()) {
        if (known[i] !== null) continue
        await this.#client(clientId)
        imported++
      }
    } while (cursor !== '0')
    return imported
  }

  async #client(clientId: string): Promise<void> {
    const now = this.#state.clock.now()
    const lane = `s/${clientId}`
    const record: SessionRecord = {
      clientId,
      version: 4,
      expirySeconds: NEVER,
      disconnectedAt: now,
      // What waits may have been sent and not been acknowledged.
      maybeSentBefore: Number.MAX_SAFE_INTEGER,
      lane,
    }
    const queue = `${this.#state.keys.aedes}outgoing:${encodeURIComponent(clientId)}`
    const names = await this.#link.client.lrange(queue, 0, -1)
    let appended = 0
    for (let i = 0; i < names.length; i += SLICE) {
      for (const packet of await this.#unpacked(names.slice(i, i + SLICE))) {
        if (packet === null || (packet.cmd !== undefined && packet.cmd !== 'publish')) continue
        const message = foreignMessage(packet, this.#codec, now, packet.retain === true)
        const qos = packet.qos === 2 ? 2 : 1
        if (message === null) continue
        this.#store.append(message, [{ lane: this.#store.lane(lane), tag: qos, extra: null }])
        appended++
      }
    }
    record.maybeSentBefore = appended + 1
    this.#messages += appended
    this.#store.putSession(record)
    if (names.length > 0) {
      this.#remove(queue)
      for (const name of names) {
        this.#packets.add(name)
        if (name.startsWith('packet:')) this.#packets.add(`${name}:offlineCount`)
      }
    }
    await this.#store.commit()
  }

  async #wills(): Promise<number> {
    const list = `${this.#state.keys.aedes}will`
    const names = await this.#link.client.lrange(list, 0, -1)
    let imported = 0
    for (let i = 0; i < names.length; i += SLICE) {
      const some = names.slice(i, i + SLICE)
      for (const [k, packet] of (await this.#unpacked(some)).entries()) {
        const [, broker = '', id = ''] = some[k]!.split(':')
        const clientId = typeof packet?.clientId === 'string' ? packet.clientId : decodeURIComponent(id)
        const message =
          packet === null
            ? null
            : foreignMessage({ ...packet, clientId }, this.#codec, this.#state.clock.now(), packet.retain === true)
        if (packet !== null && message !== null) {
          const qos = packet.qos === 1 || packet.qos === 2 ? packet.qos : 0
          const retain = packet.retain === true
          this.#store.putWill({ clientId, message, qos, retain, delaySeconds: 0, dueAt: 0, node: broker })
          imported++
        }
        this.#remove(some[k]!)
      }
      this.#remove(list)
      await this.#store.commit()
    }
    return imported
  }

  async #unpacked(names: readonly string[]): Promise<(Packet | null)[]> {
    const values = await this.#link.client.mgetBuffer(...names)
    return values.map((value) => {
      try {
        return value === null ? null : (unpack(value) as Packet | null)
      } catch {
        return null
      }
    })
  }

  #remove(key: string): void {
    this.#commits.open.write('X', key, '')
  }
}
