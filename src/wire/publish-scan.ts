import { SluiceError } from '../errors.ts'
import { malformed, protocolError } from './malformed.ts'
import { checkUtf8, stringEnd } from './utf8.ts'

/**
 * What the router wants to know about the properties of one PUBLISH, as numbers and offsets into the buffer that was scanned. One instance
 * is made per connection and filled again for every packet.
 */
export class PublishScan {
  /** Payload Format Indicator; -1: absent. */
  payloadFormat = -1
  /** Message Expiry Interval; -1: absent. */
  messageExpirySeconds = -1
  /** Offset of the four bytes of the Message Expiry Interval, so that they can be counted down in place; -1: absent. */
  messageExpiryOffset = -1
  /** Topic Alias; 0: absent. */
  topicAlias = 0
  /** The whole Topic Alias property, identifier included, so that it can be cut out; -1: absent. */
  topicAliasStart = -1
  topicAliasEnd = -1
  /** The bytes of the Response Topic, without its length; -1: absent. */
  responseTopicStart = -1
  responseTopicEnd = -1
  /** The bytes of the Correlation Data, without its length; -1: absent. */
  correlationDataStart = -1
  correlationDataEnd = -1
  /** The bytes of the Content Type, without its length; -1: absent. */
  contentTypeStart = -1
  contentTypeEnd = -1
  /** How many User Properties there are. */
  userPropertyCount = 0

  /** Back to a PUBLISH without properties. */
  reset(): void {
    this.payloadFormat = -1
    this.messageExpirySeconds = -1
    this.messageExpiryOffset = -1
    this.topicAlias = 0
    this.topicAliasStart = -1
    this.topicAliasEnd = -1
    this.responseTopicStart = -1
    this.responseTopicEnd = -1
    this.correlationDataStart = -1
    this.correlationDataEnd = -1
    this.contentTypeStart = -1
    this.contentTypeEnd = -1
    this.userPropertyCount = 0
  }
}

/**
 * Checks the properties of a PUBLISH that a client sent, and notes in `out` what and where they are. Makes no object and no string.
 *
 * A property is read before it is judged: cut short and given twice at once is malformed.
 *
 * @param start first byte after the Property Length
 * @param end one after the last property: where the payload begins
 * @throws SluiceError malformed_packet, protocol_error or topic_alias_invalid, as `decodeProperties` does; also protocol_error for a
 *   Subscription Identifier, which only the server may send [v5 MQTT-3.3.4-6]
 */
export function scanPublishProperties(buf: Buffer, start: number, end: number, out: PublishScan): void {
  out.reset()
  let pos = start
  let at = start
  while (pos < end) {
    const id = buf[pos]!
    switch (id) {
      case 0x01:
        pos = need(pos, 2, end, 'payloadFormatIndicator')
        if (out.payloadFormat !== -1) throw twice('payloadFormatIndicator')
        if (buf[pos - 1]! > 1) throw protocolError('PUBLISH: payloadFormatIndicator is not 0 or 1')
        out.payloadFormat = buf[pos - 1]!
        break
      case 0x02:
        pos = need(pos, 5, end, 'messageExpiryInterval')
        if (out.messageExpiryOffset !== -1) throw twice('messageExpiryInterval')
        out.messageExpiryOffset = pos - 4
        out.messageExpirySeconds = buf.readUInt32BE(pos - 4)
        break
      case 0x03:
        at = pos + 3
        pos = textEnd(buf, pos + 1, end, 'contentType')
        if (out.contentTypeStart !== -1) throw twice('contentType')
        out.contentTypeStart = at
        out.contentTypeEnd = pos
        break
      case 0x08:
        at = pos + 3
        pos = textEnd(buf, pos + 1, end, 'responseTopic')
        checkResponseTopic(buf, at, pos)
        if (out.responseTopicStart !== -1) throw twice('responseTopic')
        out.responseTopicStart = at
        out.responseTopicEnd = pos
        break
      case 0x09:
        at = pos + 3
        pos = fieldEnd(buf, pos + 1, end, 'correlationData')
        if (out.correlationDataStart !== -1) throw twice('correlationData')
        out.correlationDataStart = at
        out.correlationDataEnd = pos
        break
      case 0x23:
        at = pos
        pos = need(pos, 3, end, 'topicAlias')
        if (buf[pos - 2] === 0 && buf[pos - 1] === 0) throw aliasZero()
        if (out.topicAlias !== 0) throw twice('topicAlias')
        out.topicAlias = buf.readUInt16BE(pos - 2)
        out.topicAliasStart = at
        out.topicAliasEnd = pos
        break
      case 0x26:
        pos = textEnd(buf, pos + 1, end, 'user property name')
        pos = textEnd(buf, pos, end, 'user property value')
        out.userPropertyCount++
        break
      case 0x0b:
        throw protocolError('PUBLISH: only the server may send a Subscription Identifier')
      default:
        throw malformed(`PUBLISH: property 0x${id.toString(16)} is not allowed here`)
    }
  }
}

function need(pos: number, length: number, last: number, what: string): number {
  if (pos + length > last) throw malformed(`PUBLISH: ${what} is cut short`)
  return pos + length
}

/** End of the two-byte length at `pos` and what it announces. */
function fieldEnd(buf: Buffer, pos: number, last: number, what: string): number {
  if (pos + 2 > last || stringEnd(buf, pos) > last) throw malformed(`PUBLISH: ${what} is cut short`)
  return stringEnd(buf, pos)
}

function textEnd(buf: Buffer, pos: number, last: number, what: string): number {
  const end = fieldEnd(buf, pos, last, what)
  if (!checkUtf8(buf, pos + 2, end)) throw malformed(`PUBLISH: ${what} is not a valid UTF-8 string`)
  return end
}

/** [v5 MQTT-3.3.2-14] */
function checkResponseTopic(buf: Buffer, start: number, end: number): void {
  if (start === end) throw protocolError('PUBLISH: responseTopic is empty')
  for (let pos = start; pos < end; pos++) {
    if (buf[pos] === 0x2b || buf[pos] === 0x23) throw protocolError('PUBLISH: responseTopic contains a wildcard')
  }
}

function aliasZero(): SluiceError {
  return new SluiceError('topic_alias_invalid', 'PUBLISH: topicAlias is 0')
}

function twice(what: string): SluiceError {
  return protocolError(`PUBLISH: ${what} is given twice`)
}
