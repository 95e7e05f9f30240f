import { isUtf8 } from 'node:buffer'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeConnect, encodePublish, encodeSubscribe } from '../../src/wire/client-packets.ts'
import { encodeConnack } from '../../src/wire/connack.ts'
import { PacketType } from '../../src/wire/control.ts'
import { decodeProperties, encodeProperties, PublishScan, scanPublishProperties } from '../../src/wire/properties.ts'
import { checkTopicName, isTopicName } from '../../src/wire/topic.ts'
import { checkUtf8, isMqttString } from '../../src/wire/utf8.ts'
import { decodeVarint, readVarint, varintBytes, writeVarint } from '../../src/wire/varint.ts'
import type { ProtocolVersion } from '../../src/wire/versions.ts'
import { decodeBody } from '../conformance/wire/decode.ts'
import { damage, damaged, outcome } from './wire-damage.ts'
import { bytes, connect, properties, publish, subscriptions, text } from './wire-packets.ts'

const versions: ProtocolVersion[] = [3, 4, 5]
const { CONNACK, PUBLISH } = PacketType

describe('hostile bytes', () => {
  const senders = fc.constantFrom('client' as const, 'server' as const)
  const anyVersion = fc.constantFrom(...versions)

  it('random bodies end in a packet or in a SluiceError', () => {
    fc.assert(
      fc.property(
        fc.nat(15),
        fc.nat(15),
        fc.uint8Array({ maxLength: 64 }),
        anyVersion,
        senders,
        (type, flags, body, of, sender) => {
          outcome(() => decodeBody(type, flags, Buffer.from(body), 0, body.length, of, sender))
        },
      ),
      { numRuns: 3000 },
    )
  })

  const encoded = anyVersion.chain((of) =>
    fc
      .oneof(
        connect(of).map((packet) => encodeConnect(packet)),
        publish(of).map((packet) => encodePublish(of, packet)),
        subscriptions(of).map((asked) => encodeSubscribe(of, 1, asked)),
        properties(CONNACK).map((extra) =>
          encodeConnack(of, { sessionPresent: false, reasonCode: 0, properties: extra }),
        ),
      )
      .map((buf) => ({ of, first: buf[0]!, body: buf.subarray(1 + varintBytes(buf.length - 2)) })),
  )

  it('damaged packets end in a packet or in a SluiceError', () => {
    fc.assert(
      fc.property(encoded, damage, senders, ({ of, first, body }, changes, sender) => {
        const buf = damaged(body, changes)
        outcome(() => decodeBody(first >> 4, first & 15, buf, 0, buf.length, of, sender))
      }),
      { numRuns: 1000 },
    )
  })

  it('nothing beyond the end of the body is read', () => {
    fc.assert(
      fc.property(encoded, damage, bytes, ({ of, first, body }, changes, behind) => {
        const buf = damaged(body, changes)
        const longer = Buffer.concat([buf, behind])
        const decode = (from: Buffer) => outcome(() => decodeBody(first >> 4, first & 15, from, 0, buf.length, of))
        expect(decode(longer)).toBe(decode(buf))
      }),
    )
  })
})

describe('two implementations agree', () => {
  it('scanPublishProperties and decodeProperties refuse the same bytes with the same code', () => {
    const sections = properties(PUBLISH, ['subscriptionIdentifiers']).map((extra) => {
      const buf = encodeProperties(extra, PUBLISH)
      return buf.subarray(varintBytes(readVarint(buf, 0, buf.length)))
    })
    fc.assert(
      fc.property(sections, damage, (section, changes) => {
        const raw = damaged(section, changes)
        // Only the scan knows that the packet comes from a client.
        fc.pre(!raw.includes(0x0b))
        const head = Buffer.alloc(varintBytes(raw.length))
        writeVarint(head, 0, raw.length)
        const whole = Buffer.concat([head, raw])
        const out = new PublishScan()
        const scanned = outcome(() => scanPublishProperties(raw, 0, raw.length, out))
        expect(scanned).toBe(outcome(() => decodeProperties(whole, 0, whole.length, PUBLISH)))
        if (scanned !== 'ok') return
        const found = decodeProperties(whole, 0, whole.length, PUBLISH).properties
        expect(out.payloadFormat).toBe(found.payloadFormatIndicator ?? -1)
        expect(out.messageExpirySeconds).toBe(found.messageExpiryInterval ?? -1)
        expect(out.topicAlias).toBe(found.topicAlias ?? 0)
        expect(out.userPropertyCount).toBe(found.userProperties?.length ?? 0)
        const slice = (start: number, end: number) => (start < 0 ? undefined : raw.toString('utf8', start, end))
        expect(slice(out.responseTopicStart, out.responseTopicEnd)).toBe(found.responseTopic)
        expect(slice(out.contentTypeStart, out.contentTypeEnd)).toBe(found.contentType)
        expect(slice(out.correlationDataStart, out.correlationDataEnd)).toBe(found.correlationData?.toString('utf8'))
      }),
      { numRuns: 1000 },
    )
  })

  it('checkUtf8 and Node', () => {
    const chunk = fc.oneof(
      text.map((one) => Buffer.from(one)),
      fc.uint8Array({ maxLength: 3 }).map((one) => Buffer.from(one)),
      fc
        .constantFrom('eda080', 'edbfbf', 'f0908080', 'f48fbfbf', 'f4908080', 'e0a080', 'c280')
        .map((hex) => Buffer.from(hex, 'hex')),
    )
    fc.assert(
      fc.property(fc.array(chunk, { maxLength: 4 }), (parts) => {
        const buf = Buffer.concat(parts)
        expect(checkUtf8(buf, 0, buf.length)).toBe(isUtf8(buf) && !buf.includes(0))
      }),
      { numRuns: 2000 },
    )
  })

  it('isMqttString and the bytes of the string', () => {
    fc.assert(
      fc.property(
        fc.string({ unit: fc.integer({ min: 0, max: 0xffff }).map((n) => String.fromCharCode(n)) }),
        (one) => {
          const roundTrip = Buffer.from(one).toString() === one
          expect(isMqttString(one)).toBe(roundTrip && !one.includes('\0'))
        },
      ),
    )
  })

  it('checkTopicName and isTopicName', () => {
    const near = fc.array(fc.constantFrom('a', '/', '+', '#', '\0', 'é', '😀', '$')).map((parts) => parts.join(''))
    fc.assert(
      fc.property(near, (one) => {
        const buf = Buffer.from(one)
        expect(outcome(() => checkTopicName(buf, 0, buf.length)) === 'ok').toBe(isTopicName(one))
      }),
      { numRuns: 1000 },
    )
  })

  it('the length of a Variable Byte Integer and its bytes', () => {
    fc.assert(
      fc.property(fc.integer({ min: 0, max: 268435455 }), (value) => {
        const buf = Buffer.alloc(4)
        const end = writeVarint(buf, 0, value)
        expect(end).toBe(varintBytes(value))
        expect(decodeVarint(buf, 0, end)).toBe(value)
      }),
    )
  })
})
