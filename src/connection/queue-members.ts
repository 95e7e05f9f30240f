import { SluiceError } from '../errors.ts'
import type { HandedOut } from '../queue/member-queue.ts'
import type { NackEntry } from '../queue/requests.ts'
import { Publication } from '../router/publication.ts'
import { aliased } from '../session/encoding.ts'
import type { Ack } from '../wire/ack.ts'
import { parseQueueFilter } from '../wire/topic.ts'
import type { Connection } from './connection.ts'
import { type MemberOptions, QueueMember } from './queue-member.ts'

/** Members stop sending when the connection has this much unsent, in bytes. */
const UNSENT_MAX = 256 * 1024

const PACKET_IDS = 65_535
const PUBLISH_QOS1 = 0x32

/** Messages of work queues go through one publication: what is loaded is sent before the next. */
const loaded = new Publication()

interface Held {
  readonly member: QueueMember
  readonly delivery: HandedOut
}

/**
 * The work queues a connection takes messages from (`$queue/<name>`), and the messages it holds. They are QoS 1
 * deliveries beside those of the session and share its window: the client's Receive Maximum [v5 MQTT-3.3.4-9] and
 * `limits.inflightMax` are the prefetch.
 *
 *     queue ──pull──▶ unsent ──PUBLISH──▶ held ──PUBACK──────────────▶ acked
 *       ▲                │                 │ └──PUBACK ≥ 0x80────────▶ failed (MQTT 5)
 *       └── given back ──┴─ disconnect ────┘
 *
 * Packet Identifiers come from the far end of their range, where the session's own do not get to before all of these have been
 * acknowledged; should they meet, the session waits.
 */
export class QueueMembers {
  readonly #c: Connection
  /** By Topic Filter. */
  readonly #members = new Map<string, QueueMember>()
  /** Sent and not acknowledged, by Packet Identifier. */
  readonly #held = new Map<number, Held>()
  /** Members with results to tell. */
  readonly #answering = new Set<QueueMember>()
  #nextId = PACKET_IDS
  #flushing = false
  #closed = false
  /** User properties of the last SUBSCRIBE (MQTT 5): what new members ask for. */
  asked: readonly [string, string][] = []
  readonly #flush = (): void => this.#answer()

  constructor(c: Connection) {
    this.#c = c
  }

