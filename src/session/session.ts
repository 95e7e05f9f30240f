import { SluiceError } from '../errors.ts'
import type { Commits } from '../router/commits.ts'
import type { Subscription } from '../router/destinations.ts'
import { Origin, secondsLeft } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import type { Chunk, Lane, SessionRecord, Store } from '../store.ts'
import type { Counters } from '../telemetry/counters.ts'
import type { DropCause } from '../telemetry/events.ts'
import { encodeAck } from '../wire/ack.ts'
import { PacketType } from '../wire/control.ts'
import type { EncodedPublish } from '../wire/publish.ts'
import { Backlog } from './backlog.ts'
import { Exchange, Inflight } from './inflight.ts'
import type { Link } from './link.ts'
import { packetIdOf } from './packet-ids.ts'
import { Pending } from './pending.ts'

/** Bits of the tag that a lane entry of a session carries. */
export const TAG_QOS = 3
export const TAG_RETAIN = 4

/** A persistent session stops sending when its connection has this much unsent, in bytes. */
const BACKLOG_UNSENT_MAX = 256 * 1024

const released = Buffer.from([1])

/** What all sessions share. */
export interface SessionContext {
  readonly store: Store
  readonly commits: Commits
  readonly counters: Counters
  now(): number
  dropped(session: Session, cause: DropCause, count: number): void
  readonly limits: { readonly sessionQueuedMessagesMax: number; readonly sessionQueuedBytesMax: number }
}

/** Messages read from the store go through one publication: what is loaded is encoded before the next. */
const loaded = new Publication()

/**
 * The state of one Client Identifier ([v5 4.1] [v3 3.1.2.4]). It outlives its connections when it is persistent: then it
 * has a lane, in which every QoS 1 and 2 message waits until the client has acknowledged it. A session that ends with its
 * connection keeps such messages in memory, up to the same limits.
 */
export class Session {
  readonly clientId: string
  readonly origin: Origin
  readonly userName: string | undefined
  /** Null: the session ends with its connection. */
  readonly lane: Lane | null
  /** The stored facts; null as `lane` is. */
  readonly record: SessionRecord | null
  /** The connection that serves it, or null. */
  link: Link | null = null
  /** By Topic Filter, `$share/…` included. */
  readonly subscriptions = new Map<string, Subscription>()
  /** Packet Identifiers of QoS 2 PUBLISH packets taken and not yet released. Null: none so far. */
  inbound: Set<number> | null = null
  /** Seconds it outlives its connection; 0: not at all. */
  expirySeconds: number
  readonly #context: SessionContext
  readonly #backlog: Backlog | null
  #inflight: Inflight | null = null
  #pending: Pending | null = null
  /** Sequence number of the next message, for a session without a lane. */
  #nextSeq = 1
  /** Entries below this may have been sent before. */
  #maybeSentBefore: number
  /** Scratch of the router while it merges overlapping subscriptions. */
  mergeStamp = 0
  mergeIndex = 0
  ended = false

  constructor(context: SessionContext, record: SessionRecord, persistent: boolean) {
    this.#context = context
    this.clientId = record.clientId
    this.userName = record.userName
    this.origin = new Origin(record.clientId, record.userName)
    this.expirySeconds = record.expirySeconds
    this.#maybeSentBefore = record.maybeSentBefore
    if (persistent) {
      const lane = context.store.lane(`s/${record.clientId}`)
      this.lane = lane
      this.record = record
      this.#backlog = new Backlog(context.store, lane, () => this.#pump())
      lane.onCommitted = (chunk) => this.#committed(chunk)
    } else {
      this.lane = null
      this.record = null
      this.#backlog = null
    }
  }

  /** Messages sent and not acknowledged. */
  get inflightCount(): number {
    return this.#inflight === null ? 0 : this.#inflight.count
  }

