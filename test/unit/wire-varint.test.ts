import { describe, expect, it } from 'vitest'
import {
  decodeVarint,
  readVarint,
  VARINT_INCOMPLETE,
  VARINT_MAX,
  VARINT_TOO_LONG,
  varintBytes,
  varintSpan,
  writeVarint,
} from '../../src/wire/varint.ts'

/** The edges of v5 table 1-1 and v3 table 2.4. */
const edges: [number, string][] = [
  [0, '00'],
  [1, '01'],
  [127, '7f'],
  [128, '8001'],
  [16383, 'ff7f'],
  [16384, '808001'],
  [2097151, 'ffff7f'],
  [2097152, '80808001'],
  [VARINT_MAX, 'ffffff7f'],
]

describe('Variable Byte Integer [v5 1.5.5] [v3 2.2.3]', () => {
  it.each(edges)('%i is %s, both ways', (value, hex) => {
    const buf = Buffer.from(hex, 'hex')
    expect(decodeVarint(buf, 0, buf.length)).toBe(value)
    expect(readVarint(buf, 0, buf.length)).toBe(value)
    expect(varintSpan(buf, 0)).toBe(buf.length)
    expect(varintBytes(value)).toBe(buf.length)
    const out = Buffer.alloc(6, 0xee)
    expect(writeVarint(out, 1, value)).toBe(1 + buf.length)
    expect(out.toString('hex', 1, 1 + buf.length)).toBe(hex)
    expect(out[0]).toBe(0xee)
    expect(out[1 + buf.length]).toBe(0xee)
  })

  it.each(edges)('%i cut short is incomplete, whatever lies behind', (_value, hex) => {
    const buf = Buffer.from(`${hex}00`, 'hex')
    for (let end = 0; end < hex.length / 2; end++) {
      expect(decodeVarint(buf, 0, end)).toBe(VARINT_INCOMPLETE)
      expect(() => readVarint(buf, 0, end)).toThrow('cut short')
    }
  })

  it('a fifth byte is refused before it arrives', () => {
    const buf = Buffer.from('ffffffff', 'hex')
    expect(decodeVarint(buf, 0, 4)).toBe(VARINT_TOO_LONG)
    expect(() => readVarint(buf, 0, 4, 'Property Length')).toThrow('Property Length is longer than four bytes')
  })

  it('readVarint insists on the fewest bytes, decodeVarint does not [v5 MQTT-1.5.5-1]', () => {
    for (const hex of ['8000', '808000', '80808000', 'ff00', '818000', 'ffff8000']) {
      const buf = Buffer.from(hex, 'hex')
      expect(decodeVarint(buf, 0, buf.length)).toBeGreaterThanOrEqual(0)
      expect(() => readVarint(buf, 0, buf.length)).toThrow('fewest bytes')
    }
  })
})
