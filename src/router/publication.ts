import type { PropertyMemory } from '../wire/property-memory.ts'
import { PublishFrame } from '../wire/publish.ts'
import { type EncodedPublish, encodePublish } from '../wire/publish-writer.ts'
import { encodeStored, get32, NO_EXPIRY, type Origin, offsets, secondsLeft, storedClientId } from './message.ts'
import type { Publisher } from './router.ts'

/** Properties that were left out of a PUBLISH would make both forms differ; index by form and packet identifier. */
const VARIANTS = 4

/**
 * One message on its way through the router: a PUBLISH packet as it came, or a stored message, with the encodings made
 * for its receivers so far. All receivers that speak the same version at the same kind of QoS share one encoding; when
 * the packet came in that very form, the encoding is the bytes that came.
 */
export class Publication extends PublishFrame implements EncodedPublish {
  /** Who publishes it: set by the router. Null: the stored form says it. */
  publisher: Publisher | null = null
  /** True when the bytes that came can be forwarded as they are. */
  #verbatim = false
  #encoded: (EncodedPublish | null)[] = new Array(VARIANTS).fill(null)
  #encodedAny = false

  override parse(
    buf: Buffer,
    start: number,
    bodyStart: number,
    end: number,
    version5: boolean,
    memory?: PropertyMemory | null,
  ): void {
    super.parse(buf, start, bodyStart, end, version5, memory)
    this.#verbatim = this.topicAlias === 0
    this.#forget()
  }

  /** A copy with bytes of its own, for a message that has to wait. */
  detached(): Publication {
    const copy = new Publication()
    const { start, end, topicBuf, topicStart, topicEnd } = this
    let bodyStart = start + 2
    while (this.buf[bodyStart - 1]! >= 0x80) bodyStart++
    copy.parse(Buffer.from(this.buf.subarray(start, end)), 0, bodyStart - start, end - start, this.version5)
    if (this.topicAlias > 0) copy.setAliasedTopic(Buffer.from(topicBuf.subarray(topicStart, topicEnd)))
    return copy
  }

  /** True when `buf[start..end)` is the whole message as a PUBLISH packet, without a Topic Alias. */
  get isPacket(): boolean {
    return this.#verbatim
  }

  /** Client Identifier of the publisher; empty: the broker. */
  get publisherId(): string {
    if (this.publisher === null) return storedClientId(this.buf)
    return this.publisher.session === null ? this.publisher.origin.clientId : this.publisher.session.clientId
  }

  /** The topic a Topic Alias stands for. */
  setAliasedTopic(topic: Buffer): void {
    this.topicBuf = topic
    this.topicStart = 0
    this.topicEnd = topic.length
  }

  /**
   * Takes a stored message.
   * @param now wall clock in ms, for what is left of the Message Expiry Interval [v5 MQTT-3.3.2-6]
   */
  load(stored: Buffer, now: number): void {
    const { topicStart, propsStart, payloadStart } = offsets(stored)
    this.publisher = null
    this.buf = stored
    this.start = 0
    this.end = stored.length
    this.version5 = true
    this.qos = (stored[1]! & 3) as 0 | 1 | 2
    this.retain = (stored[1]! & 4) !== 0
    this.dup = false
    this.packetId = 0
    this.topicBuf = stored
    this.topicStart = topicStart
    this.topicEnd = propsStart
    this.propsBuf = stored
    this.propsStart = propsStart
    this.propsEnd = payloadStart
    this.payloadStart = payloadStart
    this.payloadEnd = stored.length
    this.topicAlias = 0
    this.payloadFormat = -1
    const expiryOffset = get32(stored, 20)
    if (expiryOffset === NO_EXPIRY) {
      this.expiryOffset = -1
      this.expirySeconds = -1
    } else {
      this.expiryOffset = expiryOffset
      this.expirySeconds = Math.max(0, secondsLeft(stored, now))
    }
    this.#verbatim = false
    this.#forget()
  }

  /** Length of the Topic Name, the properties and the payload. */
  get contentBytes(): number {
    return this.topicEnd - this.topicStart + this.propsEnd - this.propsStart + this.payloadEnd - this.payloadStart
  }

  /** The stored form. */
  store(origin: Origin, time: number): Buffer {
    return encodeStored(
      origin,
      this.qos,
      this.retain,
      time,
      this.expirySeconds < 0 ? NO_EXPIRY : this.expirySeconds,
      this.expiryOffset,
      this.buf,
      this.topicBuf,
      this.topicStart,
      this.topicEnd,
      this.propsBuf,
      this.propsStart,
      this.propsEnd,
      this.payloadStart,
      this.payloadEnd,
    )
  }

  /** The shared encoding for receivers of this version, with or without a Packet Identifier. Valid as long as the message. */
  encoding(version5: boolean, withPacketId: boolean): EncodedPublish {
    if (this.#verbatim && version5 === this.version5 && withPacketId === this.qos > 0) return this
    const variant = (version5 ? 2 : 0) | (withPacketId ? 1 : 0)
    let encoded = this.#encoded[variant]!
    if (encoded === null) {
      encoded = encodePublish(this, version5, withPacketId, null)
      this.#encoded[variant] = encoded
      this.#encodedAny = true
    }
    return encoded
  }

  /** An encoding for one receiver, with property bytes of its own in front (MQTT 5). */
  encodingWith(prefix: Buffer, withPacketId: boolean, withTopic = true): EncodedPublish {
    return encodePublish(this, true, withPacketId, prefix, withTopic)
  }

  #forget(): void {
    if (!this.#encodedAny) return
    this.#encoded.fill(null)
    this.#encodedAny = false
  }
}
