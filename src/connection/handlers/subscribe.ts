import type { Subscription } from '../../router/destinations.ts'
import { identifierProperty } from '../../router/match.ts'
import { secondsLeft } from '../../router/message.ts'
import { Publication } from '../../router/publication.ts'
import { TAG_RETAIN } from '../../session/session.ts'
import { encodeSuback } from '../../wire/suback.ts'
import { decodeSubscribe, type SubscriptionRequest } from '../../wire/subscribe.ts'
import { isQueueFilter, isShared } from '../../wire/topic.ts'
import type { Connection } from '../connection.ts'
import { notCommittedCode, reply } from '../goodbye.ts'
import type { SubscriptionOutcome } from '../hooks.ts'
import { isGranted, judge, recordOf } from '../permission.ts'
import { QueueMembers } from '../queue-members.ts'

/** Retained messages read for a subscription go through one publication: each is sent before the next is loaded. */
const retainedMessage = new Publication()

interface Grant {
  readonly subscription: Subscription
  readonly sendRetained: boolean
}

/**
 * SUBSCRIBE ([v5 3.8] [v3 3.8]): each Topic Filter is judged by itself; the ones refused leave nothing behind. SUBACK
 * of a persistent session goes out when its subscriptions are durable; retained messages follow it.
 */
export function handleSubscribe(c: Connection, buf: Buffer, start: number, end: number): void {
  const packet = decodeSubscribe(buf, start, end, c.version)
  const requests = c.bridge ? packet.subscriptions.map(asBridge) : packet.subscriptions
  if (requests.some(({ topicFilter }) => isQueueFilter(topicFilter))) {
    c.queues ??= new QueueMembers(c)
    c.queues.asked = packet.userProperties ?? []
  }
  judge(c, requests, (outcomes) => {
    const acknowledge = (failure: unknown): void => {
      // MQTT 3.1 has no code for it.
      if (failure !== null && c.version === 3) c.fail(failure)
      else suback(c, packet.packetId, failure === null ? outcomes : outcomes.map((each) => withFailure(each, failure)))
    }
    subscribe(c, outcomes, packet.subscriptionIdentifier, acknowledge)
  })
}

/** What was granted and did not become durable is refused. */
function withFailure(outcome: SubscriptionOutcome, failure: unknown): SubscriptionOutcome {
  return isGranted(outcome) ? { ...outcome, code: notCommittedCode(failure) } : outcome
}

/** One reason code for each Topic Filter, in their order [v5 MQTT-3.9.3-1] [v3 MQTT-3.9.3-1]. */
export function suback(c: Connection, packetId: number, outcomes: readonly SubscriptionOutcome[]): void {
  const codes = outcomes.map((outcome) => outcome.code)
  reply(c, encodeSuback(c.version, packetId, codes))
}

/** A bridge of MQTT 3 says once, in CONNECT, what MQTT 5 says with each subscription. */
function asBridge(request: SubscriptionRequest): SubscriptionRequest {
  return { ...request, noLocal: !isShared(request.topicFilter), retainAsPublished: true }
}

/**
 * Makes granted requests effective. `acknowledge` is called with null when they are durable (at once for a session that
 * ends with its connection), then retained messages go out; or with the reason why they are not, and were taken back.
 */
