import { malformed } from './malformed.ts'

/** The largest Variable Byte Integer: four bytes of seven bits (v5 section 1.5.5, v3 section 2.2.3). */
export const VARINT_MAX = 268_435_455

/** `decodeVarint`: the bytes at hand end before the integer does. */
export const VARINT_INCOMPLETE = -1
/** `decodeVarint`: the fourth byte announces a fifth. */
export const VARINT_TOO_LONG = -2

/**
 * Value of the Variable Byte Integer at `pos`, or `VARINT_INCOMPLETE` or `VARINT_TOO_LONG`. Does not insist on the shortest
 * form (3.1 and 3.1.1 do not ask for it); compare with `varintSpan` where it matters. Allocates nothing, throws nothing.
 */
export function decodeVarint(buf: Uint8Array, pos: number, end: number): number {
  let value = 0
  for (let i = 0; i < 4; i++) {
    if (pos + i >= end) return VARINT_INCOMPLETE
    const byte = buf[pos + i]!
    value |= (byte & 0x7f) << (7 * i)
    if (byte < 0x80) return value
  }
  return VARINT_TOO_LONG
}

/** Bytes the integer at `pos` takes in `buf`, 1 to 4. Only after `decodeVarint` gave a value. */
export function varintSpan(buf: Uint8Array, pos: number): number {
  let span = 1
  while (buf[pos + span - 1]! >= 0x80) span++
  return span
}

/** Bytes of the shortest form of `value`, 1 to 4. */
export function varintBytes(value: number): number {
  return value < 0x80 ? 1 : value < 0x4000 ? 2 : value < 0x200000 ? 3 : 4
}

/**
 * Value of the integer at `pos`, which must be complete and in its shortest form [v5 MQTT-1.5.5-1], so that the next field
 * begins at `pos + varintBytes(value)`.
 *
 * @throws SluiceError malformed_packet
 */
export function readVarint(buf: Uint8Array, pos: number, end: number, what = 'Variable Byte Integer'): number {
  const value = decodeVarint(buf, pos, end)
  if (value === VARINT_INCOMPLETE) throw malformed(`${what} is cut short`)
  if (value === VARINT_TOO_LONG) throw malformed(`${what} is longer than four bytes`)
  if (varintSpan(buf, pos) !== varintBytes(value)) throw malformed(`${what} does not use the fewest bytes`)
  return value
}

/** Writes the shortest form of `value` (0 to `VARINT_MAX`) at `pos`; returns the offset after it. */
export function writeVarint(buf: Uint8Array, pos: number, value: number): number {
  let rest = value
  let at = pos
  while (rest > 0x7f) {
    buf[at++] = (rest & 0x7f) | 0x80
    rest >>>= 7
  }
  buf[at++] = rest
  return at
}
