import type { Clock } from '../base/clock.ts'
import type { Cluster, ClusterListener, NodeFacts } from '../cluster.ts'
import { SluiceError } from '../errors.ts'
import type { Group } from '../router/destinations.ts'
import type { RetainedIndex } from '../router/retained.ts'
import type { Claims } from '../session/claims.ts'
import type { Sessions } from '../session/sessions.ts'
import type { Subscriptions } from '../session/subscriptions.ts'
import type { Wills } from '../session/will.ts'
import type { Change, Lane, SharedWatcher, Store } from '../store.ts'
import type { Events } from '../telemetry/events.ts'
import { Follower } from './follower.ts'
import { decodeFrames } from './frames.ts'
import type { Interest } from './interest.ts'
import { Mailbox, type MailboxContext, mailboxOf } from './mailbox.ts'
import { type Crowding, RemoteNode } from './remote-node.ts'
import { SEEN, SeenByAll } from './seen-by-all.ts'

export interface NodesContext {
  readonly store: Store
  readonly cluster: Cluster
  readonly clock: Clock
  readonly events: Events
  readonly commits: { scheduleLazily(): void; done(): Promise<void>; later(again: () => void): void }
  readonly router: { receive(message: Buffer, group: Group | null, done: (() => void) | null, now: number): void }
  readonly sessions: Sessions
  readonly subscriptions: Subscriptions
  readonly retained: RetainedIndex
  readonly wills: Wills
  readonly claims: Claims
  readonly interest: Interest
  /** Live messages to another node that could not be sent. */
  dropped(count: number): void
  /** Slows down who publishes to a node that does not keep up. */
  readonly backpressure: Crowding
}

/** How long `heardSoon` waits, in ms. */
const HEARD_MS = 500
/** Wills that are taken over at a time. */
const AT_ONCE = 50
/** Pause before it is tried again to look after a node that is gone, in ms. */
const TEND_AGAIN_MS = 1000

/**
 * This node among others that share its store: hears what changes, answers and asks the others, looks after what a dead
 * node leaves behind when it leads.
 *
 *     apart ──start──▶ joined ──stop──▶ apart
 *                        └──declared dead by others──▶ fenced: the process has to start again
 */
export class Nodes implements ClusterListener, SharedWatcher {
  readonly #c: NodesContext
  readonly #mailbox: Mailbox
  readonly #remotes = new Map<string, RemoteNode>()
  readonly #follower: Follower
  readonly #seen: SeenByAll
  #tending: Promise<void> = Promise.resolve()
  #conceding = false
  /** Called when others have declared this node dead. */
  onFenced: () => void = () => {}
  /** Who answers questions of other nodes, by kind. */
  readonly answers = new Map<string, (body: unknown) => Promise<unknown>>()
  /** Answers a question that nobody else does. */
  onAsked: (kind: string, body: unknown) => Promise<unknown> = (kind) =>
    Promise.reject(new SluiceError('invariant', `nobody here knows the question ${JSON.stringify(kind)}`))
  /** Called when another node joined. */
  onJoined: () => void = () => {}
  /** Called when another node changed a small named fact in the store. */
  onMeta: (key: string) => void = () => {}
  /** Called when this node leads from now on, or no longer. */
  onLeading: (leads: boolean) => void = () => {}

  constructor(context: NodesContext) {
    this.#c = context
    this.#follower = new Follower(context, (nodeId) => this.#remotes.get(nodeId))
    this.#seen = new SeenByAll({ ...context, remotes: this.#remotes })
    const { store, commits, clock, events, router, subscriptions } = context
    const mail: MailboxContext = {
      store,
      commits,
      groupOf: (key) => subscriptions.groupOf(key),
      groupLeft: (group) => subscriptions.groupLeft(group),
      receive: (message, group, done) => router.receive(message, group, done, clock.now()),
      failed: (error) => events.emit('internalError', { where: 'the mailbox of this node', error }),
    }
    this.#mailbox = new Mailbox(mail, context.cluster.nodeId)
  }

  get cluster(): Cluster {
    return this.#c.cluster
  }

  remote(nodeId: string): RemoteNode | undefined {
    return this.#remotes.get(nodeId)
  }

  /** Base URL of the node that leads; null: this one does; undefined: nobody known does. */
  get leaderAddress(): string | null | undefined {
    const { leads, leader, others } = this.#c.cluster
    if (leads) return null
    return (leader === null ? undefined : others.get(leader)?.address) || undefined
  }

  /** Joins. What other nodes change meanwhile is kept until `ready`. */
  async start(): Promise<void> {
    const { cluster, store } = this.#c
    this.#follower.hold()
    await cluster.join(this)
    await store.shared!.join(cluster.nodeId, cluster.incarnation, this)
  }

