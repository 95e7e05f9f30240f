import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { encodeAck } from '../../src/wire/ack.ts'
import { encodeAuth } from '../../src/wire/auth.ts'
import { encodeConnect, encodePublish, encodeSubscribe, encodeUnsubscribe } from '../../src/wire/client-packets.ts'
import { encodeConnack } from '../../src/wire/connack.ts'
import { PacketType } from '../../src/wire/control.ts'
import { encodeDisconnect } from '../../src/wire/disconnect.ts'
import { decodeProperties, encodeProperties } from '../../src/wire/properties.ts'
import { encodeSuback, encodeUnsuback } from '../../src/wire/suback.ts'
import type { ProtocolVersion } from '../../src/wire/versions.ts'
import { decodePacket } from '../conformance/wire/decode.ts'
import { connect, packetId, properties, publish, reasonCode, subscriptions, text, topicFilter } from './wire-packets.ts'

const versions: ProtocolVersion[] = [3, 4, 5]
const { CONNACK, PUBLISH, SUBACK, UNSUBACK, SUBSCRIBE, UNSUBSCRIBE, DISCONNECT, AUTH } = PacketType

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
