import { SluiceError } from '../errors.ts'
import type { SubscriptionRequest } from '../wire/subscribe.ts'
import { isTopicFilter } from '../wire/topic.ts'

/** A subscription as Aedes' hooks, events and methods name its parts. */
export interface AedesSubscription {
  topic: string
  qos: 0 | 1 | 2
  /** No Local. */
  nl?: boolean
  /** Retain As Published. */
  rap?: boolean
  /** Retain Handling. */
  rh?: 0 | 1 | 2
}

/** MQTT 3 has no Subscription Options, so what stands at its default is not shown for it. */
export function subscriptionOf(request: SubscriptionRequest, version5: boolean): AedesSubscription {
  const { topicFilter: topic, qos, noLocal, retainAsPublished, retainHandling } = request
  const subscription: AedesSubscription = { topic, qos }
  if (version5 || noLocal) subscription.nl = noLocal
  if (version5 || retainAsPublished) subscription.rap = retainAsPublished
  if (version5 || retainHandling !== 0) subscription.rh = retainHandling
  return subscription
}

/**
 * The request for a subscription of a program: what it says, and where it says nothing what was asked for. `asked` itself
 * when both say the same.
 * @throws SluiceError topic_filter_invalid, protocol_error when it cannot be subscribed to
 */
export function requestOf(subscription: AedesSubscription, asked?: SubscriptionRequest): SubscriptionRequest {
  const { topic, qos, nl, rap, rh } = subscription
  if (typeof topic !== 'string' || !isTopicFilter(topic))
    throw new SluiceError('topic_filter_invalid', `not a Topic Filter: ${String(topic)}`)
  if (qos !== 0 && qos !== 1 && qos !== 2) throw new SluiceError('protocol_error', `not a QoS: ${String(qos)}`)
  const request: SubscriptionRequest = {
    topicFilter: topic,
    qos,
    noLocal: nl ?? asked?.noLocal ?? false,
    retainAsPublished: rap ?? asked?.retainAsPublished ?? false,
    retainHandling: rh ?? asked?.retainHandling ?? 0,
  }
  return asked !== undefined && isSame(request, asked) ? asked : request
}

function isSame(a: SubscriptionRequest, b: SubscriptionRequest): boolean {
  return (
    a.topicFilter === b.topicFilter &&
    a.qos === b.qos &&
    a.noLocal === b.noLocal &&
    a.retainAsPublished === b.retainAsPublished &&
    a.retainHandling === b.retainHandling
  )
}
