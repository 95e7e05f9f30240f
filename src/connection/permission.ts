import { SluiceError } from '../errors.ts'
import type { Session } from '../session/session.ts'
import type { SubscriptionRequest } from '../wire/subscribe.ts'
import { countLevels, isQueueFilter, parseQueueFilter } from '../wire/topic.ts'
import type { Connection } from './connection.ts'
import type { SubscriptionOutcome } from './hooks.ts'
import { mayRead } from './reserved-topics.ts'

/** A SUBACK reason code that says no more than that: the hook gave no reason. */
const UNSPECIFIED = 0x80

/** True when the Topic Filter became a subscription. */
export function isGranted(outcome: SubscriptionOutcome): boolean {
  return outcome.code < 0x80
}

/**
 * Asks the limits and the hook about each request of a SUBSCRIBE. The hook is asked about all of them at once; until it
 * has answered about the last, the connection is not read. `done` is not called when the connection closed meanwhile.
 */
export function judge(
  c: Connection,
  requests: readonly SubscriptionRequest[],
  done: (outcomes: SubscriptionOutcome[]) => void,
): void {
  const added = new Set<string>()
  const refusals = requests.map((request) => refusalOf(c, request, added))
  for (const refusal of refusals) if (refusal !== null) c.core.hooks.failed(c, refusal)
  ask(c, requests, refusals, done)
}

/**
 * Takes up the subscriptions of a session that is there from an earlier connection: what the hook would no longer allow
 * ends, so that a permission that was taken away does not live on in old sessions. `done` follows once all are judged.
 */
export function resume(c: Connection, session: Session, done: () => void): void {
  if (c.core.hooks.authorizeSubscribe === null) return done()
  const { subscriptions } = c.core
  const before = [...session.subscriptions.values()]
  ask(c, before, [], (outcomes) => {
    for (const [i, outcome] of outcomes.entries()) {
      const { topicFilter, subscriptionIdentifier } = before[i]!
      const kept = isGranted(outcome)
      if (!kept || outcome.request.topicFilter !== topicFilter) subscriptions.remove(session, topicFilter)
      if (kept && outcome.request !== before[i])
        subscriptions.add(session, { ...recordOf(outcome.request), subscriptionIdentifier })
    }
    done()
  })
}

/** What the store keeps of a request, but for its Subscription Identifier. */
export function recordOf({ topicFilter, qos, noLocal, retainAsPublished, retainHandling }: SubscriptionRequest) {
  return { topicFilter, qos, noLocal, retainAsPublished, retainHandling }
}

/** @param refusals of ours, parallel to `requests`; where there is one the hook is not asked */
function ask(
  c: Connection,
  requests: readonly SubscriptionRequest[],
  refusals: readonly (SluiceError | null)[],
  done: (outcomes: SubscriptionOutcome[]) => void,
): void {
  const authorize = c.core.hooks.authorizeSubscribe
  const outcomes: SubscriptionOutcome[] = new Array(requests.length)
  let open = 1
  let held = false
  const settle = (i: number, request: SubscriptionRequest, code: number): void => {
    // A hook that answers twice is heard once.
    if (outcomes[i] !== undefined) return
    outcomes[i] = { request, code }
    finish()
  }
  const finish = (): void => {
    if (--open > 0) return
    if (c.state !== 'closed') done(outcomes)
    if (held) c.release()
  }
  for (const [i, request] of requests.entries()) {
    open++
    const refusal = refusals[i]
    if (refusal) settle(i, request, refusal.reasonCode)
    else if (authorize === null) settle(i, request, isQueueFilter(request.topicFilter) ? 1 : request.qos)
    else
      authorize(c, request, (denied, allowed) => {
        if (denied !== null) settle(i, request, denied.reasonCode)
        else if (allowed === null) settle(i, request, UNSPECIFIED)
        else settle(i, allowed, isQueueFilter(allowed.topicFilter) ? 1 : allowed.qos)
      })
  }
  if (open > 1) {
    held = true
    c.hold()
  }
  finish()
}

/** What of ours is against the request. @param added new Topic Filters of the same packet that nothing is against */
function refusalOf(
  c: Connection,
  { topicFilter, qos, error }: SubscriptionRequest,
  added: Set<string>,
): SluiceError | null {
  const { topicLevelsMax, topicBytesMax, subscriptionsPerSessionMax } = c.limits
  if (error !== undefined) return new SluiceError(error, `"${shown(topicFilter)}" is not a Topic Filter`)
  if (!mayRead(c, topicFilter)) return new SluiceError('not_authorized', 'sys.readableBy does not name this client')
  if (isQueueFilter(topicFilter)) {
    const queue = parseQueueFilter(topicFilter)
    if (queue === null || c.core.findQueue(queue) === undefined)
      return invalid(`there is no queue named ${JSON.stringify(shown(queue ?? ''))}`)
    // Without PUBACK nobody could say that the work is done.
    if (qos === 0) return new SluiceError('queue_qos', `${shown(topicFilter)} needs QoS 1`)
  }
  const levels = countLevels(topicFilter)
  if (levels > topicLevelsMax)
    return invalid(`Topic Filter of ${levels} levels; limits.topicLevelsMax is ${topicLevelsMax}`)
  const bytes = Buffer.byteLength(topicFilter)
  if (bytes > topicBytesMax) return invalid(`Topic Filter of ${bytes} bytes; limits.topicBytesMax is ${topicBytesMax}`)
  const { subscriptions } = c.session!
  if (subscriptions.has(topicFilter) || added.has(topicFilter)) return null
  if (subscriptions.size + added.size < subscriptionsPerSessionMax) {
    added.add(topicFilter)
    return null
  }
  return new SluiceError('quota_exceeded', `limits.subscriptionsPerSessionMax of ${subscriptionsPerSessionMax} reached`)
}

function invalid(message: string): SluiceError {
  return new SluiceError('topic_filter_invalid', message)
}

function shown(topicFilter: string): string {
  return topicFilter.length > 64 ? `${topicFilter.slice(0, 64)}…` : topicFilter
}
