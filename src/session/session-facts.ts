import { Origin } from '../router/message.ts'
import type { SessionRecord } from '../store.ts'
import type { DropCounts } from '../telemetry/drops.ts'

let serials = 0

/** What few sessions have, or only those in use: it costs the others nothing. */
interface Rare {
  identity: string | undefined
  node: string | null
  /** Null: the lane has the name every session's has at first. */
  laneName: string | null
  origin: Origin | null
  drops: DropCounts | null
  inbound: Set<number> | null
  inboundUnderWay: Set<number> | null
}

// Where things lie in `#bits`.
const VERSION = 7
const KEPT = 8
const ENDED = 16
const MS_SHIFT = 5
const MS = 1023 << MS_SHIFT

/**
 * What a session knows about itself. There may be millions that wait for their clients, so it is packed: small facts share an
 * integer, and no number is one that V8 keeps in an object of its own (16 bytes for a time in ms, or for an expiry interval
 * of 0xffffffff, and then for that of every session).
 */
export class SessionFacts {
  /** Different for every session of the process. */
  readonly serial = ++serials
  readonly clientId: string
  readonly userName: string | undefined
  /** Lane entries below this sequence number may have been sent before. */
  maybeSentBefore: number
  /** Protocol level, `kept`, `ended`, and the milliseconds of `disconnectedAt` below a second. */
  #bits: number
  /** Seconds as 32 bits. */
  #expiry: number
  #disconnectedSeconds = 0
  #rare: Rare | null = null

  /** @param kept false: the session ends with its connection */
  constructor(record: SessionRecord, kept: boolean) {
    this.clientId = record.clientId
    this.userName = record.userName
    this.maybeSentBefore = record.maybeSentBefore
    this.#bits = record.version | (kept ? KEPT : 0)
    this.#expiry = record.expirySeconds | 0
    this.disconnectedAt = record.disconnectedAt
    if (record.identity !== undefined) this.identity = record.identity
    if (record.node !== undefined) this.node = record.node
    if (record.lane !== firstLaneName(record.clientId)) SessionFacts.#more(this).laneName = record.lane
  }

  /** What the store keeps of it; null: nothing. */
  get record(): SessionRecord | null {
    if (!this.kept) return null
    const { clientId, userName, version, expirySeconds, disconnectedAt, maybeSentBefore, laneName: lane } = this
    const record: SessionRecord = { clientId, version, expirySeconds, disconnectedAt, maybeSentBefore, lane }
    if (userName !== undefined) record.userName = userName
    if (this.node !== null) record.node = this.node
    if (this.identity !== undefined) record.identity = this.identity
    return record
  }

  /** It outlives its connections: it has a lane. */
  get kept(): boolean {
    return (this.#bits & KEPT) !== 0
  }

  /** MQTT protocol level of the client: 3, 4 or 5. */
  get version(): number {
    return this.#bits & VERSION
  }
  set version(version: number) {
    this.#bits = (this.#bits & ~VERSION) | version
  }

  get ended(): boolean {
    return (this.#bits & ENDED) !== 0
  }
  set ended(ended: boolean) {
    this.#bits = (this.#bits & ~ENDED) | (ended ? ENDED : 0)
  }

  /** Seconds it outlives its connection, up to 0xffffffff (for ever); 0: not at all. */
  get expirySeconds(): number {
    return this.#expiry >>> 0
  }
  set expirySeconds(seconds: number) {
    this.#expiry = seconds | 0
  }

  /** Wall clock, whole ms since 1970, up to the year 2106; 0: connected. */
  get disconnectedAt(): number {
    return (this.#disconnectedSeconds >>> 0) * 1000 + ((this.#bits & MS) >> MS_SHIFT)
  }
  set disconnectedAt(ms: number) {
    const time = ms === 0 ? 0 : Math.max(1, Math.floor(ms))
    this.#disconnectedSeconds = Math.floor(time / 1000) | 0
    this.#bits = (this.#bits & ~MS) | ((time % 1000) << MS_SHIFT)
  }

  // Static, because a private method of an instance costs each of them eight bytes.
  static #more(facts: SessionFacts): Rare {
    facts.#rare ??= {
      identity: undefined,
      node: null,
      laneName: null,
      origin: null,
      drops: null,
      inbound: null,
      inboundUnderWay: null,
    }
    return facts.#rare
  }

  /** The user it belongs to: checked when it was opened; undefined: nobody was checked. */
  get identity(): string | undefined {
    return this.#rare?.identity
  }
  set identity(identity: string | undefined) {
    if (identity !== this.identity) SessionFacts.#more(this).identity = identity
  }

  /** The node whose connection serves it; null: none, or there is one node. */
  get node(): string | null {
    return this.#rare === null ? null : this.#rare.node
  }
  set node(node: string | null) {
    if (node !== this.node) SessionFacts.#more(this).node = node
  }

  get laneName(): string {
    return this.#rare?.laneName ?? firstLaneName(this.clientId)
  }

  /** Messages it did not get, by cause; null: none. */
  get drops(): DropCounts | null {
    return this.#rare === null ? null : this.#rare.drops
  }
  set drops(drops: DropCounts | null) {
    SessionFacts.#more(this).drops = drops
  }

  /** Packet Identifiers of QoS 2 PUBLISH packets taken and not yet released. Null: none so far. */
  get inbound(): Set<number> | null {
    return this.#rare === null ? null : this.#rare.inbound
  }
  set inbound(packetIds: Set<number> | null) {
    if (packetIds !== this.inbound) SessionFacts.#more(this).inbound = packetIds
  }

  /** Of these those whose message is on its way to the disk. */
  get inboundUnderWay(): Set<number> | null {
    return this.#rare === null ? null : this.#rare.inboundUnderWay
  }
  set inboundUnderWay(packetIds: Set<number> | null) {
    if (packetIds !== this.inboundUnderWay) SessionFacts.#more(this).inboundUnderWay = packetIds
  }

  /** The publisher's part of every stored message. */
  get origin(): Origin {
    const more = SessionFacts.#more(this)
    more.origin ??= new Origin(this.clientId, this.userName)
    return more.origin
  }
}

/** A session that begins while an older one of the same client is still being drained has another. */
export function firstLaneName(clientId: string): string {
  return `s/${clientId}`
}
