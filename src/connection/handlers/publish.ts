import { isUtf8 } from 'node:buffer'
import { SluiceError } from '../../errors.ts'
import type { Entering } from '../../router/entering.ts'
import type { Match } from '../../router/match.ts'
import { Publication } from '../../router/publication.ts'
import { checkTopicSize } from '../../router/topic-size.ts'
import { encodeAck } from '../../wire/ack.ts'
import { PacketType } from '../../wire/control.ts'
import { asksForRoom, passQueues, passSessions } from '../admission.ts'
import type { Connection } from '../connection.ts'
import { routed } from '../fair-share.ts'
import { negative } from '../goodbye.ts'
import type { Refusal } from '../hooks.ts'
import { tellPublished } from '../published.ts'
import { reservedTopic } from '../reserved-topics.ts'
import { giveBackQos2, qos2UnderWay, takeQos2 } from '../taken.ts'
import { TopicMemory } from '../topic-memory.ts'
import { addWide, WIDE_RECEIVERS } from '../wide-copies.ts'
import { workerBeats } from '../worker-topics.ts'

/** QoS 0 packets with the same receivers that lie side by side in what was read: they are sent with one copy each. */
export interface Run {
  match: Match | null
  buf: Buffer | null
  start: number
  end: number
  count: number
  /** Longer runs are copied in parts, lest one turn take all the memory there is for slow readers. */
  bytesMax: number
}

/** The run of a connection that has published nothing yet. */
export const NO_RUN: Run = Object.freeze({ match: null, buf: null, start: 0, end: 0, count: 0, bytesMax: 0 })

const PUBLISH_QOS0 = 0x30

/**
 * PUBLISH ([v5 3.3] [v3 3.3]).
 *
 * QoS 0 packets that need no change and have the same receivers are only counted here, and copied to them together when
 * something else follows (`flushRun`). Everything else goes through the router one by one.
 */
export function handlePublish(c: Connection, buf: Buffer, start: number, bodyStart: number, end: number): void {
  if (buf[start] === PUBLISH_QOS0 && extendRun(c, buf, start, bodyStart, end)) return
  if (c.run.count > 0) flushRun(c)
  c.wide?.finish()
  const hooks = c.core.hooks
  if (hooks.authorizePublish === null && hooks.published === null) {
    // Whatever is read into the scratch, no hook wants to see.
    const publication = c.core.scratch
    publication.parse(buf, start, bodyStart, end, c.version5, c.topics?.properties)
    accept(c, publication)
    return
  }
  // A hook may decide later: the message gets a place of its own.
  const publication = new Publication()
  publication.parse(Buffer.from(buf.subarray(start, end)), 0, bodyStart - start, end - start, c.version5)
  accept(c, publication)
}

/** Adds the packet to the run, or starts one. False: it has to be looked at by itself. */
function extendRun(c: Connection, buf: Buffer, start: number, bodyStart: number, end: number): boolean {
  const { topics, run } = c
  if (topics === null || c.throttle !== null) return false
  const match = topics.findOpening(buf, bodyStart, end) ?? findPlain(c, topics, buf, bodyStart, end)
  if (match === null) return false
  if (run.count > 0) {
    if (run.end !== start || run.buf !== buf) return false
    if (match !== run.match && (match.copySet !== run.match!.copySet || !c.core.router.isCurrent(match))) return false
    if (run.end - run.start < run.bytesMax) {
      run.end = end
      run.count++
      return true
    }
    flushRun(c)
  }
  if (match.copySet === null || !c.core.router.isCurrent(match)) return false
  return startRun(c, match, buf, start, end)
}

/** Who gets the packet, when its topic is known and its properties ask nothing of us. */
function findPlain(c: Connection, topics: TopicMemory, buf: Buffer, bodyStart: number, end: number): Match | null {
  const topicStart = bodyStart + 2
  if (topicStart > end) return null
  const topicEnd = topicStart + (buf[bodyStart]! << 8) + buf[bodyStart + 1]!
  if (topicEnd > end) return null
  const match = topics.find(buf, topicStart, topicEnd)
  if (match === null) return null
  let payloadStart = topicEnd
  if (c.version5) {
    if (topicEnd === end) return null
    const known = buf[topicEnd] === 0 ? null : topics.properties.find(buf, topicEnd, end)
    if (known === null && buf[topicEnd] !== 0) return null
    if (known !== null && known.payloadFormat === 1) return null
    payloadStart += known === null ? 1 : known.bytes.length
  }
  topics.learnOpening(buf, bodyStart, payloadStart)
  return match
}

