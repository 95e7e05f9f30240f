import { errorTable } from '../../errors.ts'
import type { Subscription } from '../../router/destinations.ts'
import { identifierProperty } from '../../router/match.ts'
import { secondsLeft } from '../../router/message.ts'
import { Publication } from '../../router/publication.ts'
import { TAG_RETAIN } from '../../session/session.ts'
import { encodeSuback } from '../../wire/suback.ts'
import { decodeSubscribe, type SubscriptionRequest } from '../../wire/subscribe.ts'
import { countLevels } from '../../wire/topic.ts'
import type { Connection } from '../connection.ts'
import { reply } from '../goodbye.ts'
import { mayRead } from '../reserved-topics.ts'

const UNSPECIFIED = 0x80
const NOT_AUTHORIZED = 0x87
const TOPIC_FILTER_INVALID = 0x8f
const QUOTA_EXCEEDED = 0x97

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
  judgeAll(c, packet.subscriptions, (codes, granted) => {
    subscribe(c, granted, packet.subscriptionIdentifier, codes, () => {
      reply(c, encodeSuback(c.version, packet.packetId, codes))
    })
  })
}

/**
 * Asks the limits and the hook about each request, in order. `done` gets a reason code per request (the granted QoS, or
 * a refusal) and the requests granted.
 */
export function judgeAll(
  c: Connection,
  requests: readonly SubscriptionRequest[],
  done: (codes: number[], granted: (SubscriptionRequest | null)[]) => void,
): void {
  const authorize = c.core.hooks.authorizeSubscribe
  const codes: number[] = []
  const granted: (SubscriptionRequest | null)[] = []
  const settle = (request: SubscriptionRequest | null, code: number): void => {
    codes.push(code)
    granted.push(request)
  }
  const step = (at: number): void => {
    for (let i = at; i < requests.length; i++) {
      const request = requests[i]!
      const refusal = refusalOf(c, request)
      if (refusal !== 0) settle(null, refusal)
      else if (authorize === null) settle(request, request.qos)
      else {
        let synchronous = true
        let answered = false
        authorize(c, request, (denied, allowed) => {
          if (denied !== null) settle(null, denied.reasonCode)
          else if (allowed === null) settle(null, UNSPECIFIED)
          else settle(allowed, allowed.qos)
          answered = true
          if (!synchronous) finishLater(i + 1)
        })
        synchronous = false
        if (!answered) {
          c.hold()
          return
        }
      }
    }
    done(codes, granted)
  }
  const finishLater = (next: number): void => {
    if (c.state !== 'closed') step(next)
    c.release()
  }
  step(0)
}

/** A reason code, or 0 when nothing of ours is against it. */
function refusalOf(c: Connection, request: SubscriptionRequest): number {
  if (request.error !== undefined) return errorTable[request.error].reasonCode
  if (!mayRead(c, request.topicFilter)) return NOT_AUTHORIZED
  const limits = c.core.config.limits
  if (countLevels(request.topicFilter) > limits.topicLevelsMax) return TOPIC_FILTER_INVALID
  if (Buffer.byteLength(request.topicFilter) > limits.topicBytesMax) return TOPIC_FILTER_INVALID
  const session = c.session!
  if (
    session.subscriptions.size >= limits.subscriptionsPerSessionMax &&
    !session.subscriptions.has(request.topicFilter)
  )
    return QUOTA_EXCEEDED
  return 0
}

/**
 * Makes granted requests effective. `acknowledge` is called when they are durable (at once for a session that ends with
 * its connection), then retained messages go out.
 */
export function subscribe(
  c: Connection,
  granted: readonly (SubscriptionRequest | null)[],
  subscriptionIdentifier: number,
  codes: readonly number[],
  acknowledge: () => void,
): void {
  const session = c.session!
  const grants: Grant[] = []
  for (const request of granted) {
    if (request === null) continue
    const { topicFilter, qos, noLocal, retainAsPublished, retainHandling } = request
    const record = { topicFilter, qos, noLocal, retainAsPublished, retainHandling, subscriptionIdentifier }
    const { subscription, isNew } = c.core.subscriptions.add(session, record)
    const sendRetained = subscription.member === null && (retainHandling === 0 || (retainHandling === 1 && isNew))
    grants.push({ subscription, sendRetained })
  }
  announce(c, grants)
  if (session.lane === null || grants.length === 0) {
    acknowledge()
    for (const { subscription, sendRetained } of grants) if (sendRetained) sendRetainedTo(c, subscription, false)
    return
  }
  for (const { subscription, sendRetained } of grants) if (sendRetained) keepRetainedFor(c, subscription)
  c.core.commits.wait({
    committed: () => {
      if (c.state === 'closed') return
      acknowledge()
      for (const { subscription, sendRetained } of grants) if (sendRetained) sendRetainedTo(c, subscription, true)
    },
    notCommitted: (error) => {
      for (const { subscription } of grants) c.core.subscriptions.remove(session, subscription.topicFilter)
      // The codes promised what is not durable: MQTT 5 and 3.1.1 both have a failure code.
      if (codes.length > 0) c.fail(error)
    },
  })
}

function announce(c: Connection, grants: readonly Grant[]): void {
  if (grants.length === 0) return
  c.core.hooks.subscribed(
    c,
    grants.map((grant) => grant.subscription),
  )
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
