import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import type { Connection } from '../connection/connection.ts'
import type { Commits } from '../router/commits.ts'
import type { SessionRecord, Store } from '../store.ts'
import type { DropCause, Events } from '../telemetry/events.ts'
import { LaneDrain } from './lane-drain.ts'
import type { Loan } from './loan.ts'
import { firstLaneName, Session, type SessionContext } from './session.ts'
import type { Subscriptions } from './subscriptions.ts'

/** Session Expiry Interval that never ends ([v5 3.1.2.11.2]). */
export const NEVER = 0xffffffff

const NEVER_MS = Number.POSITIVE_INFINITY

/** How often sessions without a connection are looked at for expiry, in ms. */
const SWEEP_MS = 1000

export interface SessionsContext extends SessionContext {
  readonly store: Store
  readonly commits: Commits
  readonly clock: Clock
  readonly random: Random
  readonly events: Events
  readonly subscriptions: Subscriptions
  readonly nodeId: string
  /** Unacknowledged messages of shared subscriptions whose member is gone. */
  redistribute(loans: Iterable<Loan>): void
}

export interface Opened {
  readonly session: Session
  /** [v5 MQTT-3.2.2-3] [v3 MQTT-3.2.2-2] */
  readonly present: boolean
  /** Something was written: CONNACK waits for the commit. */
  readonly durable: boolean
}

/** All sessions of this node by Client Identifier: find, create, take over, expire. */
export class Sessions {
  readonly #c: SessionsContext
  readonly #byId = new Map<string, Session>()
  /** Those that end with their connections. */
  readonly #passing = new Set<Session>()
  /** Sessions with an owner. */
  #online = 0
  /** Persistent sessions without a connection, by the wall clock ms at which they expire. */
  readonly #expiring = new Map<Session, number>()
  readonly #drain: LaneDrain
  #cancelSweep: (() => void) | null = null

  constructor(context: SessionsContext) {
    this.#c = context
    this.#drain = new LaneDrain(context)
  }

  get size(): number {
    return this.#byId.size
  }

  get nodeId(): string {
    return this.#c.nodeId
  }

  dropped(session: Session, cause: DropCause, count: number): void {
    this.#c.dropped(session, cause, count)
  }

