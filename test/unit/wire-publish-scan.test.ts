import { describe, expect, it } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import { PublishScan, scanPublishProperties } from '../../src/wire/properties.ts'

const u16 = (n: number) => Buffer.from([n >> 8, n & 255])
const text = (s: string | Buffer) => Buffer.concat([u16(Buffer.byteLength(s)), Buffer.from(s)])
const property = (id: number, ...values: Buffer[]) => Buffer.concat([Buffer.from([id]), ...values])

const format = property(0x01, Buffer.from([1]))
const expiry = property(0x02, Buffer.from([0xff, 0xff, 0xff, 0xfe]))
const contentType = property(0x03, text('a/b'))
const responseTopic = property(0x08, text('r/é'))
const correlation = property(0x09, text(Buffer.from([0, 0xff])))
const alias = property(0x23, u16(258))
const user = property(0x26, text('k'), text(''))

/** Scans the properties inside a larger buffer; `at` is where they begin. */
function scan(out: PublishScan, ...properties: Buffer[]) {
  const bytes = Buffer.concat(properties)
  const at = 7
  const buf = Buffer.concat([Buffer.alloc(at, 0xff), bytes, Buffer.alloc(9, 0x01)])
  scanPublishProperties(buf, at, at + bytes.length, out)
  return { buf, at }
}

function refusal(...properties: Buffer[]): string | undefined {
  try {
    scan(new PublishScan(), ...properties)
    return undefined
  } catch (error) {
    if (error instanceof SluiceError) return error.code
    throw error
  }
}

describe('scanPublishProperties', () => {
  it('without properties everything is absent', () => {
    const out = new PublishScan()
    scan(out)
    expect(out).toEqual(new PublishScan())
    expect({ ...out }).toMatchObject({
      payloadFormat: -1,
      messageExpirySeconds: -1,
      topicAlias: 0,
      userPropertyCount: 0,
    })
  })

  it('notes values and offsets of every property, in any order [v5 3.3.2.3]', () => {
    const all = { format, expiry, contentType, responseTopic, correlation, alias, user }
    const order = Object.values(all)
    for (let turn = 0; turn < order.length; turn++) {
      order.push(order.shift()!)
      const out = new PublishScan()
      const { buf } = scan(out, ...order)
      expect(out.payloadFormat).toBe(1)
      expect(out.messageExpirySeconds).toBe(0xfffffffe)
      expect(buf.readUInt32BE(out.messageExpiryOffset)).toBe(0xfffffffe)
      expect(out.topicAlias).toBe(258)
      expect(buf.subarray(out.topicAliasStart, out.topicAliasEnd)).toEqual(alias)
      expect(buf.toString('utf8', out.responseTopicStart, out.responseTopicEnd)).toBe('r/é')
      expect(buf.toString('utf8', out.contentTypeStart, out.contentTypeEnd)).toBe('a/b')
      expect(buf.toString('hex', out.correlationDataStart, out.correlationDataEnd)).toBe('00ff')
      expect(out.userPropertyCount).toBe(1)
    }
  })

  it('cutting out the Topic Alias leaves the other properties', () => {
    const out = new PublishScan()
    const { buf, at } = scan(out, format, alias, user)
    const rest = Buffer.concat([buf.subarray(at, out.topicAliasStart), buf.subarray(out.topicAliasEnd, buf.length - 9)])
    expect(rest).toEqual(Buffer.concat([format, user]))
  })

  it('a second use of the instance forgets the first', () => {
    const out = new PublishScan()
    scan(out, format, expiry, contentType, responseTopic, correlation, alias, user)
    scan(out)
    expect(out).toEqual(new PublishScan())
  })

  it.each([
    ['Payload Format Indicator', format],
    ['Payload Format Indicator 0', property(0x01, Buffer.from([0]))],
    ['Message Expiry Interval', expiry],
    ['Message Expiry Interval 0', property(0x02, Buffer.alloc(4))],
    ['Content Type', contentType],
    ['empty Content Type', property(0x03, text(''))],
    ['Response Topic', responseTopic],
    ['Correlation Data', correlation],
    ['empty Correlation Data', property(0x09, text(''))],
    ['Topic Alias', alias],
  ])('%s once is allowed, twice is a Protocol Error [v5 3.3.2.3]', (_name, one) => {
    expect(refusal(one)).toBeUndefined()
    expect(refusal(one, one)).toBe('protocol_error')
    expect(refusal(one, user, one)).toBe('protocol_error')
  })

  it.each([
    ['Content Type', contentType],
    ['Response Topic', responseTopic],
    ['Correlation Data', correlation],
    ['Topic Alias', alias],
  ])('%s given twice, the second cut short, is malformed', (_name, one) => {
    expect(refusal(one, one.subarray(0, -1))).toBe('malformed_packet')
  })

  it('a second Topic Alias of 0 is an invalid alias', () => {
    expect(refusal(alias, property(0x23, u16(0)))).toBe('topic_alias_invalid')
  })

  it('User Properties may repeat, also with the same name [v5 3.3.2.3.7]', () => {
    const out = new PublishScan()
    scan(out, user, user, format, user)
    expect(out.userPropertyCount).toBe(3)
  })

  it.each([
    ['Payload Format Indicator 2', 'protocol_error', property(0x01, Buffer.from([2]))],
    ['Topic Alias 0 [v5 MQTT-3.3.2-8]', 'topic_alias_invalid', property(0x23, u16(0))],
    ['Response Topic with + [v5 MQTT-3.3.2-14]', 'protocol_error', property(0x08, text('a/+'))],
    ['Response Topic with # [v5 MQTT-3.3.2-14]', 'protocol_error', property(0x08, text('#'))],
    ['empty Response Topic [v5 MQTT-4.7.3-1]', 'protocol_error', property(0x08, text(''))],
    ['Response Topic with U+0000 [v5 MQTT-3.3.2-13]', 'malformed_packet', property(0x08, text('a\0'))],
    [
      'Content Type with a surrogate [v5 MQTT-3.3.2-19]',
      'malformed_packet',
      property(0x03, text(Buffer.from('eda080', 'hex'))),
    ],
    ['User Property name that is not UTF-8', 'malformed_packet', property(0x26, text(Buffer.from([0xff])), text(''))],
    ['User Property value that is not UTF-8', 'malformed_packet', property(0x26, text(''), text(Buffer.from([0xff])))],
    ['Subscription Identifier [v5 MQTT-3.3.4-6]', 'protocol_error', property(0x0b, Buffer.from([1]))],
  ] as [string, string, Buffer][])('refuses %s: %s', (_name, code, bytes) => {
    expect(refusal(bytes)).toBe(code)
    expect(refusal(user, bytes)).toBe(code)
  })

  it('refuses every identifier that is not a property of PUBLISH [v5 2.2.2.2]', () => {
    const known = [0x01, 0x02, 0x03, 0x08, 0x09, 0x0b, 0x23, 0x26]
    for (let id = 0; id < 256; id++) {
      if (known.includes(id)) continue
      expect([id, refusal(property(id, Buffer.alloc(8)))]).toEqual([id, 'malformed_packet'])
    }
  })

  it('refuses every property that is cut short, although bytes follow in the buffer', () => {
    for (const one of [format, expiry, contentType, responseTopic, correlation, alias, user]) {
      for (let length = 1; length < one.length; length++) {
        expect([one[0], length, refusal(one.subarray(0, length))]).toEqual([one[0], length, 'malformed_packet'])
      }
    }
  })
})
