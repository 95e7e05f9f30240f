import { isUtf8 } from 'node:buffer'
import { describe, expect, it } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import { checkUtf8, isMqttString, readString, stringEnd } from '../../src/wire/utf8.ts'

const check = (...bytes: number[]) => checkUtf8(Buffer.from(bytes), 0, bytes.length)

describe('checkUtf8', () => {
  it('accepts every code point but surrogates and U+0000, and only in its shortest form [v5 MQTT-1.5.4-1, -2]', () => {
    for (let point = 0; point <= 0x10ffff; point += point < 0x11000 ? 1 : 37) {
      if (point >= 0xd800 && point <= 0xdfff) continue
      const buf = Buffer.from(String.fromCodePoint(point))
      if (checkUtf8(buf, 0, buf.length) !== (point !== 0)) expect.fail(`U+${point.toString(16)}`)
    }
  })

  it('refuses every surrogate, U+D800 to U+DFFF [v5 MQTT-1.5.4-1] [v3 MQTT-1.5.3-1]', () => {
    for (let point = 0xd800; point <= 0xdfff; point++) {
      const accepted = check(0xe0 | (point >> 12), 0x80 | ((point >> 6) & 63), 0x80 | (point & 63))
      if (accepted) expect.fail(`U+${point.toString(16)}`)
    }
  })

  it('refuses U+0000 at the start, in the middle and at the end [v5 MQTT-1.5.4-2] [v3 MQTT-1.5.3-2]', () => {
    expect([check(0, 97), check(97, 0, 97), check(97, 0), check(0)]).toEqual([false, false, false, false])
  })

  it('judges all sequences of one and two bytes, and all leads with the edge values behind them, as Node does', () => {
    const edges = [0x00, 0x7f, 0x80, 0x8f, 0x90, 0x9f, 0xa0, 0xbf, 0xc0, 0xff]
    const agree = (bytes: number[]) => {
      const buf = Buffer.from(bytes)
      const wanted = isUtf8(buf) && !bytes.includes(0)
      if (checkUtf8(buf, 0, buf.length) !== wanted)
        expect.fail(`${buf.toString('hex')}: ${!wanted}, Node says ${wanted}`)
    }
    for (let a = 0; a < 256; a++) {
      agree([a])
      for (let b = 0; b < 256; b++) agree([a, b])
      for (const b of edges) for (const c of edges) for (const d of edges) agree([a, b, c, d])
      for (const b of edges) for (const c of edges) agree([a, b, c])
    }
  })

  it('looks at nothing outside start and end', () => {
    const buf = Buffer.from([0xff, 0xc3, 0xa9, 0xff])
    expect(checkUtf8(buf, 1, 3)).toBe(true)
    expect(checkUtf8(buf, 1, 2)).toBe(false)
    expect(checkUtf8(buf, 2, 2)).toBe(true)
  })

  it('accepts control characters and non-characters, which are only discouraged (v5 section 1.5.4)', () => {
    expect(check(0x01, 0x1f, 0x7f, 0xc2, 0x80, 0xef, 0xbf, 0xbf)).toBe(true)
  })
})

describe('readString', () => {
  it('reads the bytes between length and end; the next field begins at stringEnd', () => {
    const buf = Buffer.from([9, 0, 3, 0x61, 0xc3, 0xa9, 9])
    expect(readString(buf, 1, buf.length)).toBe('aé')
    expect(stringEnd(buf, 1)).toBe(6)
  })

  it('reads the empty string and the longest, 65,535 bytes [v5 1.5.4]', () => {
    expect(readString(Buffer.from([0, 0]), 0, 2)).toBe('')
    const longest = Buffer.alloc(65537, 0x78)
    longest.writeUInt16BE(65535)
    expect(readString(longest, 0, longest.length)).toBe('x'.repeat(65535))
    expect(() => readString(longest, 0, longest.length - 1)).toThrow('string is cut short')
  })

  it('keeps U+FEFF wherever it stands [v5 MQTT-1.5.4-3] [v3 MQTT-1.5.3-3]', () => {
    const buf = Buffer.from([0, 7, 0xef, 0xbb, 0xbf, 0x61, 0xef, 0xbb, 0xbf])
    expect(readString(buf, 0, 9)).toBe('\ufeffa\ufeff')
  })

  it('names the field that is wrong', () => {
    const refused = (bytes: number[]) => {
      try {
        return readString(Buffer.from(bytes), 0, bytes.length, 'CONNECT: User Name')
      } catch (error) {
        return error instanceof SluiceError ? `${error.code} ${error.message}` : error
      }
    }
    expect(refused([0])).toBe('malformed_packet CONNECT: User Name is cut short')
    expect(refused([0, 2, 97])).toBe('malformed_packet CONNECT: User Name is cut short')
    expect(refused([0, 1, 0xff])).toBe('malformed_packet CONNECT: User Name is not a valid UTF-8 string')
  })
})

describe('isMqttString', () => {
  it('refuses what cannot be sent: lone surrogates, U+0000, more than 65,535 bytes [v5 MQTT-1.5.4-1, -2]', () => {
    const cases = ['\ud800', 'a\udc00', '\ud800a', '\ud83d\ud83d\ude00', 'a\0', 'x'.repeat(65536), 'é'.repeat(32768)]
    for (const text of cases) expect([text.slice(0, 9), isMqttString(text)]).toEqual([text.slice(0, 9), false])
  })

  it('accepts the rest', () => {
    for (const text of ['', 'a', '😀😀', '\ufeff', 'x'.repeat(65535), `x${'é'.repeat(32767)}`, '€'.repeat(21845)]) {
      expect([text.slice(0, 9), isMqttString(text)]).toEqual([text.slice(0, 9), true])
    }
  })
})
