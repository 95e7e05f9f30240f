/** One network connection. Size: its states, and a face for each room that deals with it. */
import type { Limits } from '../config/schema.ts'
import { type ErrorCode, SluiceError } from '../errors.ts'
import type { AckReceiver } from '../router/commits.ts'
import type { Publication } from '../router/publication.ts'
import type { Publisher } from '../router/router.ts'
import type { AckListener, Link } from '../session/link.ts'
import type { Session } from '../session/session.ts'
import type { ByteStream, StreamHandler } from '../transport.ts'
import { checkFixedHeaderFlags, PacketType } from '../wire/control.ts'
import type { Properties } from '../wire/properties.ts'
import type { ProtocolVersion } from '../wire/versions.ts'
import type { Core } from './core.ts'
import { dispatch, dispatchUnconnected } from './dispatch.ts'
import type { EnhancedAuth } from './enhanced-auth.ts'
import type { FairShare } from './fair-share.ts'
import { announceEnd, disconnect, fail, notCommitted, publishWill, refuse, refusedBefore } from './goodbye.ts'
import { flushRun, handlePublish, NO_RUN, type Run } from './handlers/publish.ts'
import { Intake, type PacketSink } from './intake.ts'
import { Outbound, type OutboundOwner } from './outbound.ts'
import type { QueueMembers } from './queue-members.ts'
import { announceSlowReader, cutSlowReader } from './slow-reader.ts'
import { Throttle } from './throttle.ts'
import type { OutboundAliases } from './topic-alias.ts'
import type { TopicMemory } from './topic-memory.ts'
import type { Stalled, Watched } from './watch.ts'
import type { WideCopies } from './wide-copies.ts'

const PUBACK = 0x40
const PUBREC = 0x50

/**
 * One network connection, from accept to close.
 *
 *     accepted ──CONNECT──▶ connecting ──CONNACK──▶ connected ──DISCONNECT, error, takeover, end of stream──▶ closed
 *        └────────────────────┴── refused, timeout ─────────────────────────────────────────────────────────▶ closed
 *
 * Packets are handled one after the other: while a hook decides about one (`hold`), nothing after it is looked at
 * and the stream is not read.
 */
export type ConnectionState = 'accepted' | 'connecting' | 'connected' | 'closed'