function startRun(c: Connection, match: Match, buf: Buffer, start: number, end: number): boolean {
  const { hooks, router } = c.core
  if (hooks.authorizePublish !== null || hooks.published !== null) return false
  if (!router.copies(match, c.version5)) return false
  const bytesMax = c.core.memory.runBytesMax(match.receivers.length)
  if (c.run === NO_RUN) c.run = { ...NO_RUN }
  const { run } = c
  run.match = match
  run.buf = buf
  run.start = start
  run.end = end
  run.count = 1
  run.bytesMax = bytesMax
  return true
}

/** Sends the run to its receivers. */
export function flushRun(c: Connection): void {
  const { run } = c
  const { match, buf, start, end, count } = run
  run.count = 0
  run.buf = null
  c.core.counters.packetsReceived += count
  c.core.counters.published[0] += count
  c.core.counters.publishBytesReceived += end - start
  const { length: receivers } = match!.receivers
  if (receivers > WIDE_RECEIVERS) return addWide(c, match!, buf!, start, end, count)
  const heldBefore = c.core.memory.heldBytes
  c.core.backpressure.publisher = c
  c.core.router.copy(match!, c.version5, buf!, start, end, count, 0, receivers)
  c.core.backpressure.publisher = null
  routed(c, heldBefore, receivers, end - start)
}

/** The packet's own checks, then permission. */
function accept(c: Connection, publication: Publication): void {
  c.core.counters.packetsReceived++
  c.core.counters.published[publication.qos]++
  c.core.counters.publishBytesReceived += publication.end - publication.start
  c.throttle?.published(publication.end - publication.start)
  if (publication.version5) resolveAlias(c, publication)
  const match = matchOf(c, publication)
  if (publication.qos > 0) checkWindow(c, publication)
  if (publication.payloadFormat === 1 && c.core.config.mqtt.validatePayloadFormat && !isUtf8(publication.payload)) {
    refused(c, publication, { message: 'the payload is not the UTF-8 text it is said to be', reasonCode: 0x99 })
    return
  }
  const authorize = publication === c.core.scratch ? null : c.core.hooks.authorizePublish
  const reserved = reservedTopic(match.topic)
  // Aedes' hook decides about $SYS.
  if (reserved !== null && (authorize === null || !match.topic.startsWith('$SYS/'))) {
    refused(c, publication, { message: reserved, reasonCode: 0x87 })
    return
  }
  if (authorize === null) {
    route(c, publication, match)
    return
  }
  c.hold()
  authorize(c, publication, (refusal) => {
    if (c.state !== 'closed') {
      try {
        // The hook may have changed the topic.
        if (refusal === null) route(c, publication, matchOf(c, publication))
        else refused(c, publication, refusal)
      } catch (error) {
        c.fail(error)
      }
    }
    c.release()
  })
}

/** [v5 MQTT-3.3.2-8, -12]: an empty Topic Name takes the topic of its alias; a name with an alias sets it. */
function resolveAlias(c: Connection, publication: Publication): void {
  const alias = publication.topicAlias
  const empty = publication.topicStart === publication.topicEnd
  if (alias === 0) {
    if (empty) throw new SluiceError('protocol_error', 'an empty Topic Name without Topic Alias')
    return
  }
  const maximum = c.limits.topicAliasMaximum
  if (alias > maximum)
    throw new SluiceError('topic_alias_invalid', `Topic Alias ${alias}; the Topic Alias Maximum is ${maximum}`)
  c.topicAliases ??= new Map()
  if (!empty) {
    c.topicAliases.set(alias, Buffer.from(publication.topicBuf.subarray(publication.topicStart, publication.topicEnd)))
    return
  }
  const topic = c.topicAliases.get(alias)
  if (topic === undefined) throw new SluiceError('protocol_error', `Topic Alias ${alias} stands for no topic`)
  publication.setAliasedTopic(topic)
}

/** Who gets it, by the connection's memory of its topics. */
function matchOf(c: Connection, publication: Publication): Match {
  const { topicBuf, topicStart, topicEnd } = publication
  c.topics ??= new TopicMemory()
  const known = c.topics.find(topicBuf, topicStart, topicEnd)
  if (known !== null && c.core.router.isCurrent(known)) return known
  const match = c.core.router.match(topicBuf, topicStart, topicEnd)
  if (c.core.limitsBook.varies) checkTopicSize(c.limits, topicBuf, topicStart, topicEnd)
  c.topics.put(topicBuf, topicStart, topicEnd, match)
  return match
}

