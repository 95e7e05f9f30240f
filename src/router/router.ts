import type { Clock } from '../base/clock.ts'
import { ownMemory } from '../base/own-memory.ts'
import type { SluiceError } from '../errors.ts'
import type { RemoteNode } from '../nodes/remote-node.ts'
import { takesCopies } from '../session/link.ts'
import type { Loan } from '../session/loan.ts'
import type { Session } from '../session/session.ts'
import type { LaneTarget, Store } from '../store.ts'
import type { Counters } from '../telemetry/counters.ts'
import type { DropCause } from '../telemetry/events.ts'
import { checkTopicName } from '../wire/topic.ts'
import type { Commits } from './commits.ts'
import type { Destination, Group } from './destinations.ts'
import { admit, type Entering } from './entering.ts'
import { type LaneSet, laneTarget, Match, type Receiver } from './match.ts'
import { MatchCache } from './match-cache.ts'
import type { Origin } from './message.ts'
import { withPacketTag } from './packet-tag.ts'
import { Publication } from './publication.ts'
import { isSys, type RetainedIndex } from './retained.ts'
import type { RetainedJournal } from './retained-journal.ts'
import { isFull, type RoomLimits, refusalOf } from './room.ts'
import { ELSEWHERE, Sharing } from './sharing.ts'
import { checkTopicSize } from './topic-size.ts'
import type { TopicTree } from './topic-tree.ts'

export interface RouterLimits extends RoomLimits {
  readonly topicLevelsMax: number
  readonly topicBytesMax: number
}

/** The broker's own subscribers: Aedes' emitter. */
export interface Observers {
  readonly generation: number
  observes(topic: string): boolean
  notify(publication: Publication, publisher: Publisher): void
}

/** Who publishes: a connection's session, or the broker itself (session null). */
export interface Publisher {
  readonly session: Session | null
  readonly origin: Origin
}

export interface RouterContext {
  readonly store: Store
  readonly commits: Commits
  readonly tree: TopicTree<Destination>
  readonly retained: RetainedIndex
  readonly retainedJournal: RetainedJournal
  readonly observers: Observers
  readonly counters: Counters
  readonly clock: Clock
  readonly limits: RouterLimits
  /** Some session may refuse messages when it is full. */
  readonly mayRefuse: boolean
  readonly storeRoom: { readonly shortage: SluiceError | null }
  dropped(session: Session | null, cause: DropCause, count: number): void
  /** Another node by name, while it is there. */
  remoteNode(nodeId: string): RemoteNode | undefined
}

/** From a Topic Name to everybody who gets the message. */
export class Router {
  readonly #c: RouterContext
  /** By the topic's bytes as Latin-1: one character a byte, whatever the text. */
  readonly #matches = new MatchCache()
  readonly #sharing: Sharing
  /** Publications so far. */
  #publications = 0
  readonly #holds = (match: Match): boolean => this.isCurrent(match) || this.#stillHolds(match)

  constructor(context: RouterContext) {
    this.#c = context
    this.#sharing = new Sharing(context)
  }

  /** See `Sharing.redistribute`. */
  redistribute(loans: Iterable<Loan>): void {
    this.#sharing.redistribute(loans)
  }

  isCurrent(match: Match): boolean {
    return match.generation === this.#c.tree.generation && match.observerGeneration === this.#c.observers.generation
  }

  /**
   * Finds who gets what is published to the topic in `buf[start..end)`; a topic seen for the first time is checked.
   * @throws SluiceError topic_name_invalid, malformed_packet
   */
  match(buf: Buffer, start: number, end: number): Match {
    const key = buf.toString('latin1', start, end)
    const known = this.#matches.get(key)
    if (known !== undefined) {
      if (this.#holds(known)) return known
      const again = this.#find(known.topic)
      this.#matches.put(key, again, this.#holds)
      return again
    }
    this.#check(buf, start, end)
    const match = this.#find(buf.toString('utf8', start, end))
    this.#matches.put(key, match, this.#holds)
    return match
  }

  /** Revalidates a match against the filters that changed since it was made. */
  #stillHolds(match: Match): boolean {
    const { tree, observers } = this.#c
    if (match.observerGeneration !== observers.generation) return false
    if (tree.changedSince(match.generation, match.topic)) return false
    match.generation = tree.generation
    return true
  }

