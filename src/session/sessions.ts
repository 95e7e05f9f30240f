import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import type { Connection } from '../connection/connection.ts'
import { identityOf } from '../connection/identity.ts'
import type { Commits } from '../router/commits.ts'
import type { SessionRecord, Store, StoredSession } from '../store.ts'
import type { DropCause, Events } from '../telemetry/events.ts'
import type { Claims } from './claims.ts'
import { attempt, Expiry } from './expiry.ts'
import { LaneDrain } from './lane-drain.ts'
import type { Loan } from './loan.ts'
import { adoptOrphans } from './orphans.ts'
import { restoreSessions } from './restore.ts'
import { Session, type SessionContext } from './session.ts'
import { firstLaneName } from './session-facts.ts'
import type { Subscriptions } from './subscriptions.ts'

export interface SessionsContext extends SessionContext {
  readonly store: Store
  readonly commits: Commits
  readonly clock: Clock
  readonly random: Random
  readonly events: Events
  readonly subscriptions: Subscriptions
  readonly nodeId: string
  /** This node looks after sessions that no living node serves. */
  leads(): boolean
  /** Unacknowledged messages of shared subscriptions whose member is gone. */
  redistribute(loans: Iterable<Loan>): void
}

export interface Opened {
  readonly session: Session
  /** [v5 MQTT-3.2.2-3] [v3 MQTT-3.2.2-2] */
  readonly present: boolean
  /** Something was written: CONNACK waits for the commit. */
  readonly durable: boolean
  /** Other nodes send what is published by what they know of the session, or of one that ended for it. */
  readonly changed: boolean
  /** Where nodes share the store: resolves when messages for the session are heard here. Null: they are already. */
  readonly kept: Promise<void> | null
}

/** All sessions of this node by Client Identifier: find, create, take over, expire. */
export class Sessions {
  readonly #c: SessionsContext
  readonly #byId = new Map<string, Session>()
  /** Those that end with their connections. */
  readonly #passing = new Set<Session>()
  /** Sessions with an owner. */
  #online = 0
  readonly #expiry: Expiry
  readonly #drain: LaneDrain
  /** Null: one node, every Client Identifier is its own. */
  claims: Claims | null = null

