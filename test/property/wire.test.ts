import { isUtf8 } from 'node:buffer'
import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import { encodeAck } from '../../src/wire/ack.ts'
import { encodeAuth } from '../../src/wire/auth.ts'
import { encodeConnect, encodePublish, encodeSubscribe, encodeUnsubscribe } from '../../src/wire/client-packets.ts'
import { encodeConnack } from '../../src/wire/connack.ts'
import { PacketType } from '../../src/wire/control.ts'
import { encodeDisconnect } from '../../src/wire/disconnect.ts'
import { decodeProperties, encodeProperties, PublishScan, scanPublishProperties } from '../../src/wire/properties.ts'
import { encodeSuback, encodeUnsuback } from '../../src/wire/suback.ts'
import { checkTopicName, isPlainFilter, isTopicFilter, isTopicName, matches, parseShare } from '../../src/wire/topic.ts'
import { checkUtf8, isMqttString } from '../../src/wire/utf8.ts'
import { decodeVarint, readVarint, varintBytes, writeVarint } from '../../src/wire/varint.ts'
import type { ProtocolVersion } from '../../src/wire/versions.ts'
import { decodeBody, decodePacket } from '../conformance/wire/decode.ts'
import {
  bytes,
  connect,
  packetId,
  properties,
  publish,
  reasonCode,
  subscriptions,
  text,
  topic,
  topicFilter,
} from './wire-packets.ts'

const versions: ProtocolVersion[] = [3, 4, 5]
const { CONNACK, PUBLISH, SUBACK, UNSUBACK, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH } = PacketType

/** 'ok', or the code of the SluiceError; anything else that is thrown is a bug. */
function outcome(run: () => unknown): string {
  try {
    run()
    return 'ok'
  } catch (error) {
    if (error instanceof SluiceError) return error.code
    throw error
  }
}

describe.each(versions)('what is encoded is decoded again, version %i', (version) => {
  it('CONNECT', () => {
    fc.assert(
      fc.property(connect(version), (packet) => {
        expect(decodePacket(encodeConnect(packet), version)).toEqual(packet)
      }),
    )
  })

  it('PUBLISH', () => {
    fc.assert(
      fc.property(publish(version), (packet) => {
        expect(decodePacket(encodePublish(version, packet), version, 'server')).toEqual(packet)
      }),
    )
  })

  it('SUBSCRIBE', () => {
    const extras = properties(SUBSCRIBE)
    fc.assert(
      fc.property(packetId, subscriptions(version), extras, (id, asked, extra) => {
        const packet = decodePacket(encodeSubscribe(version, id, asked, extra), version)
        const { userProperties, subscriptionIdentifiers } = version === 5 ? extra : {}
        const wanted = { packetId: id, subscriptions: asked, subscriptionIdentifier: subscriptionIdentifiers?.[0] ?? 0 }
        expect(packet).toEqual(userProperties ? { ...wanted, userProperties } : wanted)
      }),
    )
  })

  it('UNSUBSCRIBE', () => {
    fc.assert(
      fc.property(packetId, fc.array(topicFilter, { minLength: 1 }), properties(UNSUBSCRIBE), (id, filters, extra) => {
        const wanted = { packetId: id, unsubscriptions: filters.map((one) => ({ topicFilter: one })) }
        const packet = decodePacket(encodeUnsubscribe(version, id, filters, extra), version)
        expect(packet).toEqual(version === 5 ? { ...wanted, ...extra } : wanted)
      }),
    )
  })

  it('SUBACK and UNSUBACK', () => {
    const codes = version === 5 ? reasonCode(SUBACK) : fc.constantFrom(...(version === 4 ? [0, 1, 2, 128] : [0, 1, 2]))
    const lists = fc.array(codes, { minLength: 1, maxLength: 200 })
    fc.assert(
      fc.property(packetId, lists, properties(SUBACK), (id, reasonCodes, extra) => {
        const wanted = { packetId: id, reasonCodes, properties: version === 5 ? extra : null }
        expect(decodePacket(encodeSuback(version, id, reasonCodes, extra), version, 'server')).toEqual(wanted)
      }),
    )
    fc.assert(
      fc.property(
        packetId,
        fc.array(reasonCode(UNSUBACK), { minLength: 1 }),
        properties(UNSUBACK),
        (id, list, extra) => {
          const wanted = {
            packetId: id,
            reasonCodes: version === 5 ? list : [],
            properties: version === 5 ? extra : null,
          }
          expect(decodePacket(encodeUnsuback(version, id, list, extra), version, 'server')).toEqual(wanted)
        },
      ),
    )
  })

  it('CONNACK', () => {
    fc.assert(
      fc.property(fc.boolean(), reasonCode(CONNACK), properties(CONNACK), (sessionPresent, code, extra) => {
        const buf = encodeConnack(version, { sessionPresent, reasonCode: code, properties: extra })
        if (buf.length === 0) return
        const packet = decodePacket(buf, version, 'server') as { sessionPresent: boolean; reasonCode: number }
        expect(packet.sessionPresent).toBe(sessionPresent && code === 0 && version > 3)
        if (version === 5) expect(packet).toMatchObject({ reasonCode: code, properties: extra })
        else expect(packet.reasonCode === 0).toBe(code === 0)
      }),
    )
  })

  it.each(['PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP'] as const)('%s', (name) => {
    const type = PacketType[name]
    fc.assert(
      fc.property(packetId, reasonCode(type), fc.option(properties(type)), (id, code, extra) => {
        const packet = decodePacket(encodeAck(type, version, id, code, extra), version)
        expect(packet).toEqual(
          version === 5 ? { packetId: id, reasonCode: code, ...extra } : { packetId: id, reasonCode: 0 },
        )
      }),
    )
  })
})

