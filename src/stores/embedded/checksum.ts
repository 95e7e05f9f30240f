/**
 * Every record ends in four bytes, the CRC-32 of its key and value, so that flipped bits and records under a wrong key are
 * noticed before they are served as truth. The key counts: a record that moved is as wrong as one that changed.
 */
import { crc32 } from 'node:zlib'

export const SEAL_BYTES = 4

/** Up to this length a loop costs less than a call out of JavaScript. */
const LOOP_MAX = 96

const POLYNOMIAL = 0xedb88320
const TABLE = new Int32Array(256)
for (let n = 0; n < 256; n++) {
  let c = n
  for (let bit = 0; bit < 8; bit++) c = (c & 1) === 1 ? (c >>> 1) ^ POLYNOMIAL : c >>> 1
  TABLE[n] = c
}

function sum(key: Buffer, value: Buffer, start: number, end: number): number {
  const length = end - start
  if (length > LOOP_MAX) return crc32(value.subarray(start, end), crc32(key))
  let c = -1
  for (let i = 0; i < key.length; i++) c = TABLE[(c ^ key[i]!) & 255]! ^ (c >>> 8)
  for (let i = start; i < end; i++) c = TABLE[(c ^ value[i]!) & 255]! ^ (c >>> 8)
  return ~c >>> 0
}

/** Writes the seal of `value[start..end)` behind it, where there is room; returns where the sealed value ends. */
export function sealAt(key: Buffer, value: Buffer, start: number, end: number): number {
  value.writeUInt32LE(sum(key, value, start, end), end)
  return end + SEAL_BYTES
}

/** A sealed copy. */
export function sealed(key: Buffer, value: Buffer): Buffer {
  const copy = Buffer.allocUnsafe(value.length + SEAL_BYTES)
  copy.set(value, 0)
  sealAt(key, copy, 0, value.length)
  return copy
}

/** Whether the value ends in its seal. */
export function fits(key: Buffer, value: Buffer): boolean {
  const end = value.length - SEAL_BYTES
  return end >= 0 && value.readUInt32LE(end) === sum(key, value, 0, end)
}

/** The value without its seal; undefined when they do not fit. */
export function unsealed(key: Buffer, value: Buffer): Buffer | undefined {
  return fits(key, value) ? value.subarray(0, value.length - SEAL_BYTES) : undefined
}
