import fc from 'fast-check'
import mqttPacket from 'mqtt-packet'
import { describe, expect, it } from 'vitest'
import { encodeAck } from '../../src/wire/ack.ts'
import { encodeAuth } from '../../src/wire/auth.ts'
import { encodeConnect, encodePublish, encodeSubscribe, encodeUnsubscribe } from '../../src/wire/client-packets.ts'
import { encodeConnack } from '../../src/wire/connack.ts'
import { encodePingreq, encodePingresp, PacketType } from '../../src/wire/control.ts'
import { encodeDisconnect } from '../../src/wire/disconnect.ts'
import type { Properties } from '../../src/wire/properties.ts'
import { encodeSuback, encodeUnsuback } from '../../src/wire/suback.ts'
import type { ProtocolVersion } from '../../src/wire/versions.ts'
import { decodePacket, type Sender } from '../conformance/wire/decode.ts'
import { connect, packetId, properties, publish, reasonCode, subscriptions, topicFilter } from './wire-packets.ts'

/** mqtt-packet as an oracle for valid packets. It checks less than we do, so it says nothing about invalid ones. */

const versions: ProtocolVersion[] = [3, 4, 5]
const { CONNACK, SUBACK, UNSUBACK, UNSUBSCRIBE, DISCONNECT, AUTH } = PacketType

type Fields = Record<string, unknown>

/** What mqtt-packet reads from our bytes. */
function parse(buf: Buffer, version: ProtocolVersion): Fields {
  const parser = mqttPacket.parser({ protocolVersion: version })
  const packets: Fields[] = []
  parser.on('packet', (packet) => packets.push(packet as unknown as Fields))
  parser.on('error', (error) => {
    throw error
  })
  expect(parser.parse(buf)).toBe(0)
  expect(packets).toHaveLength(1)
  return packets[0]!
}

/** Our properties with mqtt-packet's names and shapes. */
function theirs(ours: Properties | null | undefined): Fields | undefined {
  if (ours === null || ours === undefined) return undefined
  const { userProperties, subscriptionIdentifiers, maximumQos, payloadFormatIndicator, ...others } = ours
  const { subscriptionIdentifierAvailable, ...rest } = others
  const out: Fields = { ...rest }
  if (subscriptionIdentifierAvailable !== undefined) {
    out['subscriptionIdentifiersAvailable'] = subscriptionIdentifierAvailable
  }
  if (maximumQos !== undefined) out['maximumQoS'] = maximumQos
  if (payloadFormatIndicator !== undefined) out['payloadFormatIndicator'] = payloadFormatIndicator === 1
  if (subscriptionIdentifiers !== undefined) {
    out['subscriptionIdentifier'] =
      subscriptionIdentifiers.length === 1 ? subscriptionIdentifiers[0] : subscriptionIdentifiers
  }
  if (userProperties !== undefined) {
    const byName: Record<string, string | string[]> = Object.create(null)
    for (const [name, value] of userProperties) {
      // It forgets an empty value when the name comes again.
      const earlier = byName[name] || undefined
      byName[name] = earlier === undefined ? value : ([] as string[]).concat(earlier, value)
    }
    out['userProperties'] = byName
  }
  return out
}

/** Without the prototype-less objects and undefined fields in which the two differ but mean the same. */
function plain(value: unknown): unknown {
  if (Buffer.isBuffer(value)) return `hex ${value.toString('hex')}`
  if (Array.isArray(value)) return value.map(plain)
  if (value === null || typeof value !== 'object') return value
  const entries = Object.entries(value).filter(([, one]) => one !== undefined)
  return Object.fromEntries(entries.map(([key, one]) => [key, plain(one)]))
}

const empty = (fields: Fields | undefined) =>
  fields !== undefined && Object.keys(fields).length > 0 ? fields : undefined

/** What mqtt-packet reads from the bytes must hold these fields, and what it writes from them must be our bytes' equal. */
function agree(buf: Buffer, version: ProtocolVersion, wanted: Fields, sender: Sender = 'client'): void {
  const read = parse(buf, version)
  const { properties: wantedProperties, ...rest } = wanted
  expect(plain(read)).toMatchObject(plain(rest) as object)
  expect(plain(empty(read['properties'] as Fields | undefined))).toEqual(plain(empty(wantedProperties as Fields)))
  const written = mqttPacket.generate(read as unknown as mqttPacket.Packet, { protocolVersion: version })
  // Properties may stand in another order there, so the packets are compared as what we decode.
  expect(sorted(decodePacket(written, version, sender))).toEqual(sorted(decodePacket(buf, version, sender)))
}

/**
 * mqtt-packet groups user properties by name, which loses the order between names, and empty values of names that repeat; and it writes
 * an empty Property Length where we write none.
 */
function sorted(packet: object): unknown {
  const text = JSON.stringify(packet, (key, value) => {
    if (key === 'properties') return empty(value ?? undefined) ?? null
    if (key !== 'userProperties') return value
    const pairs = value as [string, string][]
    const names = [...new Set(pairs.map(([name]) => name))].sort()
    return names.map((name) => [name, pairs.filter(([one, text]) => one === name && text !== '')])
  })
  return JSON.parse(text)
}

