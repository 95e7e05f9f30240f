/**
 * The reference model for publishers and subscribers: it hears what clients see and knows nothing of the broker. It decides
 * what had to arrive, what might, and what must not.
 *
 *     a message is owed to a session when     SUBACK … PUBLISH … acknowledgement … UNSUBSCRIBE or end of the session
 *     come in that order at the clients; whatever overlaps otherwise may arrive and need not.
 */
import type { PublishPacket } from '../../support/raw-packets.ts'
import type { ClientJournal, LabClient, LabMessage } from '../lab/client.ts'
import type { Trace } from './trace.ts'
import type { WillBook } from './will-book.ts'

export interface SimMessage extends LabMessage {
  readonly publisher: string
  /** Position among the messages of its topic, from 1. One publisher for each topic. */
  readonly order: number
  readonly sentAt: number
  state: 'sent' | 'acknowledged' | 'refused' | 'abandoned'
  settledAt: number
}

/** The life of one subscription, in ticks of the trace. */
interface Span {
  readonly topicFilter: string
  readonly qos: number
  readonly askedAt: number
  grantedAt: number
  /** The client began to end it, or its session may have ended: nothing sent later is owed. */
  endingAt: number
}

interface Arrivals {
  live: number
  /** Of them, those without DUP. */
  fresh: number
}

/** Sessions that end sooner than this end in a run, at a moment that the client cannot know. */
const SHORT_SECONDS = 60

class Subscriber {
  readonly spans: Span[] = []
  readonly arrivals = new Map<string, Arrivals>()
  /** Highest order seen by topic, for messages of QoS 1 and 2 and for those of QoS 0. */
  readonly highest = new Map<string, number>()
  session: 'none' | 'some' | 'unknown' = 'none'
  /** Shared subscriptions are checked over all members together. */
  sharedOnly = false
}

export class Book implements ClientJournal {
  readonly messages = new Map<string, SimMessage>()
  readonly trace: Trace
  readonly #wills: WillBook
  readonly #subscribers = new Map<LabClient, Subscriber>()
  readonly #orders = new Map<string, number>()
  /** By topic: what a new subscriber may find retained. */
  #ids = 0
  duplicates = 0
  /**
   * Also what was sent again comes in order. Not where the store refuses: a message that was refused on a connection that
   * broke comes after those that were taken on it.
   */
  ordersRetransmissions = true

  constructor(trace: Trace, wills: WillBook) {
    this.trace = trace
    this.#wills = wills
  }