  constructor(context: SessionsContext) {
    this.#c = context
    this.#drain = new LaneDrain(context)
    this.#expiry = new Expiry(context.clock, this.#byId, (session) => this.#over(session))
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
    for (;;) {
      const clientId = `sluice-${this.#c.random.id(12)}`
      if (!this.#byId.has(clientId)) return clientId
    }
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

  /** Takes back what the store kept, inbound QoS 2 exchanges too. @param shiftMs what has to be added to its times */
  async restore(shiftMs = 0): Promise<void> {
    await restoreSessions(this.#c, shiftMs, (stored) => this.adopt(stored))
    this.#drain.resume(() => true)
    this.#expiry.start()
  }

  /** Takes a session as the store has it, in place of what is known of it here. No connection here may own it. */
  adopt({ session: record, subscriptions: records, inboundPacketIds }: StoredSession): Session {
    const { subscriptions } = this.#c
    const known = this.#byId.get(record.clientId)
    if (known !== undefined) this.forget(known)
    const session = new Session(this.#c, record, true)
    if (known !== undefined && known.drops !== null) session.drops = known.drops
    if (inboundPacketIds.length > 0) session.inbound = new Set(inboundPacketIds)
    this.#byId.set(record.clientId, session)
    for (const subscription of records) subscriptions.restore(session, subscription)
    return session
  }

  /** Lets go of it in memory only. */
  forget(session: Session): void {
    session.ended = true
    session.detach()
    this.#byId.delete(session.clientId)
    this.#own(session, null)
    this.#c.subscriptions.removeAll(session)
    this.#passing.delete(session)
    if (session.kept) session.lane!.onCommitted = null
  }

  /** Facts about a session that another node serves or served. */
  changed(record: SessionRecord): void {
    const session = this.#byId.get(record.clientId)
    if (session === undefined) return void this.adopt({ session: record, subscriptions: [], inboundPacketIds: [] })
    if (session.owner !== null || !session.kept) return
    const { version, expirySeconds, disconnectedAt, maybeSentBefore, identity, node = null } = record
    if (node !== session.node) session.measure()
    Object.assign(session, { version, expirySeconds, disconnectedAt, maybeSentBefore, identity, node })
  }

  /** Sessions whose nodes are gone wait for their clients. */
  async orphan(isThere: (nodeId: string) => boolean): Promise<void> {
    await adoptOrphans(this.#c.store, this.#c.clock, this.#byId, isThere)
    this.#drain.resume(isThere)
    this.#c.commits.scheduleLazily()
  }

  /** Another node changed a small named fact in the store. */
  metaChanged(key: string, value: unknown): void {
    this.#drain.changed(key, value)
  }

  stop(): void {
    this.#expiry.stop()
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
      if (this.#expiry.isOver(existing)) this.#expire(existing)
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
      // Nobody's session becomes that of the first user who was checked.
      kept.identity ??= identityOf(connection)
      kept.limits = connection.limits
      Object.assign(kept, { version, expirySeconds, disconnectedAt: 0, node: this.#servingNode })
      this.#c.store.putSession(kept.record!)
      this.#own(kept, connection)
      return { session: kept, present: true, durable: true, changed: true, kept: null }
    }
    const lane = this.#drain.freeName(firstLaneName(clientId))
    const record: SessionRecord = { clientId, version, expirySeconds, disconnectedAt: 0, maybeSentBefore: 0, lane }
    if (userName !== undefined) record.userName = userName
    const session = new Session(this.#c, record, persistent)
    Object.assign(session, { node: this.#servingNode, limits: connection.limits, identity: identityOf(connection) })
    if (persistent) this.#c.store.putSession(session.record!)
    else this.#passing.add(session)
    this.#byId.set(clientId, session)
    this.#own(session, connection)
    const keeping = session.lane === null ? undefined : this.#c.store.shared?.keep(session.lane)
    return { session, present: false, durable: durable || persistent, changed: durable, kept: keeping ?? null }
  }

  /** What the record says of who serves it: other nodes learn from it where QoS 0 messages go. */
  get #servingNode(): string | null {
    return this.#c.store.shared === null ? null : this.#c.nodeId
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
    return session
  }

  /** The connection closed: the session ends or waits for the next one. */
  released(connection: Connection): void {
    const session = this.#byId.get(connection.clientId)
    if (session === undefined || session.owner !== connection) return
    this.#own(session, null)
    if ((!session.kept || session.expirySeconds === 0) && attempt(() => this.end(session))) return
    session.detach()
    session.node = null
    session.disconnectedAt = this.#c.clock.now()
    this.#c.store.putSession(session.record!)
    this.#c.commits.scheduleLazily()
    this.claims?.left(session.clientId, session.lane)
  }

  /** Ends the session: nothing of it remains. */
  end(session: Session): void {
    if (session.ended) return
    // What may fail comes first: the session is there as a whole, or it is not.
    const waiting = session.kept ? session.lane!.waiting : 0
    if (session.kept) this.#c.store.deleteSession(session.clientId)
    session.ended = true
    const pending = session.pendingCount
    const loans = session.takeLoans()
    const lost = pending - loans.filter((loan) => !loan.sent).length
    if (lost > 0) this.#c.dropped(session, 'session_ended', lost)
    session.detach()
    this.#byId.delete(session.clientId)
    this.#passing.delete(session)
    this.#own(session, null)
    const groups = [...session.subscriptions.values()].flatMap(({ member }) => (member === null ? [] : [member.group]))
    this.#c.subscriptions.removeAll(session)
    if (loans.length > 0) this.#c.redistribute(loans)
    this.claims?.left(session.clientId, null)
    const lane = session.lane
    if (lane === null) return
    lane.onCommitted = null
    if (groups.length > 0 && waiting > 0) {
      this.#drain.start(lane, groups, session)
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

  /** Its time is over; where there are several nodes, the one that leads ends it. */
  #over(session: Session): void {
    if (this.claims === null) {
      this.#expire(session)
      return
    }
    if (!this.#c.leads()) return
    const { clientId } = session
    // Until it is ended, or found to be in use, it is not looked at again.
    this.#expiry.leaveOut(session)
    const over = (): void => {
      this.#expiry.takeIn(session)
      const current = this.#byId.get(clientId)
      if (current !== undefined && this.#expiry.isOver(current)) this.#expire(current)
    }
    this.claims.obtainVacant(clientId, over).catch(() => this.#expiry.takeIn(session))
  }

  #expire(session: Session): void {
    this.#c.events.emit('sessionExpired', { clientId: session.clientId, messages: session.waiting })
    this.end(session)
  }
}
