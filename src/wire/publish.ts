import { SluiceError } from '../errors.ts'
import { PublishScan, scanPublishProperties } from './properties.ts'
import type { PropertyMemory } from './property-memory.ts'
import { readVarint, varintBytes } from './varint.ts'

const EMPTY = Buffer.alloc(0)
const scan = new PublishScan()

/**
 * A PUBLISH packet as ranges of bytes, without one object or string per message ([v5 3.3] [v3 3.3]).
 * The instance is reused: `parse` overwrites all of it.
 */
export class PublishFrame {
  /** The packet as it came. `start..end` covers the fixed header too. */
  buf: Buffer = EMPTY
  start = 0
  end = 0
  /** Whether `buf` is in the form of MQTT 5 (with properties). */
  version5 = false
  qos: 0 | 1 | 2 = 0
  retain = false
  dup = false
  /** 0 for QoS 0. */
  packetId = 0
  /** Where the Packet Identifier of the packet as it came lies, counted from `start`; 0 for QoS 0. */
  packetIdOffset = 0
  /** The Topic Name; in another buffer than `buf` when a Topic Alias stood for it. */
  topicBuf: Buffer = EMPTY
  topicStart = 0
  topicEnd = 0
  /** Property bytes to forward, without their length and without Topic Alias. */
  propsBuf: Buffer = EMPTY
  propsStart = 0
  propsEnd = 0
  payloadStart = 0
  payloadEnd = 0
  /** Seconds; -1: none. */
  expirySeconds = -1
  /** Where the expiry interval's four bytes lie, counted from propsStart; -1: none. */
  expiryOffset = -1
  /** 0: none. */
  topicAlias = 0
  /** Payload Format Indicator; -1: none. */
  payloadFormat = -1

  get topic(): string {
    return this.topicBuf.toString('utf8', this.topicStart, this.topicEnd)
  }

  get payload(): Buffer {
    return this.buf.subarray(this.payloadStart, this.payloadEnd)
  }

  /**
   * Reads the packet. The Topic Name's characters are not checked here: the connection remembers its last topics and
   * checks a new one once.
   * @param memory the properties of earlier packets of the connection, when it keeps them
   * @throws SluiceError malformed_packet, protocol_error
   */
  parse(
    buf: Buffer,
    start: number,
    bodyStart: number,
    end: number,
    version5: boolean,
    memory?: PropertyMemory | null,
  ): void {
    const first = buf[start]!
    const qos = (first >> 1) & 3
    if (qos === 3) throw new SluiceError('malformed_packet', 'PUBLISH with QoS 3 [v5 MQTT-3.3.1-4]')
    const dup = (first & 8) !== 0
    if (dup && qos === 0) throw new SluiceError('malformed_packet', 'PUBLISH with DUP and QoS 0 [v5 MQTT-3.3.1-2]')
    if (bodyStart + 2 > end) throw new SluiceError('malformed_packet', 'PUBLISH ends before its Topic Name')
    const topicStart = bodyStart + 2
    const topicEnd = topicStart + ((buf[bodyStart]! << 8) | buf[bodyStart + 1]!)
    let at = topicEnd
    let packetId = 0
    if (qos > 0) {
      at += 2
      if (at > end) throw new SluiceError('malformed_packet', 'PUBLISH ends before its Packet Identifier')
      packetId = (buf[topicEnd]! << 8) | buf[topicEnd + 1]!
      if (packetId === 0) throw new SluiceError('malformed_packet', 'Packet Identifier 0 [v5 MQTT-2.2.1-3]')
    }
    if (at > end) throw new SluiceError('malformed_packet', 'PUBLISH ends inside its Topic Name')
    this.buf = buf
    this.start = start
    this.end = end
    this.version5 = version5
    this.qos = qos as 0 | 1 | 2
    this.retain = (first & 1) !== 0
    this.dup = dup
    this.packetId = packetId
    this.packetIdOffset = qos === 0 ? 0 : topicEnd - start
    this.topicBuf = buf
    this.topicStart = topicStart
    this.topicEnd = topicEnd
    this.expirySeconds = -1
    this.expiryOffset = -1
    this.topicAlias = 0
    this.payloadFormat = -1
    this.propsBuf = buf
    this.propsStart = at
    this.propsEnd = at
    if (version5) at = this.#parseProperties(buf, at, end, memory)
    this.payloadStart = at
    this.payloadEnd = end
  }

  #parseProperties(buf: Buffer, from: number, end: number, memory: PropertyMemory | null | undefined): number {
    if (from >= end) throw new SluiceError('malformed_packet', 'PUBLISH ends before its properties')
    if (buf[from] === 0) {
      this.propsStart = from + 1
      this.propsEnd = from + 1
      return from + 1
    }
    const known = memory?.find(buf, from, end)
    if (known) {
      this.propsStart = from + 1
      this.propsEnd = from + known.bytes.length
      this.expirySeconds = known.expirySeconds
      this.expiryOffset = known.expiryOffset
      this.payloadFormat = known.payloadFormat
      return this.propsEnd
    }
    const length = readVarint(buf, from, end)
    const propsStart = from + varintBytes(length)
    const propsEnd = propsStart + length
    if (propsEnd > end) throw new SluiceError('malformed_packet', 'PUBLISH ends inside its properties')
    this.propsStart = propsStart
    this.propsEnd = propsEnd
    scanPublishProperties(buf, propsStart, propsEnd, scan)
    this.expirySeconds = scan.messageExpirySeconds
    this.payloadFormat = scan.payloadFormat
    if (scan.messageExpirySeconds >= 0) this.expiryOffset = scan.messageExpiryOffset - propsStart
    if (scan.topicAlias > 0) this.#cutTopicAlias(buf, propsStart, propsEnd)
    else memory?.learn(this)
    return propsEnd
  }

  /** A Topic Alias is the publisher's own: it is never forwarded [v5 MQTT-3.3.2-10]. */
  #cutTopicAlias(buf: Buffer, propsStart: number, propsEnd: number): void {
    this.topicAlias = scan.topicAlias
    const cutStart = scan.topicAliasStart
    const cutEnd = scan.topicAliasEnd
    this.propsBuf = Buffer.concat([buf.subarray(propsStart, cutStart), buf.subarray(cutEnd, propsEnd)])
    if (this.expiryOffset >= 0 && propsStart + this.expiryOffset > cutStart) this.expiryOffset -= cutEnd - cutStart
    this.propsStart = 0
    this.propsEnd = this.propsBuf.length
  }
}
