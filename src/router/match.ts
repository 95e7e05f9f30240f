import { intakeGeneration } from '../queue/intake.ts'
import type { Session } from '../session/session.ts'
import { TAG_RETAIN } from '../session/session.ts'
import type { LaneTarget } from '../store.ts'
import { parseHeartbeatTopic } from '../wire/topic.ts'
import { varintBytes, writeVarint } from '../wire/varint.ts'
import type { BridgeTarget, Destination, Group, NodeInterest, Subscription } from './destinations.ts'
import { isSys } from './retained.ts'

/** How a message goes to one session: its overlapping subscriptions merged. */
export interface Grant {
  /** The highest among them [v5 MQTT-3.3.4-2] [v3 MQTT-3.3.5-1]. */
  qos: number
  retainAsPublished: boolean
  /** Subscription Identifier properties of all of them [v5 MQTT-3.3.4-4], or null. */
  prefix: Buffer | null
}

/** One session that gets the message, once. */
export interface Receiver {
  readonly session: Session
  readonly grant: Grant
  /** For messages the session published itself: only subscriptions without No Local count; null: none [v5 MQTT-3.8.3-3]. */
  own: Grant | null
}

/** Where durable entries go, for one QoS and RETAIN of the PUBLISH. `sessions` is parallel to `targets`. */
export interface LaneSet {
  readonly targets: readonly LaneTarget[]
  /** The session whose lane it is; null for a queue. */
  readonly sessions: readonly (Session | null)[]
  /** Any session among them. */
  readonly anySession: boolean
  /** Queues the message enters: those of plain rules. */
  readonly queues: number
  /** Targets that belong to queues; they come first. */
  readonly queueTargets: number
  readonly noLocal: boolean
}

/** Receivers up to which topics are compared, and how many different sets are remembered. */
const COPY_SET_RECEIVERS_MAX = 16
const COPY_SETS_MAX = 16_384

/** One object for each set of receiving sessions. */
const copySets = new Map<string, object>()

function copySetOf(receivers: readonly Receiver[]): object {
  if (receivers.length > COPY_SET_RECEIVERS_MAX) return {}
  const key = receivers
    .map((receiver) => receiver.session.serial)
    .sort((a, b) => a - b)
    .join()
  const known = copySets.get(key)
  if (known !== undefined) return known
  // Forgetting is safe: topics matched before and after are then copied apart.
  if (copySets.size >= COPY_SETS_MAX) copySets.clear()
  const made = {}
  copySets.set(key, made)
  return made
}

/** Who gets what is published to one topic. Valid while the tree's generation is the one it was made with. */
export class Match {
  readonly topic: string
  generation: number
  observerGeneration: number
  /** The broker's own subscribers (Aedes' `broker.subscribe`). */
  readonly observed: boolean
  readonly receivers: Receiver[] = []
  readonly groups: Group[] = []
  /** Plain rules first, each queue once among them. */
  readonly bridges: BridgeTarget[] = []
  /** Other nodes, each once. */
  readonly nodes: NodeInterest[] = []
  /** The target that has to know how the PUBLISH was numbered; null: none. */
  numbered: LaneTarget | null = null
  /** By QoS × 2 + RETAIN. */
  readonly #laneSets: (LaneSet | null)[] = [null, null, null, null, null, null]
  #intakeGeneration = 0
  #noLocal = false
  /**
   * Set when QoS 0 packets need nothing but plain copies to connections. Topics with the same receivers have the same
   * object here, so that packets of several topics can be copied in one piece.
   */
  readonly copySet: object | null
  /** The worker whose heartbeats are published to the topic; null: it is no such topic. */
  readonly worker: string | null

  constructor(
    topic: string,
    generation: number,
    observerGeneration: number,
    observed: boolean,
    destinations: readonly Destination[],
  ) {
    this.topic = topic
    this.generation = generation
    this.observerGeneration = observerGeneration
    this.observed = observed
    this.worker = parseHeartbeatTopic(topic)
    for (const destination of destinations) {
      if (destination.kind === 'subscription') this.#merge(destination)
      else if (destination.kind === 'group') this.groups.push(destination)
      else if (destination.kind === 'bridge') this.#bridge(destination)
      else if (!isSys(topic)) this.#node(destination)
    }
    const plain =
      !observed &&
      this.worker === null &&
      this.groups.length === 0 &&
      this.bridges.length === 0 &&
      this.nodes.length === 0 &&
      !this.#noLocal &&
      this.receivers.every((receiver) => receiver.grant.prefix === null)
    this.copySet = plain ? copySetOf(this.receivers) : null
  }

