import { SLOW_DOWN_BYTES } from '../connection/backpressure.ts'
import type { Publication } from '../router/publication.ts'
import type { Chunk, Lane } from '../store.ts'
import type { DropCause } from '../telemetry/events.ts'
import type { EncodedPublish } from '../wire/publish-writer.ts'
import { aliased, encodeFor, pubrelUnknown } from './encoding.ts'
import { trim } from './fullness.ts'
import { Exchange, Inflight, wrongAck } from './inflight.ts'
import { LaneReader } from './lane-reader.ts'
import type { Link } from './link.ts'
import { type Loan, Loans } from './loan.ts'
import { packetIdOf } from './packet-ids.ts'
import { countDown, Pending } from './pending.ts'
import { releaseDurably } from './release.ts'
import type { Session, SessionContext } from './session.ts'

/**
 * The sending side of a session ([v5 4.3, 4.4, 4.9] [v3 4.3, 4.4]): what goes to the client, in order, within its window.
 *
 * QoS 0 goes out or is dropped. QoS 1 and 2 of a session without a lane wait in memory (`Pending`) when the window is
 * closed; those of a persistent session come from its lane (`LaneReader`), after they were committed.
 */
export class Delivery {
  readonly #context: SessionContext
  readonly #session: Session
  readonly #lane: Lane | null
  readonly #reader: LaneReader | null
  /** The connection, or null. */
  link: Link | null = null
  #inflight: Inflight | null = null
  #pending: Pending | null = null
  readonly #loans = new Loans()
  /** Sequence number of the next message, for a session without a lane. */
  #nextSeq = 1

  constructor(context: SessionContext, session: Session, lane: Lane | null, maybeSentBefore: number) {
    this.#context = context
    this.#session = session
    this.#lane = lane
    this.#reader = lane === null ? null : new LaneReader(context, this, lane, maybeSentBefore)
  }

  /** Messages sent and not acknowledged. */
  get inflightCount(): number {
    return this.#inflight === null ? 0 : this.#inflight.count
  }

  get pendingCount(): number {
    return this.#pending === null ? 0 : this.#pending.length
  }

  get pendingBytes(): number {
    return this.#pending === null ? 0 : this.#pending.bytes
  }

  attach(link: Link): void {
    this.link = link
    this.#inflight = null
    this.#reader?.rewind()
  }

  /** Returns the sequence number before which messages may have been sent. */
  detach(): number {
    this.link = null
    this.#pending?.clear()
    this.#pending = null
    const next = this.#inflight === null ? 0 : this.#inflight.next
    this.#inflight = null
    return this.#reader === null ? 0 : this.#reader.release(next)
  }

