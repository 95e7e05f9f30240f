import { describe, expect, it } from 'vitest'
import { errorTable } from '../../src/errors.ts'
import { PacketType } from '../../src/wire/control.ts'
import {
  connackReturnCode,
  isReasonCodeFor,
  reasonCodeFor,
  reasonCodeName,
  reasonCodeOfReturnCode,
  reasonCodes,
} from '../../src/wire/reason-codes.ts'

const { CONNACK, PUBACK, PUBREC, PUBREL, PUBCOMP, SUBACK, UNSUBACK, DISCONNECT, AUTH } = PacketType

/** v5 table 2-6 read by columns: the codes each packet may carry; DISCONNECT as in table 3-10, which lacks 0x8C. */
const byPacket: [keyof typeof PacketType, string][] = [
  ['CONNACK', '00 80 81 82 83 84 85 86 87 88 89 8a 8c 90 95 97 99 9a 9b 9c 9d 9f'],
  ['PUBACK', '00 10 80 83 87 90 91 97 99'],
  ['PUBREC', '00 10 80 83 87 90 91 97 99'],
  ['PUBREL', '00 92'],
  ['PUBCOMP', '00 92'],
  ['SUBACK', '00 01 02 80 83 87 8f 91 97 9e a1 a2'],
  ['UNSUBACK', '00 11 80 83 87 8f 91'],
  ['DISCONNECT', '00 04 80 81 82 83 87 89 8b 8d 8e 8f 90 93 94 95 96 97 98 99 9a 9b 9c 9d 9e 9f a0 a1 a2'],
  ['AUTH', '00 18 19'],
  ['CONNECT', ''],
  ['PUBLISH', ''],
  ['PINGREQ', ''],
]

describe('reason codes [v5 table 2-6]', () => {
  it.each(byPacket)('%s may carry %s', (name, list) => {
    const allowed = Array.from({ length: 256 }, (_, code) => code)
      .filter((code) => isReasonCodeFor(PacketType[name], code))
      .map((code) => code.toString(16).padStart(2, '0'))
    expect(allowed.join(' ')).toBe(list)
  })

  it('stand in the table once, in order', () => {
    const codes = reasonCodes.map((row) => row.code)
    expect(codes).toEqual([...new Set(codes)].sort((a, b) => a - b))
  })

  it('0x00 has a name of its own in SUBACK and DISCONNECT; unknown codes are shown in hex', () => {
    expect(reasonCodeName(0)).toBe('Success')
    expect(reasonCodeName(0, SUBACK)).toBe('Granted QoS 0')
    expect(reasonCodeName(0, DISCONNECT)).toBe('Normal disconnection')
    expect(reasonCodeName(0x8e, DISCONNECT)).toBe('Session taken over')
    expect(reasonCodeName(0xfe)).toBe('unknown reason code 0xfe')
  })

  it('what only the server may say in DISCONNECT is refused from a client, and the reverse [v5 table 3-10]', () => {
    expect(isReasonCodeFor(DISCONNECT, 0x04, 'client')).toBe(true)
    expect(isReasonCodeFor(DISCONNECT, 0x04, 'server')).toBe(false)
    expect(isReasonCodeFor(DISCONNECT, 0x8e, 'client')).toBe(false)
    expect(isReasonCodeFor(DISCONNECT, 0x8e, 'server')).toBe(true)
    expect(isReasonCodeFor(PUBACK, 0x87, 'client')).toBe(true)
  })

  it('AUTH: a client continues or re-authenticates, a server continues or ends [v5 table 3-11]', () => {
    const allowed = (sender: 'client' | 'server') => [0, 0x18, 0x19].filter((c) => isReasonCodeFor(AUTH, c, sender))
    expect(allowed('client')).toEqual([0x18, 0x19])
    expect(allowed('server')).toEqual([0, 0x18])
  })

  it('reasonCodeFor keeps what the packet can say and falls back to what it can', () => {
    expect(reasonCodeFor(PUBACK, 0x97)).toBe(0x97)
    expect(reasonCodeFor(PUBACK, 0x88)).toBe(0x80)
    expect(reasonCodeFor(PUBREC, 0x10)).toBe(0x10)
    expect(reasonCodeFor(CONNACK, 0x8d)).toBe(0x80)
    expect(reasonCodeFor(DISCONNECT, 0x88)).toBe(0x80)
    expect(reasonCodeFor(PUBREL, 0x80)).toBe(0x92)
    expect(reasonCodeFor(PUBCOMP, 0x92)).toBe(0x92)
    expect(reasonCodeFor(UNSUBACK, 0x97)).toBe(0x80)
  })

  it('every error that reaches the wire has a reason code of the table', () => {
    for (const [code, row] of Object.entries(errorTable)) {
      if (row.reasonCode !== 0)
        expect([code, reasonCodes.some((one) => one.code === row.reasonCode)]).toEqual([code, true])
    }
  })
})

describe('CONNACK return codes of 3.1 and 3.1.1 [v3 table 3.1]', () => {
  it('1 to 5 have one reason code each, and it maps back', () => {
    for (const [returnCode, reasonCode] of [0x00, 0x84, 0x85, 0x88, 0x86, 0x87].entries()) {
      expect(reasonCodeOfReturnCode(returnCode)).toBe(reasonCode)
      expect(connackReturnCode(reasonCode)).toBe(returnCode)
    }
    expect(reasonCodeOfReturnCode(6)).toBeUndefined()
  })

  it('reasons without a word of their own use the nearest', () => {
    const nearest = { 137: 3, 138: 5, 139: 3, 140: 5, 151: 3, 156: 3, 157: 3, 159: 3 }
    for (const [code, returnCode] of Object.entries(nearest)) expect(connackReturnCode(Number(code))).toBe(returnCode)
  })

  it('a broken packet has none: close without CONNACK [v3 MQTT-3.2.2-6]', () => {
    for (const code of [0x80, 0x81, 0x82, 0x83, 0x90, 0x95, 0x99]) expect(connackReturnCode(code)).toBe(-1)
  })
})