  /** A Client Identifier for a client that brought none. */
  newClientId(): string {
    let clientId: string
    do clientId = `sluice-${this.#c.random.id(12)}`
    while (this.#byId.has(clientId))
    return clientId
  }

  get online(): number {
    return this.#online
  }

  find(clientId: string): Session | undefined {
    return this.#byId.get(clientId)
  }

  /** Sessions that end with their connections. */
  get passing(): ReadonlySet<Session> {
    return this.#passing
  }

  values(): IterableIterator<Session> {
    return this.#byId.values()
  }

  /** Takes back what the store kept: sessions, subscriptions and half-done QoS 2 exchanges. */
  async restore(): Promise<void> {
    const { store, clock, subscriptions } = this.#c
    const now = clock.now()
    this.#drain.restore()
    for await (const { session: record, subscriptions: records, inboundPacketIds } of store.sessions()) {
      if (record.disconnectedAt === 0) {
        // The process died while the client was connected: what waits may have been sent.
        record.maybeSentBefore = store.lane(record.lane).nextSeq
        record.disconnectedAt = now
        store.putSession(record)
      }
      if (isExpired(record, now)) {
        const lane = store.lane(record.lane)
        const messages = lane.waiting
        this.#c.events.emit('sessionExpired', { clientId: record.clientId, messages })
        if (messages > 0) this.#c.dropped(null, 'session_ended', messages)
        store.dropLane(lane)
        store.deleteSession(record.clientId)
        continue
      }
      const session = new Session(this.#c, record, true)
      if (inboundPacketIds.length > 0) session.inbound = new Set(inboundPacketIds)
      this.#byId.set(record.clientId, session)
      for (const subscription of records) subscriptions.restore(session, subscription)
      this.#expireLater(session)
    }
    await store.commit()
    this.#sweepLater()
  }

  stop(): void {
    this.#cancelSweep?.()
  }

  /**
   * Finds or makes the session for a CONNECT and makes the connection its owner. An older owner is closed first: its
   * will is settled and its state let go before this returns, so that two connections never share a session.
   */
  open(connection: Connection, expirySeconds: number): Opened {
    const { clientId, userName, version, clean } = connection
    const existing = this.#byId.get(clientId)
    if (existing !== undefined) {
      existing.owner?.takenOver()
      // Its time was over before the sweep came by [v5 MQTT-4.1.0-2].
      if ((this.#expiring.get(existing) ?? NEVER_MS) <= this.#c.clock.now()) this.#expire(existing)
    }
    const survivor = this.#byId.get(clientId)
    let durable = false
    if (survivor !== undefined && clean) {
      durable = survivor.kept
      this.end(survivor)
    }
    const kept = clean ? undefined : survivor
    const persistent = expirySeconds > 0
    if (kept !== undefined) {
      this.#expiring.delete(kept)
      Object.assign(kept, { version, expirySeconds, disconnectedAt: 0 })
      this.#c.store.putSession(kept.record!)
      this.#own(kept, connection)
      return { session: kept, present: true, durable: true }
    }
    const lane = this.#drain.freeName(firstLaneName(clientId))
    const record: SessionRecord = { clientId, version, expirySeconds, disconnectedAt: 0, maybeSentBefore: 0, lane }
    if (userName !== undefined) record.userName = userName
    const session = new Session(this.#c, record, persistent)
    if (persistent) this.#c.store.putSession(record)
    else this.#passing.add(session)
    this.#byId.set(clientId, session)
    this.#own(session, connection)
    return { session, present: false, durable: durable || persistent }
  }

  /** Finds or makes a persistent session that no connection serves: for what a program keeps for a client. */
  prepare(clientId: string, version: number, expirySeconds: number): Session {
    const known = this.#byId.get(clientId)
    if (known !== undefined) return known
    const lane = this.#drain.freeName(firstLaneName(clientId))
    const disconnectedAt = this.#c.clock.now()
    const record: SessionRecord = { clientId, version, expirySeconds, disconnectedAt, maybeSentBefore: 0, lane }
    const session = new Session(this.#c, record, true)
    this.#c.store.putSession(record)
    this.#c.commits.scheduleLazily()
    this.#byId.set(clientId, session)
    this.#expireLater(session)
    return session
  }

  /** The connection closed: the session ends or waits for the next one. */
  released(connection: Connection): void {
    const session = this.#byId.get(connection.clientId)
    if (session === undefined || session.owner !== connection) return
    this.#own(session, null)
    if (!session.kept || session.expirySeconds === 0) {
      this.end(session)
      return
    }
    session.detach()
    session.disconnectedAt = this.#c.clock.now()
    this.#c.store.putSession(session.record!)
    this.#c.commits.scheduleLazily()
    this.#expireLater(session)
  }

  /** Ends the session: nothing of it remains. */
  end(session: Session): void {
    if (session.ended) return
    session.ended = true
    const pending = session.pendingCount
    const loans = session.takeLoans()
    const lost = pending - loans.filter((loan) => !loan.sent).length
    if (lost > 0) this.#c.dropped(session, 'session_ended', lost)
    session.detach()
    this.#byId.delete(session.clientId)
    this.#passing.delete(session)
    this.#own(session, null)
    this.#expiring.delete(session)
    const groups = [...session.subscriptions.values()].flatMap(({ member }) => (member === null ? [] : [member.group]))
    this.#c.subscriptions.removeAll(session)
    if (loans.length > 0) this.#c.redistribute(loans)
    const lane = session.lane
    if (lane === null) return
    lane.onCommitted = null
    this.#c.store.deleteSession(session.clientId)
    const waiting = lane.waiting
    if (groups.length > 0 && waiting > 0) {
      const lost = (count: number): void => this.#c.dropped(session, 'session_ended', count)
      this.#drain.start(lane, groups, session.record!, lost)
    } else {
      if (waiting > 0) this.#c.dropped(session, 'session_ended', waiting)
      this.#c.store.dropLane(lane)
    }
    this.#c.commits.scheduleLazily()
  }

  #own(session: Session, owner: Connection | null): void {
    if ((session.owner === null) !== (owner === null)) this.#online += owner === null ? -1 : 1
    session.owner = owner
  }

  #expireLater(session: Session): void {
    if (session.expirySeconds !== NEVER)
      this.#expiring.set(session, session.disconnectedAt + session.expirySeconds * 1000)
  }

  #sweepLater(): void {
    this.#cancelSweep = this.#c.clock.after(SWEEP_MS, () => {
      const now = this.#c.clock.now()
      for (const [session, at] of this.#expiring) if (at <= now) this.#expire(session)
      this.#sweepLater()
    })
  }

  #expire(session: Session): void {
    this.#c.events.emit('sessionExpired', { clientId: session.clientId, messages: session.waiting })
    this.end(session)
  }
}

function isExpired(record: SessionRecord, now: number): boolean {
  return record.expirySeconds !== NEVER && record.disconnectedAt + record.expirySeconds * 1000 <= now
}