  /** Messages of shared subscriptions that were not acknowledged. They are no longer this session's. */
  takeLoans(): Loan[] {
    const loans = this.#loans.take()
    for (const waiting of this.#pending?.items() ?? []) if (waiting.loan !== null) loans.push(waiting.loan)
    return loans
  }

  /** Discards what waits for the client, acknowledged or not. */
  discard(): void {
    this.#pending?.clear()
    this.#pending = null
    const lane = this.#lane
    if (lane === null) return
    this.#inflight = null
    for (let seq = Math.max(1, lane.nextSeq - lane.waiting); seq < lane.nextSeq; seq++)
      this.#context.store.settle(lane, seq)
    this.#context.commits.scheduleLazily()
  }

  /** Gives up the oldest message that was not sent yet. False: there is none. */
  dropOldest(): boolean {
    if (this.#reader === null) {
      const oldest = this.#pending?.shift()
      oldest?.loan?.done?.()
      return oldest !== undefined
    }
    return this.#reader.dropOldest(this.#inflight === null ? 0 : this.#inflight.next)
  }

  /** The store committed entries of the session's lane. */
  committed(chunk: Chunk): void {
    if (this.link === null) return
    this.#reader!.committed(chunk)
    if (this.#context.store.shared !== null) trim(this.#session, this.#context)
    this.#context.commits.wakeLater(this)
  }

  /** Sends what may be sent: after CONNACK, a commit, an acknowledgement, or when the peer has taken bytes. */
  wake(): void {
    const link = this.link
    if (link === null) return
    if (this.#reader !== null) this.#reader.pump(link)
    else if (this.#pending !== null) this.#pumpPending(link, this.#pending)
  }

  /**
   * Sends a message that has no durable entry for this session: QoS 0, or any QoS to a session without a lane.
   * @param prefix property bytes of this receiver's own (MQTT 5), or null
   * @param loan set when it comes from a shared subscription at QoS 1 or 2
   */
  deliver(publication: Publication, qos: number, retain: boolean, prefix: Buffer | null, loan: Loan | null): void {
    const link = this.link
    if (link === null) return this.drop('offline', 1)
    let message: Publication = publication
    if (link.forward !== null) {
      const replaced = link.forward(publication)
      if (replaced === null) return this.drop('forbidden', 1)
      message = replaced
    }
    const encoded = encodeFor(link, message, prefix, qos > 0)
    if (encoded.end - encoded.start > link.maximumPacketSize) return this.drop('packet_too_large', 1)
    const firstByte = 0x30 | (qos << 1) | (retain ? 1 : 0)
    if (qos === 0) {
      if (!link.out.hasRoom(link.outboundBytesMax)) return this.drop(link.fullCause, 1)
      link.out.publish(aliased(link, message, prefix, encoded) ?? encoded, firstByte, 0)
      if (link.out.waitingBytes >= SLOW_DOWN_BYTES) this.#context.backpressure.full(link)
      this.#context.counters.delivered[0]++
      return
    }
    if ((this.#pending !== null && this.#pending.length > 0) || !this.opens(link, this.#nextSeq)) {
      this.#hold(message, encoded, firstByte, loan)
      return
    }
    this.#loans.lend(this.#nextSeq, loan)
    this.send(link, aliased(link, message, prefix, encoded) ?? encoded, firstByte, this.#nextSeq)
    this.#nextSeq++
  }

  /** Bytes of QoS 0 packets in the client's form, copied as they are. */
  deliverVerbatim(buf: Buffer, start: number, end: number, count: number): void {
    const link = this.link!
    if (!link.out.hasRoom(link.outboundBytesMax)) return this.drop(link.fullCause, count)
    link.out.append(buf, start, end)
    link.out.packets += count
    if (link.out.waitingBytes >= SLOW_DOWN_BYTES) this.#context.backpressure.full(link)
    this.#context.counters.delivered[0] += count
  }

  /** @throws SluiceError protocol_error when the acknowledgement does not fit the exchange */
  puback(packetId: number, reasonCode: number): void {
    const inflight = this.#inflight
    const seq = inflight === null ? -1 : inflight.find(packetId)
    if (seq === -1) return
    if (inflight!.state(seq) !== Exchange.awaitingPuback) throw wrongAck('PUBACK', packetId)
    this.#complete(seq, reasonCode >= 0x80 ? 0 : 1)
  }

  /** PUBREC: the client has the message. A reason code of 0x80 or more ends the exchange [v5 MQTT-4.3.3-4]. */
  pubrec(packetId: number, reasonCode: number): void {
    const inflight = this.#inflight
    const seq = inflight === null ? -1 : inflight.find(packetId)
    const link = this.link
    if (link === null) return
    if (seq === -1) {
      if (reasonCode < 0x80) pubrelUnknown(link, packetId)
      return
    }
    switch (inflight!.state(seq)) {
      case Exchange.awaitingPubrec:
        if (reasonCode >= 0x80) this.#complete(seq, 0)
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
    this.#complete(seq, 2)
  }

  /** True when one more message of QoS 1 or 2 may be sent now. */
  opens(link: Link, seq: number): boolean {
    const inflight = this.#inflight
    if (inflight !== null && (inflight.count >= link.window || !inflight.fits(seq))) return false
    return link.out.hasRoom(link.outboundBytesMax) && link.queues?.has(packetIdOf(seq)) !== true
  }

  /** Whether the Packet Identifier is in use by a message of the session. */
  holds(packetId: number): boolean {
    return this.#inflight !== null && this.#inflight.find(packetId) !== -1
  }

  /** Sends a PUBLISH of QoS 1 or 2 (`opens` was asked); returns its Packet Identifier. */
  send(link: Link, encoded: EncodedPublish, firstByte: number, seq: number): number {
    const packetId = this.begin(firstByte, seq)
    link.out.publish(encoded, firstByte, packetId)
    return packetId
  }

  /** A PUBLISH of QoS 1 or 2 with this first byte is about to be sent; returns its Packet Identifier. */
  begin(firstByte: number, seq: number): number {
    this.#inflight ??= new Inflight(seq)
    const qos = (firstByte >> 1) & 3
    this.#context.counters.delivered[qos as 1 | 2]++
    return this.#inflight.open(seq, qos === 1 ? Exchange.awaitingPuback : Exchange.awaitingPubrec)
  }

  /** The client answered PUBREC on an earlier connection: goes on with PUBREL, once [v5 MQTT-4.4.0-1]. */
  resumeRelease(link: Link, seq: number): void {
    this.#inflight ??= new Inflight(seq)
    if (this.#inflight.find(packetIdOf(seq)) === seq) return
    link.out.ack(0x62, this.#inflight.open(seq, Exchange.awaitingPubcomp))
  }

  drop(cause: DropCause, count: number): void {
    this.#context.dropped(this.#session, cause, count)
  }

  #release(seq: number): void {
    const inflight = this.#inflight!
    const packetId = packetIdOf(seq)
    this.#loans.repay(seq)
    const released = (): void => {
      inflight.move(seq, Exchange.awaitingPubcomp)
      this.link?.out.ack(0x62, packetId)
    }
    if (this.#lane === null) return released()
    inflight.move(seq, Exchange.releasing)
    const stands = (): boolean => this.#inflight === inflight && inflight.find(packetId) === seq
    releaseDurably(this.#context, this.#lane, seq, stands, released)
  }

  #complete(seq: number, acknowledgedQos: 0 | 1 | 2): void {
    this.#inflight!.close(seq)
    this.#loans.repay(seq)
    if (acknowledgedQos !== 0) this.link?.acks?.acknowledged(packetIdOf(seq), acknowledgedQos)
    if (this.#lane !== null) {
      this.#context.store.settle(this.#lane, seq)
      this.#context.commits.scheduleLazily()
    }
    this.wake()
  }

  #pumpPending(link: Link, pending: Pending): void {
    while (pending.length > 0 && this.opens(link, this.#nextSeq)) {
      const waiting = pending.shift()!
      if (!countDown(waiting, this.#context.now())) {
        this.#refuse('expired', waiting.loan)
        continue
      }
      this.#loans.lend(this.#nextSeq, waiting.loan)
      this.send(link, waiting, waiting.firstByte, this.#nextSeq)
      this.#nextSeq++
    }
  }

  #refuse(cause: DropCause, loan: Loan | null): void {
    this.drop(cause, 1)
    loan?.done?.()
  }

  #hold(message: Publication, encoded: EncodedPublish, firstByte: number, loan: Loan | null): void {
    this.#pending ??= new Pending(this.#context.memory)
    const pending = this.#pending
    if (!this.#session.makesRoom()) this.#refuse('session_full', loan)
    else pending.push(message, encoded, firstByte, this.link!.version5, this.#context.now(), loan)
    if (pending.bytes >= SLOW_DOWN_BYTES) this.#context.backpressure.full(this.link!)
  }
}