  /** Messages waiting for the client, those in flight included. */
  get waiting(): number {
    return this.lane === null ? this.inflightCount + (this.#pending?.length ?? 0) : this.lane.waiting
  }

  /** True while the lane may take one more message. */
  get hasRoom(): boolean {
    const lane = this.lane!
    const limits = this.#context.limits
    return lane.waiting < limits.sessionQueuedMessagesMax && lane.waitingBytes < limits.sessionQueuedBytesMax
  }

  /** True when a message for it would be sent without waiting. */
  get canTake(): boolean {
    const link = this.link
    return link !== null && link.out.waitingBytes < link.outboundBytesMax && this.inflightCount < link.window
  }

  attach(link: Link): void {
    this.link = link
    this.#inflight = null
    this.#backlog?.rewind()
  }

  /** Starts (again) sending what waits, after the CONNACK. */
  wake(): void {
    this.#pump()
  }

  detach(): void {
    this.link = null
    this.#pending = null
    if (this.#backlog !== null) {
      if (this.#inflight !== null) this.#maybeSentBefore = Math.max(this.#maybeSentBefore, this.#inflight.next)
      this.record!.maybeSentBefore = this.#maybeSentBefore
      this.#backlog.release()
    }
    this.#inflight = null
  }

  /**
   * Sends a message that has no durable entry for this session: QoS 0, or any QoS to a session without a lane.
   * @param prefix property bytes of this receiver's own (MQTT 5), or null
   */
  deliver(publication: Publication, qos: number, retain: boolean, prefix: Buffer | null): void {
    const link = this.link
    if (link === null) return
    let message: Publication = publication
    if (link.forward !== null) {
      const replaced = link.forward(publication)
      if (replaced === null) return
      message = replaced
    }
    const encoded =
      prefix !== null && link.version5
        ? message.encodingWith(prefix, qos > 0)
        : message.encoding(link.version5, qos > 0)
    if (encoded.end - encoded.start > link.maximumPacketSize) {
      this.#drop('packet_too_large', 1)
      return
    }
    const firstByte = 0x30 | (qos << 1) | (retain ? 1 : 0)
    if (qos === 0) {
      if (link.out.waitingBytes >= link.outboundBytesMax) {
        this.#drop('outbound_full', 1)
        return
      }
      link.out.publish(aliased(link, message, prefix, false) ?? encoded, firstByte, 0)
      this.#context.counters.delivered[0]++
      return
    }
    if ((this.#pending !== null && this.#pending.length > 0) || !this.#opens(link, this.#nextSeq)) {
      this.#hold(encoded, firstByte)
      return
    }
    this.#send(link, aliased(link, message, prefix, true) ?? encoded, firstByte, this.#nextSeq, qos)
    this.#nextSeq++
  }

  /** Bytes of QoS 0 packets in the client's form, copied as they are. */
  deliverVerbatim(buf: Buffer, start: number, end: number, count: number): void {
    const link = this.link!
    if (link.out.waitingBytes >= link.outboundBytesMax) {
      this.#drop('outbound_full', count)
      return
    }
    link.out.append(buf, start, end)
    link.out.packets += count
    this.#context.counters.delivered[0] += count
  }

  /** @throws SluiceError protocol_error when the acknowledgement does not fit the exchange */
  puback(packetId: number): void {
    const inflight = this.#inflight
    const seq = inflight === null ? -1 : inflight.find(packetId)
    if (seq === -1) return
    if (inflight!.state(seq) !== Exchange.awaitingPuback) throw wrongAck('PUBACK', packetId)
    this.#complete(seq)
  }

  /** PUBREC: the client has the message. A reason code of 0x80 or more ends the exchange [v5 MQTT-4.3.3-4]. */
  pubrec(packetId: number, reasonCode: number): void {
    const inflight = this.#inflight
    const seq = inflight === null ? -1 : inflight.find(packetId)
    const link = this.link
    if (link === null) return
    if (seq === -1) {
      if (reasonCode < 0x80) this.#pubrelUnknown(link, packetId)
      return
    }
    switch (inflight!.state(seq)) {
      case Exchange.awaitingPubrec:
        if (reasonCode >= 0x80) this.#complete(seq)
        else this.#release(seq)
        return
      case Exchange.awaitingPubcomp:
        link.out.ack(0x62, packetId)
        return
      case Exchange.releasing:
        return
      default:
        throw wrongAck('PUBREC', packetId)
    }
  }

  pubcomp(packetId: number): void {
    const inflight = this.#inflight
    const seq = inflight === null ? -1 : inflight.find(packetId)
    if (seq === -1) return
    if (inflight!.state(seq) !== Exchange.awaitingPubcomp) throw wrongAck('PUBCOMP', packetId)
    this.#complete(seq)
  }

  /** Discards what waits for the client, acknowledged or not. */
  discardWaiting(): void {
    this.#pending = null
    const lane = this.lane
    if (lane === null) return
    this.#inflight = null
    for (let seq = Math.max(1, lane.nextSeq - lane.waiting); seq < lane.nextSeq; seq++)
      this.#context.store.settle(lane, seq)
    this.#context.commits.scheduleLazily()
  }

  /** More can be sent: the connection's bytes were taken by the operating system. */
  drained(): void {
    this.#pump()
  }

  /**
   * PUBREL is sent only when it is durable that PUBREC came: otherwise a crash could send the PUBLISH again after the
   * client has forgotten its identifier, and the client would take it twice [v5 MQTT-4.3.3-5].
   */
  #release(seq: number): void {
    const inflight = this.#inflight!
    const packetId = packetIdOf(seq)
    if (this.lane === null) {
      inflight.move(seq, Exchange.awaitingPubcomp)
      this.link!.out.ack(0x62, packetId)
      return
    }
    inflight.move(seq, Exchange.releasing)
    this.#context.store.mark(this.lane, seq, released)
    this.#context.commits.wait({
      committed: () => {
        if (this.#inflight !== inflight || inflight.find(packetId) !== seq) return
        inflight.move(seq, Exchange.awaitingPubcomp)
        this.link?.out.ack(0x62, packetId)
      },
      // The client sends PUBREC again when it reconnects, and finds the exchange where it was.
      notCommitted: () => {
        if (this.#inflight === inflight && inflight.find(packetId) === seq) inflight.move(seq, Exchange.awaitingPubrec)
      },
    })
  }

  #pubrelUnknown(link: Link, packetId: number): void {
    if (link.version5) link.out.write(encodeAck(PacketType.PUBREL, 5, packetId, 0x92))
    else link.out.ack(0x62, packetId)
  }

  #complete(seq: number): void {
    this.#inflight!.close(seq)
    this.link?.acknowledged?.(packetIdOf(seq))
    if (this.lane !== null) {
      this.#context.store.settle(this.lane, seq)
      this.#context.commits.scheduleLazily()
    }
    this.#pump()
  }