  #of(client: LabClient): Subscriber {
    let found = this.#subscribers.get(client)
    if (found === undefined) {
      found = new Subscriber()
      this.#subscribers.set(client, found)
    }
    return found
  }

  // What clients do.

  message(client: LabClient, topic: string, qos: 0 | 1 | 2, retain: boolean, clears = false): SimMessage {
    const order = (this.#orders.get(topic) ?? 0) + 1
    this.#orders.set(topic, order)
    const id = `m${++this.#ids}`
    const { clientId } = client.options
    const how = `QoS ${qos}${clears ? ', clears' : retain ? ', retained' : ''}`
    const sentAt = this.trace.note(`${clientId} sends ${id} to ${topic}, ${how}`, id)
    const about = { id, topic, qos, retain, clears, order, sentAt, publisher: clientId }
    const message: SimMessage = { ...about, transmissions: 0, state: 'sent', settledAt: 0 }
    this.messages.set(id, message)
    return message
  }

  subscribing(client: LabClient, topicFilter: string, qos: number): void {
    const name = client.options.clientId
    const askedAt = this.trace.note(`${name} subscribes to ${topicFilter}, QoS ${qos}`, name)
    const { spans } = this.#of(client)
    const endless = Number.POSITIVE_INFINITY
    if (qos === 0)
      for (const span of spans) if (span.topicFilter === topicFilter) span.endingAt = Math.min(span.endingAt, askedAt)
    spans.push({ topicFilter, qos, askedAt, grantedAt: endless, endingAt: endless })
  }

  unsubscribing(client: LabClient, topicFilter: string): void {
    const name = client.options.clientId
    const at = this.trace.note(`${name} unsubscribes from ${topicFilter}`, name)
    for (const span of this.#of(client).spans)
      if (span.topicFilter === topicFilter) span.endingAt = Math.min(span.endingAt, at)
  }

  /** The client is about to say DISCONNECT. */
  leaving(client: LabClient): void {
    this.#wills.leaving(client)
  }

  // What clients see.

  connecting(client: LabClient): void {
    const subscriber = this.#of(client)
    const name = client.options.clientId
    this.trace.note(`${name} connects${client.options.clean ? ' clean' : ''}`, name)
    this.#wills.connecting(client)
    // The broker may have known of the end of the connection long before the client did.
    const mayBeOver = (client.options.expirySeconds ?? SHORT_SECONDS) < SHORT_SECONDS
    if (subscriber.session === 'some' && mayBeOver) this.#end(subscriber, 'unknown')
    if (client.options.clean) this.#end(subscriber, 'unknown')
  }

  connected(client: LabClient, sessionPresent: boolean): void {
    const subscriber = this.#of(client)
    const { clientId, version } = client.options
    this.trace.note(`${clientId} is connected, session present: ${sessionPresent}`, clientId)
    if (version > 3) {
      if (sessionPresent && subscriber.session === 'none')
        this.trace.violation(`${clientId} was told of a session it does not have [v3 MQTT-3.2.2-2]`, clientId)
      if (!sessionPresent && subscriber.session === 'some')
        this.trace.violation(`the session of ${clientId} was lost`, clientId)
    }
    if (!sessionPresent && version > 3) this.#end(subscriber, 'none')
    if (client.persistent) subscriber.session = 'some'
    else if (version === 3) subscriber.session = client.options.clean ? 'none' : 'some'
    else subscriber.session = 'none'
    this.#wills.connected(client)
  }

  connectRefused(client: LabClient, code: number): void {
    const { clientId } = client.options
    this.trace.note(`${clientId} was refused with ${code}`, clientId)
    const subscriber = this.#of(client)
    if (subscriber.session === 'none') subscriber.session = 'unknown'
  }

  gone(client: LabClient, said: boolean): void {
    const { clientId } = client.options
    this.trace.note(`${clientId} is gone${said ? ', with DISCONNECT' : ''}`, clientId)
    const subscriber = this.#of(client)
    if (client.state !== 'online' && subscriber.session === 'none') subscriber.session = 'unknown'
    if (!client.persistent) this.#end(subscriber, subscriber.session)
    // A subscription whose SUBACK did not come may or may not be there.
    this.#wills.gone(client, said)
  }

  #end(subscriber: Subscriber, session: Subscriber['session']): void {
    // What waited in the session went with it.
    for (const span of subscriber.spans) span.endingAt = -1
    subscriber.session = session
    subscriber.highest.clear()
  }

  acknowledged(_client: LabClient, message: LabMessage): void {
    this.#settled(message, 'acknowledged', '')
  }
  refused(_client: LabClient, message: LabMessage, code: number): void {
    this.#settled(message, 'refused', ` with 0x${code.toString(16)}`)
  }
  abandoned(_client: LabClient, message: LabMessage): void {
    this.#settled(message, 'abandoned', '')
  }
  #settled(message: LabMessage, state: SimMessage['state'], how: string): void {
    const mine = this.messages.get(message.id)
    if (mine === undefined) return
    mine.state = state
    mine.settledAt = this.trace.note(`${message.id} is ${state}${how}`, message.id)
  }

  subscribed(client: LabClient, topicFilter: string, code: number): void {
    const { clientId } = client.options
    const at = this.trace.note(`${clientId} is subscribed to ${topicFilter}: ${code}`, clientId)
    const span = this.#of(client).spans.findLast((one) => one.topicFilter === topicFilter)
    if (span === undefined) return
    if (code < 0x80) span.grantedAt = at
    else span.endingAt = at
  }
  unsubscribed(client: LabClient, topicFilter: string): void {
    const { clientId } = client.options
    this.trace.note(`${clientId} is unsubscribed from ${topicFilter}`, clientId)
  }
  violation(what: string): void {
    this.trace.violation(what, what.split(/[ :]/)[0]!)
  }

  received(client: LabClient, packet: PublishPacket, redelivered: boolean): void {
    const id = packet.payload.toString()
    const { clientId } = client.options
    const flags = `${redelivered ? ' DUP' : ''}${packet.retain ? ' RETAIN' : ''}`
    this.trace.note(`${clientId} gets ${id} at QoS ${packet.qos} as packet ${packet.packetId}${flags}`, id, clientId)
    if (this.#wills.received(client, packet)) return
    // What clears a retained message has no payload by which it could be told.
    if (id === '') return
    const message = this.messages.get(id)
    if (message === undefined) {
      this.trace.violation(`${clientId} got "${id}" on ${packet.topic}, which nobody sent`, clientId)
      return
    }
    if (message.topic !== packet.topic) this.trace.violation(`${id} came on ${packet.topic}`, id)
    if (packet.retain) return
    const subscriber = this.#of(client)
    const arrivals = subscriber.arrivals.get(id) ?? { live: 0, fresh: 0 }
    subscriber.arrivals.set(id, arrivals)
    arrivals.live++
    if (!redelivered) arrivals.fresh++
    if (arrivals.live === 1) this.#checkOrder(client, subscriber, message, packet.qos)
    else this.duplicates++
    // A session that ends with its connection gets messages before they are stored, and once more when that fails.
    if (arrivals.live > 1 && packet.qos === 2 && message.qos === 2 && client.persistent)
      this.trace.violation(`${clientId} got ${id} of QoS 2 ${arrivals.live} times`, id, clientId)
    if (arrivals.fresh > message.transmissions)
      this.trace.violation(`${clientId} got ${id} ${arrivals.fresh} times without DUP`, id, clientId)
  }

  #checkOrder(client: LabClient, subscriber: Subscriber, message: SimMessage, qos: number): void {
    const { clientId } = client.options
    if (!subscriber.spans.some((span) => !span.topicFilter.startsWith('$share/') && covers(span, message))) return
    const key = `${qos > 0 ? 1 : 0} ${message.topic}`
    const highest = subscriber.highest.get(key) ?? 0
    // Under a subscription of QoS 0 the first transmission may have been lost on its way, and the next one comes under a later subscription.
    const owed = (span: Span): boolean => span.qos > 0 && owes(span, message)
    if (message.order > highest) subscriber.highest.set(key, message.order)
    else if (message.transmissions === 1 || (qos > 0 && this.ordersRetransmissions && subscriber.spans.some(owed)))
      this.trace.violation(
        `${clientId} got ${message.id} (${message.order} of ${message.topic}) after ${highest}`,
        message.id,
        clientId,
      )
  }

  // The end of the run.

  /** What is still to come. */
  outstanding(): string[] {
    const missing: string[] = []
    const groups = new Map<string, { members: Subscriber[]; filter: string }>()
    for (const [client, subscriber] of this.#subscribers) {
      for (const message of this.messages.values()) {
        if (!isOwed(message) || subscriber.arrivals.has(message.id)) continue
        const span = subscriber.spans.find((one) => !one.topicFilter.startsWith('$share/') && owes(one, message))
        if (span !== undefined && span.qos > 0) missing.push(`${message.id} ${client.options.clientId}`)
      }
      for (const { topicFilter } of subscriber.spans) {
        if (!topicFilter.startsWith('$share/')) continue
        const group = groups.get(topicFilter) ?? { members: [], filter: topicFilter }
        if (!group.members.includes(subscriber)) group.members.push(subscriber)
        groups.set(topicFilter, group)
      }
    }
    for (const { members, filter } of groups.values())
      for (const message of this.messages.values()) {
        if (!isOwed(message)) continue
        if (members.some(({ arrivals }) => arrivals.has(message.id))) continue
        const owed = members.some(({ spans }) =>
          spans.some((span) => span.topicFilter === filter && owes(span, message)),
        )
        if (owed) missing.push(`${message.id} ${filter}`)
      }
    return missing
  }

  /** Everything has been drained. */
  account(): void {
    for (const missing of this.outstanding())
      this.trace.violation(`MISSING ${missing}: acknowledged, and never received`, ...missing.split(' '))
    for (const [client, { arrivals, spans }] of this.#subscribers) {
      const { clientId } = client.options
      const stored = client.persistent && spans.every(({ qos }) => qos > 0)
      for (const id of arrivals.keys()) {
        const message = this.messages.get(id)!
        // What needs no disk may have gone out before the disk said no.
        if (stored && message.state === 'refused' && message.qos > 0 && message.transmissions === 1)
          this.trace.violation(`${clientId} got ${id}, which was refused`, id, clientId)
        if (!spans.some((span) => covers(span, message)))
          this.trace.violation(`${clientId} got ${id}, for which it had no subscription`, id, clientId)
      }
    }
    this.#checkGroups()
    for (const message of this.messages.values())
      if (message.state === 'sent' && message.qos > 0)
        this.trace.violation(`${message.id} was never answered`, message.id, message.publisher)
  }

  /** One member of a shared subscription gets the message, and only one, as long as its members stay. */
  #checkGroups(): void {
    for (const message of this.messages.values()) {
      if (message.qos === 0 || message.transmissions > 1) continue
      const members = [...this.#subscribers].filter(
        ([, { sharedOnly, arrivals }]) => sharedOnly && arrivals.has(message.id),
      )
      if (members.length <= 1) continue
      const names = members.map(([client]) => client.options.clientId)
      this.trace.violation(`${message.id} went to ${members.length} members of a group: ${names}`, message.id, ...names)
    }
  }

  /** The client has shared subscriptions only, and its session lives through the whole run. */
  sharesOnly(client: LabClient): void {
    this.#of(client).sharedOnly = true
  }

  /** Payload ids that may be retained on the topic; '' stands for none. */
  retainedMayBe(topic: string): Set<string> {
    const mine = [...this.messages.values()].filter((message) => message.topic === topic && message.retain)
    const last = mine.findLastIndex((message) => message.state === 'acknowledged' && message.qos > 0)
    const possible = new Set<string>(last < 0 ? [''] : [])
    for (const [i, message] of mine.entries()) {
      const again = !this.ordersRetransmissions && message.transmissions > 1
      if ((i < last && !again) || (message.state === 'refused' && message.transmissions === 1)) continue
      possible.add(message.clears ? '' : message.id)
    }
    return possible
  }

  counts(): Record<SimMessage['state'], number> {
    const counts = { sent: 0, acknowledged: 0, refused: 0, abandoned: 0 }
    for (const { state } of this.messages.values()) counts[state]++
    return counts
  }
}

function isOwed({ state, qos, clears }: SimMessage): boolean {
  return state === 'acknowledged' && qos > 0 && !clears
}

function plain(topicFilter: string): string {
  return topicFilter.startsWith('$share/') ? topicFilter.split('/').slice(2).join('/') : topicFilter
}

/** Filters of the lab are a topic, or a prefix and `#`. */
function fits(topicFilter: string, topic: string): boolean {
  const filter = plain(topicFilter)
  return filter.endsWith('#') ? topic.startsWith(filter.slice(0, -1)) : filter === topic
}

function covers(span: Span, message: SimMessage): boolean {
  // Until it is answered for, a message may be sent again and find a later subscription.
  const lastAt = message.state === 'sent' || message.qos === 0 ? Number.POSITIVE_INFINITY : message.settledAt
  return fits(span.topicFilter, message.topic) && span.askedAt <= Math.max(lastAt, message.sentAt)
}

function owes(span: Span, message: SimMessage): boolean {
  return fits(span.topicFilter, message.topic) && span.grantedAt < message.sentAt && message.settledAt < span.endingAt
}