export function subscribe(
  c: Connection,
  outcomes: readonly SubscriptionOutcome[],
  subscriptionIdentifier: number,
  acknowledge: (failure: unknown) => void,
): void {
  const session = c.session!
  const grants: Grant[] = []
  for (const outcome of outcomes) {
    if (!isGranted(outcome)) continue
    const record = { ...recordOf(outcome.request), subscriptionIdentifier }
    const { subscription, isNew } = c.core.subscriptions.add(session, record)
    const { retainHandling } = record
    const ordinary = subscription.member === null && !isQueueFilter(subscription.topicFilter)
    const sendRetained = ordinary && (retainHandling === 0 || (retainHandling === 1 && isNew))
    grants.push({ subscription, sendRetained })
  }
  c.core.hooks.subscribed(c, outcomes)
  const { nodes } = c.core
  if (grants.length === 0 || (!session.kept && nodes === null)) {
    effective(c, grants, acknowledge)
    return
  }
  const failed = (error: unknown): void => {
    if (c.state !== 'closed') acknowledge(error)
  }
  const durable = (): void => effective(c, grants, acknowledge)
  if (nodes === null) {
    keepRetained(c, grants)
    c.core.commits.wait({ committed: durable, notCommitted: failed })
    return
  }
  // Retained messages are looked at when this node knows everything that was acknowledged before the subscription.
  const known = (): void => {
    if (!session.kept || c.state === 'closed') return durable()
    keepRetained(c, grants)
    c.core.commits.wait({ committed: durable, notCommitted: failed })
  }
  c.core.commits.wait({ committed: () => void nodes.seenByAll().then(known, failed), notCommitted: failed })
}

/** The subscriptions hold: says so, and sends what is retained. */
function effective(c: Connection, grants: readonly Grant[], acknowledge: (failure: unknown) => void): void {
  if (c.state === 'closed') return
  acknowledge(null)
  announce(c, grants)
  const onlyQos0 = c.session!.kept
  for (const { subscription, sendRetained } of grants) if (sendRetained) sendRetainedTo(c, subscription, onlyQos0)
  joinQueues(c, grants)
}

/** Puts retained messages of QoS 1 and 2 into the session's lane. */
function keepRetained(c: Connection, grants: readonly Grant[]): void {
  for (const { subscription, sendRetained } of grants) if (sendRetained) keepRetainedFor(c, subscription)
}

/** Subscriptions to work queues become members of them. */
function joinQueues(c: Connection, grants: readonly Grant[]): void {
  for (const { subscription } of grants) joinQueue(c, subscription)
}

/** Starts to take messages from the work queue, if the subscription is one to a work queue. */
export function joinQueue(c: Connection, subscription: Subscription): void {
  if (!isQueueFilter(subscription.topicFilter)) return
  c.queues ??= new QueueMembers(c)
  c.queues.join(subscription.topicFilter, prefixOf(subscription))
}

function announce(c: Connection, grants: readonly Grant[]): void {
  if (!c.core.events.has('clientSubscribed')) return
  for (const { subscription } of grants)
    c.core.events.emit('clientSubscribed', {
      clientId: c.clientId,
      topicFilter: subscription.topicFilter,
      qos: subscription.qos,
    })
}

/** Sends the retained messages that need no durable entry [v5 MQTT-3.3.1-9]. */
function sendRetainedTo(c: Connection, subscription: Subscription, onlyQos0: boolean): void {
  const session = c.session!
  const now = c.core.clock.now()
  const prefix = prefixOf(subscription)
  c.core.retained.match(subscription.topicFilter, (_topic, message) => {
    const qos = Math.min(message[1]! & 3, subscription.qos)
    if ((onlyQos0 && qos > 0) || secondsLeft(message, now) <= 0) return
    retainedMessage.load(message, now)
    session.delivery.deliver(retainedMessage, qos, true, prefix, null)
  })
}

/** Puts the retained messages of QoS 1 and 2 into the session's lane. */
function keepRetainedFor(c: Connection, subscription: Subscription): void {
  const session = c.session!
  const lane = session.lane!
  const now = c.core.clock.now()
  const extra = prefixOf(subscription)
  c.core.retained.match(subscription.topicFilter, (_topic, message) => {
    const qos = Math.min(message[1]! & 3, subscription.qos)
    if (qos === 0 || secondsLeft(message, now) <= 0) return
    if (session.hasRoom) c.core.store.append(message, [{ lane, tag: qos | TAG_RETAIN, extra }])
    else c.core.sessions.dropped(session, 'session_full', 1)
  })
}

function prefixOf(subscription: Subscription): Buffer | null {
  return subscription.subscriptionIdentifier === 0 ? null : identifierProperty(subscription.subscriptionIdentifier)
}
