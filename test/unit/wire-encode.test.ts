import { describe, expect, it } from 'vitest'
import { encodeAck, readPacketId } from '../../src/wire/ack.ts'
import { encodeAuth } from '../../src/wire/auth.ts'
import { encodeConnect, encodePublish, encodeSubscribe, encodeUnsubscribe } from '../../src/wire/client-packets.ts'
import { encodeConnack } from '../../src/wire/connack.ts'
import { decodeConnect } from '../../src/wire/connect.ts'
import { encodePingreq, encodePingresp, PacketType, packetName } from '../../src/wire/control.ts'
import { encodeDisconnect } from '../../src/wire/disconnect.ts'
import { encodeProperties, WILL_PROPERTIES } from '../../src/wire/properties.ts'
import { encodeSuback, encodeUnsuback } from '../../src/wire/suback.ts'
import { answerVersion } from '../../src/wire/versions.ts'
import { bodyStart } from '../conformance/wire/decode.ts'

const hex = (buf: Buffer) => buf.toString('hex')
const { PUBACK, PUBREC, PUBREL, PUBCOMP } = PacketType

describe('CONNACK', () => {
  it('carries Session Present in 3.1.1 and 5 [v3 MQTT-3.2.2-1, -2] [v5 MQTT-3.2.2-2, -3], not in 3.1', () => {
    const present = { sessionPresent: true, reasonCode: 0 }
    expect(hex(encodeConnack(3, present))).toBe('20020000')
    expect(hex(encodeConnack(4, present))).toBe('20020100')
    expect(hex(encodeConnack(5, present))).toBe('2003010000')
  })

  it('a refusal says no session [v3 MQTT-3.2.2-4] [v5 MQTT-3.2.2-6]', () => {
    const refused = { sessionPresent: true, reasonCode: 0x87 }
    expect(hex(encodeConnack(3, refused))).toBe('20020005')
    expect(hex(encodeConnack(4, refused))).toBe('20020005')
    expect(hex(encodeConnack(5, refused))).toBe('2003008700')
  })

  it('is empty where 3.1.1 has no return code [v3 MQTT-3.2.2-6]', () => {
    expect(encodeConnack(4, { sessionPresent: false, reasonCode: 0x81 })).toHaveLength(0)
    expect(hex(encodeConnack(5, { sessionPresent: false, reasonCode: 0x81 }))).toBe('2003008100')
  })

  it('carries properties in 5 only', () => {
    const connack = { sessionPresent: false, reasonCode: 0, properties: { assignedClientIdentifier: 'x' } }
    expect(hex(encodeConnack(4, connack))).toBe('20020000')
    expect(hex(encodeConnack(5, connack))).toBe('200700000412000178')
  })
})

describe('acknowledgements', () => {
  it.each([
    [PUBACK, '4002'],
    [PUBREC, '5002'],
    [PUBREL, '6202'],
    [PUBCOMP, '7002'],
  ] as const)('type %i has four bytes for success in every version, and its flags [v5 MQTT-2.1.3-1]', (type, head) => {
    for (const version of [3, 4, 5] as const) expect(hex(encodeAck(type, version, 0x1234))).toBe(`${head}1234`)
    expect(hex(encodeAck(type, 5, 0xffff, 0x92))).toBe(`${head.slice(0, 2)}03ffff92`)
    expect(hex(encodeAck(type, 5, 1, 0, { reasonString: 'a' }))).toBe(`${head.slice(0, 2)}08000100041f000161`)
  })

  it('3.1.1 has no room for a reason code', () => {
    expect(hex(encodeAck(PUBACK, 4, 7, 0x87, { reasonString: 'no' }))).toBe('40020007')
  })

  it('readPacketId reads the two bytes at start [v5 2.2.1]', () => {
    expect(readPacketId(Buffer.from([1, 0xff, 0xfe, 1]), 1, 3)).toBe(0xfffe)
    expect(() => readPacketId(Buffer.from([1, 2]), 0, 1)).toThrow('cut short')
    expect(() => readPacketId(Buffer.from([0, 0]), 0, 2)).toThrow('Packet Identifier is 0')
  })
})

describe('SUBACK and UNSUBACK', () => {
  const codes = [0, 1, 2, 0x80, 0x87, 0x8f]
  it('SUBACK: all codes in 5, one refusal in 3.1.1 [v3 MQTT-3.9.3-2], none in 3.1', () => {
    expect(hex(encodeSuback(5, 9, codes))).toBe('900900090000010280878f')
    expect(hex(encodeSuback(4, 9, codes))).toBe('90080009000102808080')
    expect(hex(encodeSuback(3, 9, codes))).toBe('90080009000102000000')
  })

  it('UNSUBACK: codes in 5, the Packet Identifier alone before [v3 3.11.3]', () => {
    expect(hex(encodeUnsuback(5, 9, [0, 0x11]))).toBe('b0050009000011')
    for (const version of [3, 4] as const) expect(hex(encodeUnsuback(version, 9, [0, 0x11]))).toBe('b0020009')
  })

  it('Remaining Length grows to two bytes at 128 [v3 2.2.3]', () => {
    const many = encodeSuback(4, 1, new Array(126).fill(1))
    expect(hex(many.subarray(0, 5))).toBe('9080010001')
    expect(many).toHaveLength(131)
  })
})