  #check(buf: Buffer, start: number, end: number): void {
    checkTopicName(buf, start, end)
    checkTopicSize(this.#c.limits, buf, start, end)
  }

  #find(topic: string): Match {
    const { tree, observers } = this.#c
    const found: Destination[] = []
    tree.match(topic, (destination) => {
      found.push(destination)
    })
    return new Match(topic, tree.generation, observers.generation, observers.observes(topic), found)
  }

  /**
   * True when QoS 0 packets of this form can be copied to every receiver as they are, in runs. Holds until the end of the
   * turn at most.
   */
  copies(match: Match, version5: boolean): boolean {
    if (match.copySet === null) return false
    for (const { session } of match.receivers)
      if (session.link === null ? session.node !== null : !takesCopies(session.link, version5)) return false
    return true
  }

  /** Copies a run of QoS 0 packets to a part of the receivers. Who has changed since `copies` came after they were published. */
  copy(
    match: Match,
    version5: boolean,
    buf: Buffer,
    start: number,
    end: number,
    count: number,
    from: number,
    to: number,
  ): void {
    for (let i = from; i < to; i++) {
      const { session } = match.receivers[i]!
      if (takesCopies(session.link, version5)) session.delivery.deliverVerbatim(buf, start, end, count)
      else this.#c.dropped(session, 'offline', count)
    }
  }

  /**
   * The life of one PUBLISH. Returns true when something of it has to become durable: then the acknowledgement waits for
   * the commit.
   * @param entering what `admit` said; queues that refused are left out and the loss is counted
   */
  publish(
    publication: Publication,
    match: Match,
    publisher: Publisher,
    entering: Entering | null = admit(match.bridges, publication, publisher),
  ): boolean {
    const { counters, observers } = this.#c
    publication.publisher = publisher
    this.#publications++
    let durable = false
    let stored: Buffer | null = null
    if (publication.retain) {
      stored = publication.store(publisher.origin, this.#c.commits.time())
      durable = this.#retain(match.topic, publication, stored)
    }
    const lanes = match.lanes(publication.qos, publication.retain)
    if (lanes.targets.length > 0 || entering !== null) {
      let targets = lanes.anySession ? this.#admit(lanes, match, publication, publisher) : lanes.targets
      if (entering !== null) targets = [...entering.verbatim(), ...targets.slice(lanes.queueTargets)]
      if (match.numbered !== null && publication.qos > 0) targets = withPacketTag(targets, match.numbered, publication)
      if (targets.length > 0 && publication.qos === 0 && this.#c.storeRoom.shortage !== null) {
        // Those of QoS 1 and 2 were refused before (`refusal`); what the broker itself publishes is let in.
        this.#c.dropped(null, 'store_full', targets.length)
      } else if (targets.length > 0) {
        stored ??= publication.store(publisher.origin, this.#c.commits.time())
        this.#c.store.append(stored, targets)
        durable = true
      }
      if (entering === null) counters.bridged += lanes.queues
      else if (entering.finish(this.#c)) durable = true
    }
    if (match.nodes.length > 0) stored = this.#tellNodes(publication, match, publisher, stored)
    for (const receiver of match.receivers) this.#deliver(publication, receiver, publisher)
    for (const group of match.groups)
      if (this.#sharing.share(publication, match.topic, group, publisher, stored)) durable = true
    if (match.observed) observers.notify(publication, publisher)
    if (durable && publication.qos === 0) this.#c.commits.schedule()
    return durable
  }

  /** Sends it to nodes whose mailbox does not get it. */
  #tellNodes(publication: Publication, match: Match, publisher: Publisher, known: Buffer | null): Buffer | null {
    let stored = known
    for (const { node, reliable } of match.nodes) {
      const live = node.takes(this.#publications) && (publication.qos === 0 || !reliable)
      if (!live) continue
      stored ??= publication.store(publisher.origin, node.time)
      node.live(stored, '')
    }
    return stored
  }

  #deliver(publication: Publication, receiver: Receiver, publisher: Publisher): void {
    const session = receiver.session
    const grant = session === publisher.session ? receiver.own : receiver.grant
    if (grant === null) return
    const qos = Math.min(publication.qos, grant.qos)
    if (qos > 0 && session.kept) return
    if (session.link === null) return this.#deliverElsewhere(publication, session, publisher)
    session.delivery.deliver(publication, qos, publication.retain && grant.retainAsPublished, grant.prefix, null)
  }

  /** QoS 0 for a stored session that another node serves, or nobody. */
  #deliverElsewhere(publication: Publication, session: Session, publisher: Publisher): void {
    // The node where it was published sees to that.
    if (publisher === ELSEWHERE) return
    const node = session.node === null ? undefined : this.#c.remoteNode(session.node)
    if (node === undefined) return this.#c.dropped(session, 'offline', 1)
    if (node.takes(this.#publications)) node.live(publication.store(publisher.origin, node.time), '')
  }

  /**
   * A message that was published on another node: what is to be stored has been, there; this is for who is connected here.
   * @param group shared subscription of which one member is to get it; null: everybody who is subscribed
   * @param done called when nothing of it can be lost with this node any more; null: it may be lost
   * @param now broker time, ms since 1970
   */
  receive(message: Buffer, group: Group | null, done: (() => void) | null, now: number): void {
    const publication = new Publication()
    publication.load(message, now)
    publication.publisher = ELSEWHERE
    this.#publications++
    if (group !== null) {
      this.#sharing.receive(publication, group, message, done)
      return
    }
    const match = this.match(publication.topicBuf, publication.topicStart, publication.topicEnd)
    for (const receiver of match.receivers) this.#deliver(publication, receiver, ELSEWHERE)
    if (match.observed) this.#c.observers.notify(publication, ELSEWHERE)
    done?.()
  }

  /** Leaves out sessions that are full; where No Local is about, the publisher's own session has a grant of its own. */
  #admit(lanes: LaneSet, match: Match, publication: Publication, publisher: Publisher): readonly LaneTarget[] {
    let all = true
    for (let i = 0; i < lanes.targets.length && all; i++) {
      const session = lanes.sessions[i]!
      if (session !== null && (!session.hasRoom || (lanes.noLocal && session === publisher.session))) all = false
    }
    if (all) return lanes.targets
    const admitted: LaneTarget[] = []
    for (let i = 0; i < lanes.targets.length; i++) {
      const session = lanes.sessions[i]!
      let target: LaneTarget | null = lanes.targets[i]!
      if (session !== null && lanes.noLocal && session === publisher.session) {
        const own = match.receivers.find((receiver) => receiver.session === session)!.own
        target = own === null ? null : laneTarget(session, own, publication.qos, publication.retain)
      }
      if (target === null) continue
      if (session === null || session.makesRoom()) admitted.push(target)
      else this.#c.dropped(session, 'session_full', 1)
    }
    return admitted
  }

  /** Why a message of QoS 1 or 2 is not taken at all; null: it is. */
  refusal(publication: Publication, match: Match, publisher: Publisher): SluiceError | null {
    return refusalOf(publication, match, publisher, this.#c)
  }

  /** [v5 MQTT-3.3.1-5, -6, -7]: replaces the retained message of the topic; an empty payload removes it. */
  #retain(topic: string, publication: Publication, stored: Buffer): boolean {
    const { retained, retainedJournal } = this.#c
    if (isSys(topic)) {
      if (publication.payloadStart === publication.payloadEnd) retained.delete(topic)
      else retained.set(topic, ownMemory(stored))
      return false
    }
    if (publication.payloadStart === publication.payloadEnd) return retainedJournal.delete(topic)
    if (isFull(this.#c, topic, stored.length)) {
      this.#c.dropped(null, 'retained_full', 1)
      return false
    }
    retainedJournal.put(topic, stored)
    return true
  }
}
