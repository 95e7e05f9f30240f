import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodePublish as encodePlain } from '../../src/wire/client-packets.ts'
import { PublishFrame } from '../../src/wire/publish.ts'
import { encodePublish } from '../../src/wire/publish-writer.ts'
import { checkTopicName } from '../../src/wire/topic.ts'
import type { ProtocolVersion } from '../../src/wire/versions.ts'
import { bodyStart, decodeBody, decodePacket } from '../conformance/wire/decode.ts'
import { damage, damaged, outcome } from './wire-damage.ts'
import { publish } from './wire-packets.ts'

/** The fast PUBLISH codec of the broker against the plain one. */

const versions: ProtocolVersion[] = [4, 5]

/** As the connection reads it: the frame, then the topic, which a Topic Alias may stand for. */
function parse(
  frame: PublishFrame,
  buf: Buffer,
  start: number,
  body: number,
  end: number,
  version: ProtocolVersion,
): void {
  frame.parse(buf, start, body, end, version === 5)
  if (frame.topicAlias > 0 && frame.topicStart === frame.topicEnd) return
  checkTopicName(frame.topicBuf, frame.topicStart, frame.topicEnd)
}

describe.each(versions)('PublishFrame and the plain PUBLISH codec, version %i', (version) => {
  const packets = publish(version, ['subscriptionIdentifiers'])

  it('read the same fields, wherever the packet lies in the buffer', () => {
    const frame = new PublishFrame()
    fc.assert(
      fc.property(packets, fc.nat(20), (packet, before) => {
        const encoded = encodePlain(version, packet)
        const buf = Buffer.concat([Buffer.alloc(before, 0xff), encoded, Buffer.alloc(9, 0xff)])
        parse(frame, buf, before, before + bodyStart(encoded), before + encoded.length, version)
        const { topic, payload, qos, retain, dup, packetId, topicAlias, expirySeconds, payloadFormat } = frame
        const { properties, ...plain } = packet
        expect({ topic, payload, qos, retain, dup, packetId }).toEqual(plain)
        expect(topicAlias).toBe(properties?.topicAlias ?? 0)
        expect(expirySeconds).toBe(properties?.messageExpiryInterval ?? -1)
        expect(payloadFormat).toBe(properties?.payloadFormatIndicator ?? -1)
      }),
      { numRuns: 500 },
    )
  })

  it('what the frame writes again lacks only the Topic Alias, and has the expiry counted down [v5 MQTT-3.3.2-6, -10]', () => {
    const frame = new PublishFrame()
    fc.assert(
      fc.property(packets, fc.boolean(), fc.integer({ min: 0, max: 0xffffffff }), (packet, withId, seconds) => {
        const encoded = encodePlain(version, packet)
        parse(frame, encoded, 0, bodyStart(encoded), encoded.length, version)
        if (frame.expirySeconds >= 0) frame.expirySeconds = seconds
        const out = encodePublish(frame, version === 5, withId, null)
        const copy = Buffer.from(out.buf.subarray(out.start, out.end))
        if (withId) {
          copy[0]! |= 2
          copy.writeUInt16BE(77, out.packetIdOffset)
        }
        const wanted = { ...packet, dup: false, retain: false, qos: withId ? 1 : 0, packetId: withId ? 77 : 0 }
        if (packet.properties !== null) {
          const { topicAlias: _cut, ...properties } = packet.properties
          if (properties.messageExpiryInterval !== undefined) properties.messageExpiryInterval = seconds
          wanted.properties = properties
        }
        expect(decodePacket(copy, version)).toEqual(wanted)
      }),
      { numRuns: 500 },
    )
  })

  it('refuse the same bytes', () => {
    const frame = new PublishFrame()
    fc.assert(
      fc.property(packets, damage, fc.nat(15), fc.boolean(), (packet, changes, bits, flip) => {
        const encoded = encodePlain(version, packet)
        const body = damaged(encoded.subarray(bodyStart(encoded)), changes)
        const flags = flip ? bits : encoded[0]! & 15
        const buf = Buffer.from([0x30 | flags, 0, ...body])
        const fast = outcome(() => parse(frame, buf, 0, 2, buf.length, version))
        const plain = outcome(() => decodeBody(3, flags, buf, 2, buf.length, version))
        // Which error comes first may differ, whether there is one may not.
        expect(fast === 'ok').toBe(plain === 'ok')
      }),
      { numRuns: 2000 },
    )
  })
})