/** [v5 MQTT-3.3.4-7]: more unacknowledged messages than our Receive Maximum allows. MQTT 3 clients do not know of one. */
function checkWindow(c: Connection, publication: Publication): void {
  const inbound = c.session!.inbound
  if (publication.qos === 2 && inbound?.has(publication.packetId)) return
  const unreleased = inbound === null ? 0 : inbound.size
  if (!c.version5) {
    if (publication.qos === 2) checkUnreleased(unreleased, c.core.hooks.mqtt3.unreleasedMax)
    return
  }
  if (c.openQos1 + unreleased >= c.limits.receiveMaximum)
    throw new SluiceError('receive_maximum_exceeded', `more than ${c.limits.receiveMaximum} messages unacknowledged`)
}

function checkUnreleased(unreleased: number, unreleasedMax: number): void {
  if (unreleased < unreleasedMax) return
  const what = 'inbound QoS 2 messages already awaiting PUBREL'
  throw new SluiceError('quota_exceeded', `maxInflightInbound exceeded: ${unreleasedMax} ${what}`)
}

function route(c: Connection, publication: Publication, match: Match): void {
  if (publication.qos === 0 || !asksForRoom(c, publication, match, enter)) enter(c, publication, match)
}

function enter(c: Connection, publication: Publication, match: Match): void {
  if (publication.qos > 0 && !passSessions(c, publication, match)) return
  if (match.bridges.length > 0) passQueues(c, publication, match, take)
  else take(c, publication, match, null)
}

function take(c: Connection, publication: Publication, match: Match, entering: Entering | null): void {
  const { core } = c
  const { qos, packetId } = publication
  if (qos === 2 && !takeQos2(c, packetId)) {
    acknowledge(c, 0x50, packetId, c.unacknowledged > 0)
    return
  }
  const heldBefore = core.memory.heldBytes
  if (match.worker !== null) workerBeats(core, match.worker, publication.payload)
  const durable = publish(c, publication, match, entering) || (qos === 2 && c.session!.kept)
  if (durable) core.backpressure.published(c)
  routed(c, heldBefore, match.receivers.length, publication.end - publication.start)
  if (durable && qos === 2) qos2UnderWay(c, packetId)
  const published = publication === core.scratch ? null : core.hooks.published
  if (published !== null)
    tellPublished(c, published, publication, durable, () => answer(c, qos, packetId, durable, match))
  else if (qos > 0) answer(c, qos, packetId, durable, match)
}

function publish(c: Connection, publication: Publication, match: Match, entering: Entering | null): boolean {
  const { router, backpressure } = c.core
  backpressure.publisher = c
  try {
    return router.publish(publication, match, c, entering)
  } catch (error) {
    if (publication.qos === 2) giveBackQos2(c, publication.packetId)
    throw error
  } finally {
    backpressure.publisher = null
  }
}

/** "No matching subscribers" ([v5 3.4.2.1]): a success that tells the publisher that nobody got it. */
const NO_MATCHING_SUBSCRIBERS = 0x10

function answer(c: Connection, qos: number, packetId: number, durable: boolean, match: Match): void {
  if (c.version5 && match.empty && !durable && c.unacknowledged === 0)
    c.out.write(encodeAck(qos === 1 ? PacketType.PUBACK : PacketType.PUBREC, 5, packetId, NO_MATCHING_SUBSCRIBERS))
  else acknowledge(c, qos === 1 ? 0x40 : 0x50, packetId, durable)
}

/** Acknowledgements leave in the order of their packets [v5 MQTT-4.6.0-2]: one that waits holds back those after it. */
function acknowledge(c: Connection, firstByte: number, packetId: number, durable: boolean): void {
  if (durable || c.unacknowledged > 0) {
    c.unacknowledged++
    if (firstByte === 0x40) c.openQos1++
    c.core.commits.ack(c, firstByte, packetId)
  } else {
    c.out.ack(firstByte, packetId)
  }
}

/** [v5 3.3.5] [v3 MQTT-3.3.5-2]: MQTT 5 hears the reason; MQTT 3 can only be closed. */
function refused(c: Connection, publication: Publication, refusal: Refusal): void {
  const error = new SluiceError('not_authorized', refusal.message, { cause: refusal.error })
  if (!c.version5) throw error
  c.core.hooks.failed(c, error)
  if (publication.qos === 0) {
    // A QoS 0 message has no answer of its own; one that is not what it says ends the connection [v5 3.3.2.3.2].
    if (refusal.reasonCode === 0x99) throw new SluiceError('payload_format_invalid', refusal.message)
    return
  }
  const type = publication.qos === 1 ? PacketType.PUBACK : PacketType.PUBREC
  negative(c, type, publication.packetId, refusal.reasonCode, refusal.message)
}