describe('DISCONNECT, AUTH, PINGREQ, PINGRESP', () => {
  it('DISCONNECT is as short as it can be', () => {
    expect(hex(encodeDisconnect(4, 0x8e))).toBe('e000')
    expect(hex(encodeDisconnect(5))).toBe('e000')
    expect(hex(encodeDisconnect(5, 0x8e))).toBe('e0018e')
    expect(hex(encodeDisconnect(5, 0, { sessionExpiryInterval: 1 }))).toBe('e00700051100000001')
  })

  it('AUTH carries its method; the empty form is Success', () => {
    expect(hex(encodeAuth(0))).toBe('f000')
    expect(hex(encodeAuth(0x18, { authenticationMethod: 'M' }))).toBe('f00618041500014d')
  })

  it('PINGREQ and PINGRESP are constants', () => {
    expect(hex(encodePingreq())).toBe('c000')
    expect(hex(encodePingresp())).toBe('d000')
    expect(encodePingresp()).toBe(encodePingresp())
  })
})

describe('properties', () => {
  it('are written in the order of the table, the Property Length in front', () => {
    const properties = { userProperties: [['b', '1'] as [string, string]], messageExpiryInterval: 1, contentType: '' }
    expect(hex(encodeProperties(properties, PacketType.PUBLISH))).toBe('0f020000000103000026000162000131')
    expect(hex(encodeProperties(null, PacketType.PUBLISH))).toBe('00')
    expect(hex(encodeProperties({}, PacketType.PUBLISH))).toBe('00')
  })

  it('a property in the wrong packet, or too long, is our bug', () => {
    expect(() => encodeProperties({ topicAlias: 1 }, WILL_PROPERTIES)).toThrow('topicAlias does not belong here')
    expect(() => encodeProperties({ reasonString: 'x'.repeat(65536) }, PacketType.CONNACK)).toThrow('65535')
    expect(() => encodeProperties({ subscriptionIdentifiers: [2 ** 28] }, PacketType.SUBSCRIBE)).toThrow('268435456')
  })
})

describe('client packets', () => {
  it('have the flags of their type and leave out what the version lacks', () => {
    const options = { topicFilter: 'a', qos: 1, noLocal: true, retainAsPublished: true, retainHandling: 2 } as const
    expect(hex(encodeSubscribe(4, 1, [options]))).toBe('8206000100016101')
    expect(hex(encodeSubscribe(5, 1, [options]))).toBe('82070001000001612d')
    expect(hex(encodeUnsubscribe(4, 1, ['a']))).toBe('a2050001000161')
    expect(hex(encodeUnsubscribe(5, 1, ['a']))).toBe('a206000100000161')
    expect(hex(encodePublish(4, { topic: 'a', payload: Buffer.from('x') }))).toBe('300400016178')
    expect(hex(encodePublish(4, { topic: 'a', qos: 2, packetId: 3, dup: true, retain: true }))).toBe('3d050001610003')
    expect(() => encodePublish(4, { topic: 'a', qos: 1 })).toThrow('Packet Identifier')
  })

  it('CONNECT is clean and anonymous unless told otherwise', () => {
    expect(hex(encodeConnect({ version: 4, clientId: 'c' }))).toBe('100d00044d51545404020000000163')
    expect(hex(encodeConnect({ version: 3, clientId: 'c' }))).toBe('100f00064d514973647003020000000163')
    expect(hex(encodeConnect({ version: 5 }))).toBe('100d00044d51545405020000000000')
    expect(hex(encodeConnect({ version: 4, clean: false, bridge: true })).slice(16, 20)).toBe('8400')
  })

  it('CONNECT with a Client Identifier of 65,535 bytes is read back [v3 MQTT-3.1.3-5]', () => {
    const clientId = 'x'.repeat(65535)
    const buf = encodeConnect({ version: 4, clientId })
    expect(decodeConnect(buf, bodyStart(buf), buf.length).clientId).toBe(clientId)
  })

  it('what decodeConnect returns does not change with the buffer it was read from', () => {
    const will = { topic: 'w', payload: Buffer.from('gone'), qos: 0, retain: false, properties: null } as const
    const buf = encodeConnect({ version: 4, clientId: 'c', will, userName: 'u', password: Buffer.from('pw') })
    const packet = decodeConnect(buf, bodyStart(buf), buf.length)
    buf.fill(0xee)
    expect([packet.will?.payload.toString(), packet.password?.toString()]).toEqual(['gone', 'pw'])
  })
})

describe('answerVersion', () => {
  const body = (name: string, level: number) =>
    Buffer.concat([Buffer.from([0, name.length]), Buffer.from(name), Buffer.from([level])])
  const answer = (buf: Buffer) => answerVersion(buf, 0, buf.length)
  it('is the version of the CONNECT', () => {
    expect([answer(body('MQIsdp', 3)), answer(body('MQTT', 4)), answer(body('MQTT', 5))]).toEqual([3, 4, 5])
    expect([answer(body('MQIsdp', 0x83)), answer(body('MQTT', 0x84))]).toEqual([3, 4])
  })

  it('is the nearest one for a level we do not speak [v3 MQTT-3.1.2-2] [v5 MQTT-3.1.2-2]', () => {
    expect([answer(body('MQTT', 6)), answer(body('MQTT', 3)), answer(body('MQIsdp', 9))]).toEqual([5, 4, 4])
    expect(answer(body('MQTT', 0x85))).toBe(4)
  })

  it('is null for what is not MQTT: close without an answer [v3 MQTT-3.1.2-1]', () => {
    expect([answer(body('HTTP', 4)), answer(Buffer.from([0])), answer(Buffer.alloc(0))]).toEqual([null, null, null])
    expect(answerVersion(body('MQTT', 4), 0, 6)).toBeNull()
  })
})

it('packets have the names of the specification', () => {
  expect([1, 3, 10, 15].map(packetName)).toEqual(['CONNECT', 'PUBLISH', 'UNSUBSCRIBE', 'AUTH'])
  expect([packetName(0), packetName(16)]).toEqual(['reserved packet', 'packet type 16'])
})