  /** Everything the store has has been read. */
  async ready(): Promise<void> {
    this.#c.interest.restore((nodeId) => this.#remotes.get(nodeId))
    await this.#mailbox.open()
    this.#follower.release()
    if (this.#c.cluster.leads) await this.#tend()
  }

  async stop(): Promise<void> {
    await this.#tending.catch(() => {})
    await this.#c.cluster.leave()
  }

  /** See `SeenByAll`: the acknowledgement of a subscription waits for this, publishers wait for nothing. */
  seenByAll(): Promise<void> {
    return this.#seen.wait()
  }

  /** As `seenByAll`, but for half a second at most: for what is not promised. A node that hangs keeps nobody from connecting. */
  heardSoon(): Promise<void> {
    return new Promise((resolve) => {
      const cancel = this.#c.clock.after(HEARD_MS, resolve)
      this.seenByAll()
        .catch(() => {})
        .finally(cancel)
        .then(resolve)
    })
  }

  taken(nodeId: string): void {
    this.#remotes.get(nodeId)?.taken()
  }

  messages(_from: string, frames: Buffer): void {
    const now = this.#c.clock.now()
    decodeFrames(frames, (message, group) => {
      this.#c.router.receive(message, group === '' ? null : this.#c.subscriptions.groupOf(group), null, now)
    })
  }

  surrender(clientId: string, user: string | null): Promise<void> {
    return this.#c.claims.surrender(clientId, user)
  }

  async asked(_from: string, kind: string, body: unknown): Promise<unknown> {
    if (kind === SEEN) return this.#c.store.shared!.seen(String(body))
    return this.answers.get(kind)?.(body) ?? this.onAsked(kind, body)
  }

  joined({ nodeId }: NodeFacts): void {
    if (this.#remotes.has(nodeId)) return
    const { store, interest } = this.#c
    this.#remotes.set(nodeId, new RemoteNode(nodeId, store.lane(mailboxOf(nodeId)), this.#c))
    if (!this.#follower.holding) interest.restore((id) => (id === nodeId ? this.#remotes.get(id) : undefined))
    this.#c.events.emit('nodeJoined', { nodeId })
    this.onJoined()
  }

  gone(nodeId: string): void {
    this.#c.interest.forget(nodeId)
    this.#remotes.get(nodeId)?.gone()
    this.#remotes.delete(nodeId)
    this.#c.events.emit('nodeGone', { nodeId })
    // What belongs to it is read by then.
    if (this.#c.cluster.leads && !this.#follower.holding) void this.#tend()
  }

  leading(leads: boolean): void {
    if (leads && !this.#follower.holding) void this.#tend()
    this.onLeading(leads)
  }

  fenced(): void {
    this.#c.claims.reset()
    this.#c.events.emit('nodeFenced', { nodeId: this.#c.cluster.nodeId })
    for (const { owner } of [...this.#c.sessions.values()])
      owner?.disconnect(0x8b, 'other nodes declared this one dead', 'node_fenced')
    this.onFenced()
  }

  lost(lane: Lane): void {
    const clientId = lane.name.startsWith('s/') ? lane.name.slice(2) : null
    const owner = clientId === null ? null : this.#c.sessions.find(clientId)?.owner
    owner?.takenOver()
  }

  foundDone(clientId: string, packetIds: readonly number[]): boolean {
    const session = this.#c.sessions.find(clientId)
    // MQTT 5 says that a message was refused; before, the connection ends without a word [v3 MQTT-4.4.0-1].
    if (session === undefined || !session.kept || session.version === 5) return false
    session.inbound ??= new Set()
    for (const packetId of packetIds) session.inbound.add(packetId)
    return true
  }

  passedOver(): void {
    if (this.#conceding) return
    this.#conceding = true
    this.#concede().then(
      () => {
        this.#conceding = false
      },
      () => {
        this.#conceding = false
        // Redis is away: it is asked again when it is back.
        this.#c.commits.later(() => this.passedOver())
      },
    )
  }

  /** Forgets what other nodes took, after which the store takes what this one writes. */
  async #concede(): Promise<void> {
    const { cluster, claims } = this.#c
    for (;;) {
      const clientIds = await cluster.passedOver()
      if (clientIds.length === 0) break
      await Promise.all(clientIds.map((clientId) => claims.passedOver(clientId)))
      await cluster.concede(clientIds)
    }
    // Wills of theirs, and what was not followed while this node thought it served them.
    this.missed()
  }

  missed(): void {
    void this.#follower
      .readAgain()
      .catch((error: unknown) => this.#c.events.emit('internalError', { where: 'reading again', error }))
  }

  changed(change: Change): void {
    this.#follower.changed(change)
    if (change.is === 'meta' && !change.own) this.onMeta(change.key)
  }

  /** One at a time: looks after what belongs to nodes that are not there. */
  #tend(): Promise<void> {
    this.#tending = this.#tending
      .then(() => this.#tendOnce())
      .catch((error: unknown) => {
        this.#c.events.emit('internalError', { where: 'looking after a node that is gone', error })
        this.#c.clock.after(TEND_AGAIN_MS, () => void this.#tend())
      })
    return this.#tending
  }

  async #tendOnce(): Promise<void> {
    const { store, cluster, sessions, wills, interest, commits, claims } = this.#c
    if (!cluster.leads) return
    const isThere = (nodeId: string): boolean => nodeId === cluster.nodeId || this.#remotes.has(nodeId)
    await sessions.orphan(isThere)
    const inherit = (clientId: string): Promise<unknown> =>
      // Where the client is back on another node, that one publishes its will.
      claims.obtainVacant(clientId, () => wills.inherit(clientId, isThere, cluster.nodeId))
    const owed = wills.orphans(isThere)
    for (let i = 0; i < owed.length; i += AT_ONCE) await Promise.all(owed.slice(i, i + AT_ONCE).map(inherit))
    for (const nodeId of interest.nodes())
      if (!isThere(nodeId)) for (const key of interest.keysOf(nodeId)) store.deleteMeta(key)
    for (const name of await store.shared!.lanes(mailboxOf(''))) {
      const nodeId = name.slice(mailboxOf('').length)
      if (!isThere(nodeId)) await this.#mailbox.inherit(nodeId)
    }
    await commits.done()
  }
}
