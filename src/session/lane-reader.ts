import { expires, secondsLeft } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import type { Chunk, Lane } from '../store.ts'
import type { DropCause } from '../telemetry/events.ts'
import { publishBytes } from '../wire/publish-writer.ts'
import { Backlog } from './backlog.ts'
import type { Delivery } from './delivery.ts'
import { aliased, encodeFor } from './encoding.ts'
import type { Link } from './link.ts'
import { type SessionContext, TAG_QOS, TAG_RETAIN } from './session.ts'

/** A persistent session stops sending when its connection has this much unsent, in bytes. */
const UNSENT_MAX = 256 * 1024

/** Messages read from lanes go through one publication: what is loaded is sent before the next. */
const loaded = new Publication()

/** Sends a persistent session's messages from its lane: the backlog first, then what is committed, in one order. */
export class LaneReader {
  readonly #context: SessionContext
  readonly #delivery: Delivery
  readonly #lane: Lane
  readonly #backlog: Backlog
  /** Entries below this may have been sent on an earlier connection. */
  #maybeSentBefore: number
  /** Entries below this that were not sent have been given up. */
  #givenUpBefore = 0
  /** Raised with every connection, so that what an older one waited for is recognised. */
  #connections = 0
  /** It is not known yet which messages of an earlier connection are to be released. */
  #waitsForMarks = false

  constructor(context: SessionContext, delivery: Delivery, lane: Lane, maybeSentBefore: number) {
    this.#context = context
    this.#delivery = delivery
    this.#lane = lane
    this.#maybeSentBefore = maybeSentBefore
    const ready = (): void => delivery.wake()
    this.#backlog = new Backlog(context.store, lane, ready, (again) => context.commits.later(again))
  }

  /** A connection serves the session: what was sent before and not acknowledged comes first. */
  rewind(): void {
    this.#backlog.rewind()
    const connection = ++this.#connections
    this.#waitsForMarks = this.#maybeSentBefore > 1
    if (!this.#waitsForMarks) return
    // PUBREL waits for no window, so those of the last connection do not stand in line with PUBLISH [v5 MQTT-3.3.4-10].
    const read = (): void => void this.#context.store.marks(this.#lane).then(go, again)
    // Without them a message that was released would be sent once more.
    const again = (): void => {
      if (connection === this.#connections) this.#context.commits.later(read)
    }
    const go = (marks: readonly { seq: number }[]): void => {
      const link = this.#delivery.link
      if (connection !== this.#connections || link === null) return
      this.#waitsForMarks = false
      for (const { seq } of marks) this.#delivery.resumeRelease(link, seq)
      this.#delivery.wake()
    }
    read()
  }

  /** @param next one past the newest entry sent on this connection, or 0 */
  release(next: number): number {
    this.#maybeSentBefore = Math.max(this.#maybeSentBefore, next)
    this.#backlog.release()
    return this.#maybeSentBefore
  }

  /**
   * Settles the oldest entry that was not sent: entries are sent in order, so those behind the newest sent one wait without
   * a gap, but for those given up before.
   * @param next one past the newest entry sent on this connection, or 0
   */
  dropOldest(next: number): boolean {
    const lane = this.#lane
    const { waiting } = lane
    let seq = Math.max(next, this.#maybeSentBefore, this.#givenUpBefore, lane.nextSeq - waiting)
    while (seq < lane.nextSeq && lane.waiting === waiting) this.#context.store.settle(lane, seq++)
    this.#givenUpBefore = seq
    if (lane.waiting === waiting) return false
    this.#context.commits.scheduleLazily()
    return true
  }

  committed(chunk: Chunk): void {
    this.#backlog.committed(chunk)
  }

  pump(link: Link): void {
    if (this.#waitsForMarks) return
    const backlog = this.#backlog
    while (
      link.out.waitingBytes < Math.min(UNSENT_MAX, link.outboundBytesMax) &&
      this.#delivery.inflightCount < link.window &&
      backlog.peek()
    ) {
      const seq = backlog.seq
      if (backlog.marked) {
        this.#delivery.resumeRelease(link, seq)
      } else {
        if (!this.#delivery.opens(link, seq)) return
        this.#send(link, seq)
      }
      backlog.next()
    }
  }

  #send(link: Link, seq: number): void {
    const { message: stored, tag, extra } = this.#backlog
    // The clock is asked when somebody wants to know.
    const now = expires(stored) ? this.#context.now() : 0
    const sentBefore = seq < this.#maybeSentBefore
    const qos = tag & TAG_QOS
    // The exchange of a QoS 2 message that was begun goes on [v5 MQTT-4.3.3-7].
    if (secondsLeft(stored, now) <= 0 && !(sentBefore && qos === 2)) {
      this.#discard(seq, 'expired')
      return
    }
    loaded.load(stored, now)
    let message: Publication = loaded
    if (link.forward !== null) {
      const replaced = link.forward(loaded)
      if (replaced === null) {
        this.#discard(seq, 'forbidden')
        return
      }
      message = replaced
    }
    const { version5 } = link
    const prefix = version5 ? extra : null
    if (publishBytes(message, version5, true, prefix, true) > link.maximumPacketSize) {
      // [v5 MQTT-3.1.2-25]: act as if the delivery were complete.
      this.#discard(seq, 'packet_too_large')
      return
    }
    // [v5 MQTT-3.3.1-1]
    const dup = sentBefore ? 8 : 0
    const firstByte = 0x30 | dup | (qos << 1) | ((tag & TAG_RETAIN) !== 0 ? 1 : 0)
    const packetId = this.#delivery.begin(firstByte, seq)
    if (link.aliases === null) link.out.encode(message, version5, prefix, firstByte, packetId)
    else {
      const plain = encodeFor(link, message, prefix, true)
      link.out.publish(aliased(link, message, prefix, plain) ?? plain, firstByte, packetId)
    }
    link.acks?.sent(packetId, stored)
  }

  #discard(seq: number, cause: DropCause): void {
    this.#context.store.settle(this.#lane, seq)
    this.#context.commits.scheduleLazily()
    this.#delivery.drop(cause, 1)
  }
}