describe.each(versions)('mqtt-packet reads and writes the same packets, version %i', (version) => {
  it('CONNECT', () => {
    fc.assert(
      fc.property(connect(version), (packet) => {
        const { will, userName, password, properties: own, keepAliveSeconds, bridge, ...rest } = packet
        // It refuses the empty Client Identifier with clean 0, which MQTT 5 allows.
        fc.pre(packet.clientId !== '' || packet.clean === true)
        // It refuses to write a password without a user name, which MQTT 5 allows.
        fc.pre(password === undefined || userName !== undefined)
        const wanted: Fields = {
          cmd: 'connect',
          protocolId: version === 3 ? 'MQIsdp' : 'MQTT',
          protocolVersion: version,
          clean: rest.clean,
          clientId: rest.clientId,
          keepalive: keepAliveSeconds,
          username: userName,
          password,
          bridgeMode: bridge === true ? true : undefined,
          properties: theirs(own),
        }
        const { properties: willProperties, ...plainWill } = will ?? { properties: null }
        if (will)
          wanted['will'] = {
            ...plainWill,
            ...(empty(theirs(willProperties)) && { properties: theirs(willProperties) }),
          }
        agree(encodeConnect(packet), version, wanted)
      }),
    )
  })

  it('PUBLISH', () => {
    fc.assert(
      fc.property(publish(version), (packet) => {
        const { packetId: id, properties: own, ...rest } = packet
        const wanted = { cmd: 'publish', ...rest, messageId: id || undefined, properties: theirs(own) }
        agree(encodePublish(version, packet), version, wanted, 'server')
      }),
    )
  })

  it('SUBSCRIBE', () => {
    fc.assert(
      fc.property(packetId, subscriptions(version), (id, asked) => {
        const wanted = asked.map(({ topicFilter: filter, qos, noLocal, retainAsPublished, retainHandling }) =>
          version === 5
            ? { topic: filter, qos, nl: noLocal, rap: retainAsPublished, rh: retainHandling }
            : { topic: filter, qos },
        )
        agree(encodeSubscribe(version, id, asked), version, { cmd: 'subscribe', messageId: id, subscriptions: wanted })
      }),
    )
  })

  it('UNSUBSCRIBE', () => {
    const filters = fc.array(topicFilter, { minLength: 1 })
    fc.assert(
      fc.property(packetId, filters, properties(UNSUBSCRIBE), (id, list, own) => {
        const wanted = { cmd: 'unsubscribe', messageId: id, unsubscriptions: list }
        const extra = version === 5 ? { properties: theirs(own) } : {}
        agree(encodeUnsubscribe(version, id, list, own), version, { ...wanted, ...extra })
      }),
    )
  })

  it('SUBACK', () => {
    const codes = version === 5 ? reasonCode(SUBACK) : fc.constantFrom(...(version === 4 ? [0, 1, 2, 128] : [0, 1, 2]))
    fc.assert(
      fc.property(packetId, fc.array(codes, { minLength: 1, maxLength: 200 }), (id, granted) => {
        agree(encodeSuback(version, id, granted), version, { cmd: 'suback', messageId: id, granted }, 'server')
      }),
    )
  })

  it('UNSUBACK', () => {
    fc.assert(
      fc.property(packetId, fc.array(reasonCode(UNSUBACK), { minLength: 1 }), (id, granted) => {
        const wanted = { cmd: 'unsuback', messageId: id, ...(version === 5 && { granted }) }
        agree(encodeUnsuback(version, id, granted), version, wanted, 'server')
      }),
    )
  })

  it('CONNACK', () => {
    fc.assert(
      fc.property(reasonCode(CONNACK), fc.boolean(), properties(CONNACK), (code, sessionPresent, own) => {
        const buf = encodeConnack(version, { reasonCode: code, sessionPresent, properties: own })
        fc.pre(buf.length > 0)
        const wanted: Fields = { cmd: 'connack', sessionPresent: sessionPresent && code === 0 && version > 3 }
        if (version === 5) Object.assign(wanted, { reasonCode: code, properties: theirs(own) })
        else wanted['returnCode'] = buf[3]
        agree(buf, version, wanted, 'server')
      }),
    )
  })

  it.each(['PUBACK', 'PUBREC', 'PUBREL', 'PUBCOMP'] as const)('%s', (name) => {
    const type = PacketType[name]
    fc.assert(
      fc.property(packetId, reasonCode(type), fc.option(properties(type)), (id, code, own) => {
        const wanted: Fields = { cmd: name.toLowerCase(), messageId: id }
        if (version === 5) Object.assign(wanted, { properties: theirs(own), ...(code !== 0 && { reasonCode: code }) })
        agree(encodeAck(type, version, id, code, own), version, wanted)
      }),
    )
  })

  it('PINGREQ, PINGRESP and DISCONNECT', () => {
    agree(encodePingreq(), version, { cmd: 'pingreq' })
    agree(encodePingresp(), version, { cmd: 'pingresp' }, 'server')
    agree(encodeDisconnect(version), version, { cmd: 'disconnect' })
  })
})

describe('mqtt-packet reads and writes the same packets, MQTT 5 only', () => {
  it('DISCONNECT', () => {
    fc.assert(
      fc.property(reasonCode(DISCONNECT, 'server'), properties(DISCONNECT, ['sessionExpiryInterval']), (code, own) => {
        const wanted = { cmd: 'disconnect', reasonCode: code, properties: theirs(own) }
        agree(encodeDisconnect(5, code, own), 5, wanted, 'server')
      }),
    )
  })

  it('AUTH', () => {
    fc.assert(
      fc.property(reasonCode(AUTH, 'client'), properties(AUTH), (code, own) => {
        const all = { ...own, authenticationMethod: 'SCRAM' }
        agree(encodeAuth(code, all), 5, { cmd: 'auth', reasonCode: code, properties: theirs(all) })
      }),
    )
  })
})
