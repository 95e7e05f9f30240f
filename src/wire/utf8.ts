import { malformed } from './malformed.ts'

/**
 * True when buf[start..end) is a UTF-8 string MQTT allows: well-formed, no code point of U+D800 to U+DFFF
 * [v5 MQTT-1.5.4-1] [v3 MQTT-1.5.3-1] and no U+0000 [v5 MQTT-1.5.4-2] [v3 MQTT-1.5.3-2].
 *
 * Overlong forms and code points above U+10FFFF are ill-formed too (RFC 3629, Unicode table 3-7). Control characters and
 * non-characters are allowed: both specifications only say SHOULD NOT. Allocates nothing.
 */
export function checkUtf8(buf: Uint8Array, start: number, end: number): boolean {
  let pos = start
  while (pos < end) {
    const lead = buf[pos]!
    if (lead < 0x80) {
      if (lead === 0) return false
      pos += 1
    } else {
      const length = sequenceLength(buf, pos, end, lead)
      if (length === 0) return false
      pos += length
    }
  }
  return true
}

/** Bytes of the well-formed sequence of 2 to 4 bytes at `pos`, or 0 when it is ill-formed or cut short. */
function sequenceLength(buf: Uint8Array, pos: number, end: number, lead: number): number {
  // 0x80-0xC1: a continuation byte without a lead, or an overlong form of two bytes.
  if (lead < 0xc2 || lead > 0xf4) return 0
  const length = lead < 0xe0 ? 2 : lead < 0xf0 ? 3 : 4
  if (pos + length > end) return 0
  // The second byte carries the limits that exclude overlong forms, surrogates and what lies above U+10FFFF.
  const second = buf[pos + 1]!
  const lowest = lead === 0xe0 ? 0xa0 : lead === 0xf0 ? 0x90 : 0x80
  const highest = lead === 0xed ? 0x9f : lead === 0xf4 ? 0x8f : 0xbf
  if (second < lowest || second > highest) return 0
  for (let i = 2; i < length; i++) if ((buf[pos + i]! & 0xc0) !== 0x80) return 0
  return length
}

/**
 * The UTF-8 Encoded String at `pos`: a two-byte length, then the bytes. The next field begins at
 * `stringEnd(buf, pos)`. A byte order mark is kept as U+FEFF [v5 MQTT-1.5.4-3] [v3 MQTT-1.5.3-3].
 *
 * @param what the field's name, for the error message
 * @throws SluiceError malformed_packet when the string reaches beyond `end` or is not UTF-8 as MQTT allows it
 */
export function readString(buf: Buffer, pos: number, end: number, what = 'string'): string {
  if (pos + 2 > end) throw malformed(`${what} is cut short`)
  const last = stringEnd(buf, pos)
  if (last > end) throw malformed(`${what} is cut short`)
  if (!checkUtf8(buf, pos + 2, last)) throw malformed(`${what} is not a valid UTF-8 string`)
  return buf.toString('utf8', pos + 2, last)
}

/** Offset after the two-byte length at `pos` and the bytes it announces. The length itself must lie in `buf`. */
export function stringEnd(buf: Uint8Array, pos: number): number {
  return pos + 2 + ((buf[pos]! << 8) | buf[pos + 1]!)
}

/** True when the JavaScript string can be sent as a UTF-8 Encoded String: at most 65,535 bytes, no lone surrogate, no U+0000. */
export function isMqttString(text: string): boolean {
  if (text.length > 65535) return false
  for (let i = 0; i < text.length; i++) {
    const unit = text.charCodeAt(i)
    if (unit === 0) return false
    if (unit < 0xd800 || unit > 0xdfff) continue
    if (unit > 0xdbff) return false
    const low = text.charCodeAt(++i)
    // NaN at the end of the string fails the comparison as well.
    if (!(low >= 0xdc00 && low <= 0xdfff)) return false
  }
  return text.length * 3 <= 65535 || Buffer.byteLength(text) <= 65535
}