  #committed(chunk: Chunk): void {
    if (this.link === null) return
    this.#backlog!.committed(chunk)
    this.#context.commits.wakeLater(this)
  }

  #pump(): void {
    const link = this.link
    if (link === null) return
    if (this.#backlog !== null) this.#pumpBacklog(link, this.#backlog)
    else if (this.#pending !== null) this.#pumpPending(link, this.#pending)
  }

  #pumpPending(link: Link, pending: Pending): void {
    while (pending.length > 0 && this.#opens(link, this.#nextSeq)) {
      const waiting = pending.shift()!
      this.#send(link, waiting, waiting.firstByte, this.#nextSeq, (waiting.firstByte >> 1) & 3)
      this.#nextSeq++
    }
  }

  #pumpBacklog(link: Link, backlog: Backlog): void {
    while (this.inflightCount < link.window && link.out.waitingBytes < BACKLOG_UNSENT_MAX && backlog.peek()) {
      const seq = backlog.seq
      if (!this.#fits(seq)) return
      if (backlog.marked) this.#resumeRelease(link, seq)
      else this.#sendEntry(link, backlog, seq)
      backlog.next()
    }
  }

  /** The client acknowledged with PUBREC on an earlier connection: go on with PUBREL [v5 MQTT-4.4.0-1]. */
  #resumeRelease(link: Link, seq: number): void {
    this.#inflight ??= new Inflight(seq)
    link.out.ack(0x62, this.#inflight.open(seq, Exchange.awaitingPubcomp))
  }

  #sendEntry(link: Link, backlog: Backlog, seq: number): void {
    const context = this.#context
    const stored = backlog.message
    const now = context.now()
    const qos = backlog.tag & TAG_QOS
    if (secondsLeft(stored, now) <= 0) {
      this.#discard(seq, 'expired')
      return
    }
    loaded.load(stored, now)
    let message: Publication = loaded
    if (link.forward !== null) {
      const replaced = link.forward(loaded)
      if (replaced === null) {
        this.#discard(seq, null)
        return
      }
      message = replaced
    }
    const extra = backlog.extra
    const encoded =
      extra !== null && link.version5 ? message.encodingWith(extra, true) : message.encoding(link.version5, true)
    if (encoded.end - encoded.start > link.maximumPacketSize) {
      // [v5 MQTT-3.1.2-25]: act as if the delivery were complete.
      this.#discard(seq, 'packet_too_large')
      return
    }
    // [v5 MQTT-3.3.1-1]
    const dup = seq < this.#maybeSentBefore ? 8 : 0
    const firstByte = 0x30 | dup | (qos << 1) | ((backlog.tag & TAG_RETAIN) !== 0 ? 1 : 0)
    this.#send(link, aliased(link, message, extra, true) ?? encoded, firstByte, seq, qos)
  }

  #discard(seq: number, cause: DropCause | null): void {
    this.#context.store.settle(this.lane!, seq)
    this.#context.commits.scheduleLazily()
    if (cause !== null) this.#drop(cause, 1)
  }

  #fits(seq: number): boolean {
    return this.#inflight === null || this.#inflight.fits(seq)
  }

  /** True when one more message of QoS 1 or 2 may be sent now. */
  #opens(link: Link, seq: number): boolean {
    return this.inflightCount < link.window && this.#fits(seq) && link.out.waitingBytes < link.outboundBytesMax
  }

  #send(link: Link, encoded: EncodedPublish, firstByte: number, seq: number, qos: number): void {
    this.#inflight ??= new Inflight(seq)
    const inflight = this.#inflight
    const packetId = inflight.open(seq, qos === 1 ? Exchange.awaitingPuback : Exchange.awaitingPubrec)
    link.out.publish(encoded, firstByte, packetId)
    this.#context.counters.delivered[qos as 1 | 2]++
  }

  #hold(encoded: EncodedPublish, firstByte: number): void {
    this.#pending ??= new Pending()
    const pending = this.#pending
    const limits = this.#context.limits
    if (pending.length >= limits.sessionQueuedMessagesMax || pending.bytes >= limits.sessionQueuedBytesMax)
      this.#drop('session_full', 1)
    else pending.push(encoded, firstByte)
  }

  #drop(cause: DropCause, count: number): void {
    this.#context.dropped(this, cause, count)
  }
}

/** The packet with a Topic Alias, for a client that takes them; null: as it is. Only for what is sent at once, in this order. */
function aliased(
  link: Link,
  message: Publication,
  prefix: Buffer | null,
  withPacketId: boolean,
): EncodedPublish | null {
  if (link.aliases === null) return null
  const alias = link.aliases.take(message)
  if (alias === null) return null
  const properties = prefix === null ? alias.prefix : Buffer.concat([alias.prefix, prefix])
  return message.encodingWith(properties, withPacketId, !alias.known)
}

function wrongAck(name: string, packetId: number): SluiceError {
  return new SluiceError('protocol_error', `${name} for Packet Identifier ${packetId}, which waits for another packet`)
}