  get empty(): boolean {
    return (
      this.receivers.length === 0 && this.groups.length === 0 && this.bridges.length === 0 && this.nodes.length === 0
    )
  }

  lanes(qos: number, retain: boolean): LaneSet {
    if (this.#intakeGeneration !== intakeGeneration()) {
      this.#intakeGeneration = intakeGeneration()
      this.#laneSets.fill(null)
    }
    const at = qos * 2 + (retain ? 1 : 0)
    const known = this.#laneSets[at]!
    if (known !== null) return known
    const made = this.#makeLanes(qos, retain)
    this.#laneSets[at] = made
    return made
  }

  #makeLanes(qos: number, retain: boolean): LaneSet {
    const plain = this.bridges.filter(({ work }) => work === null)
    const targets: LaneTarget[] = plain.flatMap(({ intake }) => intake.plain)
    const sessions: (Session | null)[] = targets.map(() => null)
    const queueTargets = targets.length
    for (const { session, grant } of this.receivers) {
      const target = laneTarget(session, grant, qos, retain)
      if (target === null) continue
      targets.push(target)
      sessions.push(session)
    }
    for (const { node, reliable } of this.nodes) {
      if (!reliable || qos === 0) continue
      targets.push(node.target)
      sessions.push(null)
    }
    const anySession = targets.length > queueTargets
    return { targets, sessions, anySession, queues: plain.length, queueTargets, noLocal: this.#noLocal }
  }

  #merge(subscription: Subscription): void {
    const session = subscription.session
    if (subscription.noLocal) this.#noLocal = true
    const receiver = this.receivers[session.mergeIndex]
    // What another match left there leads nowhere, or to the receiver of another session.
    if (receiver?.session !== session) {
      session.mergeIndex = this.receivers.length
      this.receivers.push({
        session,
        grant: grantOf(subscription),
        own: subscription.noLocal ? null : grantOf(subscription),
      })
      return
    }
    const more = grantOf(subscription)
    widen(receiver.grant, more)
    if (subscription.noLocal) return
    if (receiver.own === null) receiver.own = more
    else widen(receiver.own, more)
  }

  #node(interest: NodeInterest): void {
    if (interest.numbered) this.numbered = interest.node.target
    const at = this.nodes.findIndex(({ node }) => node === interest.node)
    if (at === -1) this.nodes.push(interest)
    else if (interest.reliable) this.nodes[at] = interest
  }

  #bridge(bridge: BridgeTarget): void {
    if (bridge.takesTopic?.(this.topic) === false) return
    if (bridge.work !== null) this.bridges.push(bridge)
    else if (!this.bridges.some((other) => other.work === null && other.intake === bridge.intake))
      this.bridges.unshift(bridge)
  }
}

function grantOf({ qos, retainAsPublished, subscriptionIdentifier }: Subscription): Grant {
  return {
    qos,
    retainAsPublished,
    prefix: subscriptionIdentifier === 0 ? null : identifierProperty(subscriptionIdentifier),
  }
}

function widen(grant: Grant, more: Grant): void {
  grant.qos = Math.max(grant.qos, more.qos)
  grant.retainAsPublished ||= more.retainAsPublished
  if (more.prefix !== null)
    grant.prefix = grant.prefix === null ? more.prefix : Buffer.concat([grant.prefix, more.prefix])
}

/** The session's durable entry, or null when the message does not need one. */
export function laneTarget(session: Session, grant: Grant, qos: number, retain: boolean): LaneTarget | null {
  const granted = Math.min(qos, grant.qos)
  if (session.lane === null || granted === 0) return null
  const tag = granted | (retain && grant.retainAsPublished ? TAG_RETAIN : 0)
  return { lane: session.lane, tag, extra: grant.prefix }
}

/** A Subscription Identifier as property bytes ([v5 3.3.2.3.8]). */
export function identifierProperty(identifier: number): Buffer {
  const bytes = Buffer.allocUnsafeSlow(1 + varintBytes(identifier))
  bytes[0] = 0x0b
  writeVarint(bytes, 1, identifier)
  return bytes
}
