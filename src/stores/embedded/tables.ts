/**
 * Sessions, retained messages, wills and named facts. Writes go into the open group; the iterations give what is committed,
 * in slices, so that they hold neither a snapshot nor more than a slice in memory.
 */
import type { SessionRecord, StoredSession, SubscriptionRecord, WillRecord } from '../../store.ts'
import { CheckedEngine } from './checked-engine.ts'
import { SEAL_BYTES } from './checksum.ts'
import type { Entry } from './engine.ts'
import {
  nameBytes,
  nameEnd,
  nameKey,
  nameRange,
  rangeEnd,
  sessionKey,
  sessionKind,
  sessionPrefix,
  type Table,
  table,
  tableRange,
} from './keys.ts'
import {
  decodeMeta,
  decodeRetained,
  decodeSession,
  decodeSubscription,
  decodeWill,
  encodeMeta,
  encodePacketId,
  encodeRetained,
  encodeSession,
  encodeSubscription,
  encodeWill,
} from './records.ts'
import { entriesIn } from './slices.ts'
import type { State } from './state.ts'

const SLICE = 512
/** Records of sessions after which the engine may let go of the memory that reading them took. */
const RELAX_RECORDS = 400_000
const INFINITE = Number.MAX_SAFE_INTEGER

export class Tables {
  readonly #state: State

  constructor(state: State) {
    this.#state = state
  }

  putSession(record: SessionRecord): void {
    const key = sessionKey(sessionPrefix(record.clientId), sessionKind.record, null)
    this.#state.open.write(sessionScope(record.clientId), key, encodeSession(record))
  }

  deleteSession(clientId: string): void {
    const { engine, open } = this.#state
    const scope = sessionScope(clientId)
    const prefix = sessionPrefix(clientId)
    const keys = engine.keys(prefix, rangeEnd(prefix), INFINITE)
    for (const group of this.#state.groups()) {
      for (const { key } of group.tables.get(scope)?.values() ?? []) keys.push(key)
    }
    for (const key of keys) {
      open.write(scope, key, null)
      open.ended.push({ scope, key })
    }
    open.touched = true
  }

  putSubscription(clientId: string, record: SubscriptionRecord): void {
    const key = sessionKey(sessionPrefix(clientId), sessionKind.subscription, nameBytes(record.topicFilter))
    this.#state.open.write(sessionScope(clientId), key, encodeSubscription(record))
  }

  deleteSubscription(clientId: string, topicFilter: string): void {
    const key = sessionKey(sessionPrefix(clientId), sessionKind.subscription, nameBytes(topicFilter))
    this.#state.open.write(sessionScope(clientId), key, null)
  }

  putInboundPacketId(clientId: string, packetId: number): void {
    const key = sessionKey(sessionPrefix(clientId), sessionKind.inbound, encodePacketId(packetId))
    this.#state.open.write(sessionScope(clientId), key, NOTHING)
  }

  deleteInboundPacketId(clientId: string, packetId: number): void {
    const key = sessionKey(sessionPrefix(clientId), sessionKind.inbound, encodePacketId(packetId))
    this.#state.open.write(sessionScope(clientId), key, null)
  }

  async *sessions(): AsyncIterable<StoredSession> {
    const { engine } = this.#state
    const checked = engine instanceof CheckedEngine ? engine : null
    const sealBytes = checked === null ? 0 : SEAL_BYTES
    const range = tableRange(table.session)
    let current: StoredSession | null = null
    let currentKey: Buffer = NOTHING
    let currentEnd = 0
    let records = 0
    for (let start = range.start; ; ) {
      const slice = (checked?.sealedEntries ?? engine.entries).call(engine as CheckedEngine, start, range.end, SLICE)
      for (const { key, value } of slice) {
        if (checked?.isWhole(key, value) === false) continue
        const valueEnd = value.length - sealBytes
        const end = nameEnd(key, 1)
        const kind = key[end + 1]
        if (kind === sessionKind.record) {
          if (current !== null) yield current
          current = { session: decodeSession(key, value, valueEnd), subscriptions: [], inboundPacketIds: [] }
          currentKey = key
          currentEnd = end
        } else if (current === null || end !== currentEnd || key.compare(currentKey, 0, end, 0, end) !== 0) {
          // Its record is damaged: there is no session for it to be a part of.
        } else if (kind === sessionKind.subscription) {
          current.subscriptions.push(decodeSubscription(key, end + 2, value, valueEnd))
        } else if (kind === sessionKind.inbound) {
          current.inboundPacketIds.push(key.readUInt16BE(end + 2))
        }
      }
      const last = slice.at(-1)
      records += slice.length
      if (records >= (last === undefined ? RELAX_RECORDS / 8 : RELAX_RECORDS) && this.#state.idle) {
        records = 0
        await engine.relax?.()
      }
      if (last === undefined) break
      start = after(last.key)
    }
    if (current !== null) yield current
  }

  putRetained(topic: string, message: Buffer): void {
    this.#state.open.write('retained', nameKey(table.retained, topic), encodeRetained(topic, message))
  }

  deleteRetained(topic: string): void {
    this.#state.open.write('retained', nameKey(table.retained, topic), null)
  }

  async *retained(): AsyncIterable<{ topic: string; message: Buffer }> {
    for await (const slice of this.#slices(table.retained)) for (const { value } of slice) yield decodeRetained(value)
  }

  putWill(record: WillRecord): void {
    this.#state.open.write('will', nameKey(table.will, record.clientId), encodeWill(record))
  }

  deleteWill(clientId: string): void {
    this.#state.open.write('will', nameKey(table.will, clientId), null)
  }

  async *wills(): AsyncIterable<WillRecord> {
    for await (const slice of this.#slices(table.will)) for (const { value } of slice) yield decodeWill(value)
  }

  putMeta(key: string, value: unknown): void {
    this.#state.open.write('meta', nameKey(table.meta, key), encodeMeta(key, value))
  }

  deleteMeta(key: string): void {
    this.#state.open.write('meta', nameKey(table.meta, key), null)
  }

  /** Unlike the iterations this sees what has been put and is not yet committed. */
  meta(prefix: string): Map<string, unknown> {
    const range = nameRange(table.meta, prefix)
    const values = new Map<string, Buffer | null>()
    for (const { key, value } of entriesIn(this.#state.engine, range)) {
      values.set(key.toString('latin1'), value)
    }
    for (const group of this.#state.groups()) {
      for (const [key, write] of group.tables.get('meta') ?? []) values.set(key, write.value)
    }
    const found: [string, unknown][] = []
    for (const value of values.values()) {
      if (value === null) continue
      const entry = decodeMeta(value)
      if (entry[0].startsWith(prefix)) found.push(entry)
    }
    return new Map(found.sort(([a], [b]) => (a < b ? -1 : a > b ? 1 : 0)))
  }

  async *#slices(of: Table): AsyncIterable<Entry[]> {
    const range = tableRange(of)
    let start = range.start
    for (;;) {
      const slice = this.#state.engine.entries(start, range.end, SLICE)
      const last = slice.at(-1)
      if (last === undefined) return
      yield slice
      start = after(last.key)
    }
  }
}

/** The smallest key after `key`. */
const after = (key: Buffer): Buffer => Buffer.concat([key, Buffer.from([0])])

const NOTHING = Buffer.alloc(0)

const sessionScope = (clientId: string): string => `s/${clientId}`