export class Connection
  implements StreamHandler, PacketSink, OutboundOwner, AckReceiver, Link, Publisher, Watched, Stalled
{
  readonly core: Core
  readonly stream: ByteStream
  readonly out: Outbound
  readonly #intake: Intake
  #state: ConnectionState = 'accepted'
  version: ProtocolVersion = 4
  version5 = false
  clientId = ''
  /** CONNECT was acceptable, and the client has an identifier; whether it may connect is another question. */
  introduced = false
  userName: string | undefined
  keepAliveSeconds = 0
  clean = true
  /** It connected as a bridge: it gets nothing it sent itself, and RETAIN as it was published. */
  bridge = false
  #session: Session | null = null
  /** The Aedes client of this connection, once something asked for it. */
  client: object | null = null
  /** Why it is closing; the first reason counts. */
  closeReason = ''
  closeError: ErrorCode | null = null
  window: number
  maximumPacketSize = Number.POSITIVE_INFINITY
  /** In force for it: at first those of its listener, then those of its user too. */
  limits: Limits
  /** Null: it may publish as fast as it likes. */
  throttle: Throttle | null = null
  /** User name under which it is counted; null: none. */
  countedUser: string | null = null
  forward: ((publication: Publication) => Publication | null) | null = null
  acks: AckListener | null = null
  aliases: OutboundAliases | null = null
  /** QoS 1 and 2 PUBLISH packets taken whose acknowledgement waits for the disk. */
  unacknowledged = 0
  /** QoS 1 PUBLISH packets among them: with the session's `inbound`, what counts against our Receive Maximum. */
  openQos1 = 0
  /** Set when CONNECT names an Authentication Method. */
  enhancedAuth: EnhancedAuth | null = null
  /** Somebody checked who the client is; a User Name alone is only a claim. */
  authenticated = false
  /** Its will is kept and not yet settled. */
  hasWill = false
  /** Topics the client gave a Topic Alias, by alias. */
  topicAliases: Map<number, Buffer> | null = null
  /** Null until the first PUBLISH. */
  topics: TopicMemory | null = null
  run: Run = NO_RUN
  /** Null until the first PUBLISH. */
  fairShare: FairShare | null = null
  /** Runs of QoS 0 packets on their way to thousands of receivers; null: none so far. */
  wide: WideCopies | null = null
  /** Null until it subscribes to a work queue. */
  queues: QueueMembers | null = null
  /** The client wants reason strings and user properties [v5 MQTT-3.1.2-29]. */
  problemInformation = true
  /** Wall clock, ms since 1970, of its CONNACK; 0 before. */
  connectedAt = 0
  lastTick = 0
  silenceTicks = 0
  dueTick = 0
  #slowAnnounced = false

  constructor(core: Core, stream: ByteStream) {
    const limits = core.limitsBook.of(stream.peer.protocol, undefined)
    this.limits = limits
    this.core = core
    this.stream = stream
    this.out = new Outbound(stream, core.flusher, core.counters, core.memory, this)
    this.#intake = new Intake(stream, limits.packetBytesMax, core.memory, this)
    this.window = limits.inflightMax
    core.counters.connectionsOpened++
    core.unconnected.add(this)
    core.watch.add(this, limits.connectTimeoutMs)
    stream.setHandler(this)
    if (!core.gate.opened(this)) this.refuse(0x97, `limits.connectionsMax is exceeded`, 'server_unavailable')
  }

  get state(): ConnectionState {
    return this.#state
  }
  get session(): Session | null {
    return this.#session
  }
  get origin(): Session['origin'] {
    return this.#session!.origin
  }
  get takenBytes(): number {
    return this.out.takenBytes
  }
  /** From memory level 1 on, less than its limit. */
  get outboundBytesMax(): number {
    const { memory } = this.core
    return memory.level === 0
      ? this.limits.outboundBytesMax
      : Math.min(memory.slowReaderBytesMax, this.limits.outboundBytesMax)
  }
  get fullCause(): 'memory' | 'outbound_full' {
    return this.core.memory.level > 0 && this.out.waitingBytes < this.limits.outboundBytesMax
      ? 'memory'
      : 'outbound_full'
  }
  /** Bytes of a packet that has not come to its end. */
  get unfinishedBytes(): number {
    return this.#intake.unfinishedBytes
  }
  unsentBytes(): number {
    return this.out.unsentBytes()
  }

  /** Takes up the limits that are in force for its user. */
  limitTo(limits: Limits): void {
    this.limits = limits
    this.#intake.packetBytesMax = limits.packetBytesMax
    this.throttle = Throttle.of(this, limits, this.core.backpressure, this.core.clock)
  }

  connecting(): void {
    this.#state = 'connecting'
    this.core.watch.remove(this)
  }

  /** The session is this connection's; packets other than CONNECT are welcome from now on. */
  connected(session: Session): void {
    this.#state = 'connected'
    this.core.unconnected.delete(this)
    this.#session = session
    this.connectedAt = this.core.clock.now()
    if (this.keepAliveSeconds > 0) this.core.watch.add(this, this.keepAliveSeconds * 1500)
  }

  data(bytes: Buffer): void {
    // Before CONNECT is whole the time runs on: a byte now and then must not hold the connection for ever.
    if (this.#state === 'connected') this.lastTick = this.core.watch.tick
    this.core.counters.bytesReceived += bytes.length
    this.#intake.data(bytes)
    if (this.run.count > 0) flushRun(this)
  }

  /** What came before the packet that is wrong still counts. */
  failed(error: unknown): void {
    if (this.run.count > 0) flushRun(this)
    this.fail(error)
  }

  frame(buf: Buffer, start: number, bodyStart: number, end: number): boolean {
    const first = buf[start]!
    const type = first >> 4
    if (type === PacketType.PUBLISH && this.#state === 'connected') {
      handlePublish(this, buf, start, bodyStart, end)
    } else {
      if (this.run.count > 0) flushRun(this)
      this.#control(type, first & 15, buf, bodyStart, end)
    }
    return this.#intake.open
  }

  forget(): void {
    if (this.run.count > 0) flushRun(this)
  }

  #control(type: number, flags: number, buf: Buffer, start: number, end: number): void {
    this.core.counters.packetsReceived++
    if (this.#state === 'connected') {
      checkFixedHeaderFlags(type, flags, this.version)
      dispatch(this, type, buf, start, end)
    } else {
      dispatchUnconnected(this, type, flags, buf, start, end)
    }
  }

  /** Stops handling packets until `release`: a decision about one of them is pending. Holds nest. */
  hold(): void {
    this.#intake.hold()
  }

  release(): void {
    this.lastTick = this.core.watch.tick
    this.#intake.release()
    if (this.run.count > 0) flushRun(this)
  }

  pausePublishing(): void {
    this.#intake.pause()
  }

  resumePublishing(): void {
    this.lastTick = this.core.watch.tick
    this.#intake.resume()
    if (this.run.count > 0) flushRun(this)
  }

  drain(): void {
    this.out.drained()
    this.core.backpressure.drained(this)
    this.#slowAnnounced = false
    this.#session?.delivery.wake()
    this.queues?.pump()
  }

  committed(firstByte: number, packetId: number): void {
    this.unacknowledged--
    if (firstByte > 255) return refusedBefore(this, firstByte, packetId)
    if (firstByte === PUBACK) this.openQos1--
    else if (firstByte === PUBREC) {
      this.#session?.inboundUnderWay?.delete(packetId)
      if (this.#session?.inbound?.has(packetId) !== true) {
        // A retransmission whose first packet was still on its way to the disk, and did not get there.
        notCommitted(this, firstByte, packetId, new SluiceError('store_unavailable', 'the message was not stored'))
        return
      }
    }
    this.out.ack(firstByte, packetId)
  }

  notCommitted(firstByte: number, packetId: number, error: unknown): void {
    this.unacknowledged--
    if (firstByte > 255) return refusedBefore(this, firstByte, packetId)
    if (firstByte === PUBACK) this.openQos1--
    notCommitted(this, firstByte, packetId, error)
  }

  takenOver(): void {
    this.core.events.emit('sessionTakenOver', { clientId: this.clientId, address: this.stream.peer.address })
    this.disconnect(0x8e, 'another connection took the session over', 'session_taken_over')
  }

  silent(): void {
    if (this.#state === 'connected' && !this.#intake.open) {
      // We do not read it: the silence is ours.
      this.core.watch.add(this, this.keepAliveSeconds * 1500)
    } else if (this.#state === 'connected') {
      this.core.hooks.keepAliveTimeout(this)
      this.fail(new SluiceError('keep_alive_timeout', 'keep alive timeout'))
    } else {
      this.fail(new SluiceError('connect_timeout', 'connect did not arrive in time'))
    }
  }

  frozen(): void {
    cutSlowReader(this, 'drain timeout')
  }

  stalls(waiting: boolean): void {
    if (this.state === 'closed') return
    if (waiting) this.core.watch.stalled(this)
    else this.core.watch.unstalled(this)
    if (waiting && !this.#slowAnnounced && this.out.waitingBytes >= this.outboundBytesMax) {
      this.#slowAnnounced = true
      announceSlowReader(this, false)
    }
  }

  /** Something went wrong on this connection: says so where the version can, and closes. */
  fail(cause: unknown): void {
    fail(this, cause)
  }

  refuse(reasonCode: number, message: string, code: ErrorCode | null, properties: Properties | null = null): void {
    refuse(this, reasonCode, message, code, properties)
  }

  disconnect(reasonCode: number, message: string, code: ErrorCode | null): void {
    disconnect(this, reasonCode, message, code)
  }

  closed(error: Error | null): void {
    if (error !== null && this.state !== 'closed') this.core.hooks.failed(this, error)
    this.close(error === null ? 'the client closed the connection' : error.message, null, false)
  }

  /** @param gently send what is queued before the stream ends */
  close(reason: string, code: ErrorCode | null, gently: boolean): void {
    if (this.state === 'closed') return
    this.closeReason = reason
    this.closeError = code
    const wasConnected = this.#state === 'connected'
    this.#state = 'closed'
    // Its will comes after what it published.
    this.wide?.finish()
    this.core.watch.remove(this)
    this.core.watch.unstalled(this)
    this.core.backpressure.forget(this)
    this.core.unconnected.delete(this)
    this.core.gate.closed(this)
    this.#intake.close()
    this.enhancedAuth?.close()
    this.queues?.close()
    if (gently) {
      this.out.flush()
      this.stream.end()
      this.stream.resume()
    } else {
      this.stream.destroy()
    }
    this.out.close()
    const session = this.#session
    const expirySeconds = session?.expirySeconds ?? 0
    const ends = session !== null && expirySeconds === 0
    const topicFilters = ends ? [...session.subscriptions.values()].map(({ topicFilter }) => topicFilter) : []
    this.core.sessions.released(this)
    if (this.hasWill) {
      if (wasConnected) publishWill(this, expirySeconds)
      else this.core.wills.discard(this.clientId)
    }
    this.core.hooks.closed(this, topicFilters)
    if (session !== null) announceEnd(this)
  }
}