  /** Starts taking messages; subscribing again starts with the new options. */
  join(topicFilter: string, prefix: Buffer | null): void {
    const name = parseQueueFilter(topicFilter)
    const queue = name === null ? undefined : this.#c.core.findQueue(name)
    if (queue === undefined || this.#closed) return
    this.leave(topicFilter)
    const options = optionsOf(this.asked, this.#c.core.queues.leaseMs(queue.name))
    const pause = (ms: number, then: () => void): unknown => this.#c.core.clock.after(ms, then)
    const member = new QueueMember(queue, options, prefix, this, pause)
    this.#members.set(topicFilter, member)
    member.start()
  }

  /** Takes no more; what the client holds it may still acknowledge. */
  leave(topicFilter: string): void {
    this.#members.get(topicFilter)?.stop()
    this.#members.delete(topicFilter)
  }

  /** Messages that may be sent now, by the window. */
  get room(): number {
    return this.#c.window - this.#c.session!.delivery.inflightCount
  }

  /** Messages that may be held by all members. */
  get capacity(): number {
    return this.#c.window + this.#held.size
  }

  /** What a member could not do. */
  failed(error: unknown): void {
    if (this.#closed || (error instanceof SluiceError && error.code === 'server_shutting_down')) return
    this.#c.core.hooks.failed(this.#c, error instanceof Error ? error : new Error(String(error)))
  }

  /** What a member holds, sent or not. */
  heldBy(member: QueueMember): HandedOut[] {
    const deliveries = [...member.unsent]
    for (const held of this.#held.values()) if (held.member === member) deliveries.push(held.delivery)
    return deliveries
  }

  /** Whether the Packet Identifier belongs to a message of a queue. */
  has(packetId: number): boolean {
    return this.#held.has(packetId)
  }

  /** PUBACK. False: the Packet Identifier is not one of ours. A result that comes too late changes nothing. */
  puback(packetId: number, reasonCode: number, said: Pick<Ack, 'reasonString' | 'userProperties'> | null): boolean {
    const held = this.#held.get(packetId)
    if (held === undefined) return false
    this.#held.delete(packetId)
    this.#c.window++
    const { member, delivery } = held
    if (reasonCode < 0x80) member.acked(delivery.receipt)
    else member.failed(failureOf(delivery.receipt, reasonCode, said))
    this.#answering.add(member)
    if (!this.#flushing) {
      this.#flushing = true
      setImmediate(this.#flush)
    }
    return true
  }

  /** Sends what may be sent. */
  pump(): void {
    if (this.#closed) return
    for (const member of this.#members.values()) {
      while (this.room > 0 && this.#c.out.waitingBytes < UNSENT_MAX) {
        const delivery = member.next()
        if (delivery === undefined) break
        this.#send(member, delivery)
      }
      member.wake()
    }
  }

  /** The connection is gone: everything goes back, and the attempts do not count. */
  close(): void {
    if (this.#closed) return
    this.#closed = true
    const back = new Map<QueueMember, HandedOut[]>()
    for (const { member, delivery } of this.#held.values()) {
      const deliveries = back.get(member)
      if (deliveries === undefined) back.set(member, [delivery])
      else deliveries.push(delivery)
    }
    this.#held.clear()
    this.#answer()
    for (const [member, deliveries] of back) member.giveBack(deliveries)
    for (const member of this.#members.values()) member.stop()
    this.#members.clear()
  }

  /** Results of one turn travel together. */
  #answer(): void {
    this.#flushing = false
    for (const member of this.#answering) member.answer()
    this.#answering.clear()
    if (this.#closed) return
    this.pump()
    // Places in the window came free.
    this.#c.session!.delivery.wake()
  }

  #send(member: QueueMember, delivery: HandedOut): void {
    const c = this.#c
    loaded.load(delivery.message, c.core.clock.now())
    const message = c.forward === null ? loaded : c.forward(loaded)
    if (message === null) {
      this.#refuse(member, delivery, 'authorizeForward refused it')
      return
    }
    const prefix = c.version5 ? member.properties(delivery) : null
    const encoded = prefix === null ? message.encoding(c.version5, true) : message.encodingWith(prefix, true)
    if (encoded.end - encoded.start > c.maximumPacketSize) {
      this.#refuse(member, delivery, `larger than the Maximum Packet Size of ${c.clientId}`)
      return
    }
    const packetId = this.#takeId()
    this.#held.set(packetId, { member, delivery })
    c.window--
    c.out.publish(aliased(c, message, prefix, encoded) ?? encoded, PUBLISH_QOS1, packetId)
    c.core.counters.delivered[1]++
  }

  #refuse(member: QueueMember, delivery: HandedOut, reason: string): void {
    const entry: NackEntry = { receipt: delivery.receipt, reason }
    member.failed(entry)
    member.answer()
  }

  /** There is one: a window has fewer places than there are identifiers. */
  #takeId(): number {
    const { delivery } = this.#c.session!
    let id = this.#nextId
    while (this.#held.has(id) || delivery.holds(id)) id = id === 1 ? PACKET_IDS : id - 1
    this.#nextId = id === 1 ? PACKET_IDS : id - 1
    return id
  }
}

const LEASE_MS_MIN = 100
const LEASE_MS_MAX = 43_200_000

/** What is asked for and makes no sense is not heard. */
function optionsOf(asked: readonly [string, string][], byDefault: number): MemberOptions {
  const leaseMs = Number(asked.find(([name]) => name === 'sluicemq-lease-ms')?.[1])
  const extend = asked.some(([name, value]) => name === 'sluicemq-extend' && value === 'true')
  const valid = Number.isInteger(leaseMs) && leaseMs >= LEASE_MS_MIN && leaseMs <= LEASE_MS_MAX
  return { leaseMs: valid ? leaseMs : byDefault, extend }
}

/** "Payload format invalid": it will never become right. */
const NEVER = 0x99
const DELAY_MS_MAX = 604_800_000

function failureOf(
  receipt: string,
  reasonCode: number,
  said: Pick<Ack, 'reasonString' | 'userProperties'> | null,
): NackEntry {
  const entry: NackEntry = { receipt, reason: said?.reasonString ?? `reason code 0x${reasonCode.toString(16)}` }
  if (reasonCode === NEVER) entry.reject = true
  if (said?.userProperties?.some(([name, value]) => name === 'sluicemq-release' && value === 'true'))
    entry.release = true
  const delayMs = Number(said?.userProperties?.find(([name]) => name === 'sluicemq-delay-ms')?.[1])
  if (Number.isInteger(delayMs) && delayMs >= 0) entry.delayMs = Math.min(delayMs, DELAY_MS_MAX)
  return entry
}