describe('what is encoded is decoded again, MQTT 5 only', () => {
  it.each(['client', 'server'] as const)('DISCONNECT from the %s', (sender) => {
    const foreign = sender === 'client' ? 'serverReference' : 'sessionExpiryInterval'
    const extras = fc.option(properties(DISCONNECT, [foreign]))
    fc.assert(
      fc.property(reasonCode(DISCONNECT, sender), extras, (code, extra) => {
        expect(decodePacket(encodeDisconnect(5, code, extra), 5, sender)).toEqual({
          reasonCode: code,
          properties: extra,
        })
      }),
    )
  })

  it.each(['client', 'server'] as const)('AUTH from the %s', (sender) => {
    fc.assert(
      fc.property(reasonCode(AUTH, sender), properties(AUTH), text, (code, extra, authenticationMethod) => {
        const all = { ...extra, authenticationMethod }
        expect(decodePacket(encodeAuth(code, all), 5, sender)).toEqual({ reasonCode: code, properties: all })
      }),
    )
  })

  it('properties, encoded twice, are the same bytes', () => {
    fc.assert(
      fc.property(properties(PUBLISH), (extra) => {
        const once = encodeProperties(extra, PUBLISH)
        const decoded = decodeProperties(once, 0, once.length, PUBLISH)
        expect(decoded).toEqual({ properties: extra, end: once.length })
        expect(encodeProperties(decoded.properties, PUBLISH)).toEqual(once)
      }),
    )
  })
})

/** The bytes of a packet, some of them changed, removed or added. */
const damage = fc.array(fc.tuple(fc.nat(), fc.nat(255), fc.constantFrom('set', 'cut', 'add')), { maxLength: 4 })

function damaged(body: Buffer, changes: [number, number, string][]): Buffer {
  const out = [...body]
  for (const [where, byte, what] of changes) {
    const at = where % (out.length + 1)
    if (what === 'set') out[at] = byte
    else out.splice(at, what === 'cut' ? 1 : 0, ...(what === 'add' ? [byte] : []))
  }
  return Buffer.from(out)
}

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

describe('topics', () => {
  /** The rule of section 4.7 said once more, by levels. */
  function matchesByLevels(filter: string, name: string): boolean {
    const wanted = filter.split('/')
    const levels = name.split('/')
    if (name.startsWith('$') && (wanted[0] === '+' || wanted[0] === '#')) return false
    const rest = wanted.at(-1) === '#'
    if (rest) wanted.pop()
    if (rest ? levels.length < wanted.length : levels.length !== wanted.length) return false
    return wanted.every((level, i) => level === '+' || level === levels[i])
  }
  const level = fc.constantFrom('', 'a', 'b', 'ab', '$a')
  const name = fc.array(level, { minLength: 1, maxLength: 4 }).map((levels) => levels.join('/'))
  const filter = fc
    .array(fc.oneof(level, fc.constant('+')), { minLength: 1, maxLength: 4 })
    .chain((levels) => fc.boolean().map((rest) => (rest ? [...levels, '#'] : levels).join('/')))
  const filters = fc.oneof(filter, fc.constant('#'))

  it('match level by level [v5 4.7.1, MQTT-4.7.2-1]', () => {
    fc.assert(
      fc.property(filters, name, (one, two) => {
        expect(matches(one, two)).toBe(matchesByLevels(one, two))
      }),
      { numRuns: 5000 },
    )
  })

  it('a filter is valid when each wildcard has its level alone and # is last [v5 MQTT-4.7.1-1, -2]', () => {
    const near = fc
      .array(fc.constantFrom('a', '/', '+', '#', '$'), { minLength: 1, maxLength: 6 })
      .map((s) => s.join(''))
    fc.assert(
      fc.property(near, (one) => {
        const levels = one.split('/')
        const valid = levels.every((l, i) => !/[+#]/.test(l) || l === '+' || (l === '#' && i === levels.length - 1))
        expect(isPlainFilter(one)).toBe(valid)
      }),
      { numRuns: 3000 },
    )
  })

  it('a shared filter is its parts put together [v5 MQTT-4.8.2-1, -2]', () => {
    const near = fc
      .array(fc.constantFrom('a', '/', '+', '#', '$share/'), { maxLength: 5 })
      .map((s) => `$share/${s.join('')}`)
    fc.assert(
      fc.property(near, (one) => {
        const share = parseShare(one)
        expect(isTopicFilter(one)).toBe(share !== null)
        if (share === null) return
        expect(`$share/${share.shareName}/${share.topicFilter}`).toBe(one)
        expect(share.shareName).toMatch(/^[^/+#]+$/)
        expect(isPlainFilter(share.topicFilter)).toBe(true)
      }),
      { numRuns: 2000 },
    )
  })

  it('every topic is matched by itself as a filter, and valid names are valid filters', () => {
    fc.assert(
      fc.property(topic, (one) => {
        expect(isTopicName(one)).toBe(true)
        expect(isPlainFilter(one)).toBe(true)
        expect(matches(one, one)).toBe(true)
      }),
    )
  })
})
