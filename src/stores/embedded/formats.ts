/**
 * The values of chunks, segments and settlement records. Numbers are little-endian.
 *
 *     chunk    u8 format  u8 flags (1: one tag for all, 2: extras)  u16 count  u16 segments  u16 runs
 *              segments × u48 id
 *              runs × { u16 source, u16 index, u16 count }       source 0: bodies below; k: segment k
 *              u32 tag, or count × u32
 *              [extras: count × u32 length + 1 (0: none), then their bytes]
 *              inline × u32 length, then the bodies
 *     segment  u8 format  u8 0  u16 count  u32 refs when written  count × u32 length, then the bodies
 *     settled  u16 settled  u16 0  u32 u32 their bytes (high, low)  bits
 */
import { PackedBodies } from '../../base/packed-bodies.ts'
import { SluiceError } from '../../errors.ts'
import { CHUNK_ENTRIES_MAX, INLINE, type StoredChunk } from './chunk.ts'
import { readUint48, writeUint48 } from './keys.ts'
import type { Segment } from './segment.ts'

const FORMAT = 1
const UNIFORM_TAG = 1
const EXTRAS = 2
const CHUNK_HEADER = 8
const SEGMENT_HEADER = 8
const SETTLED_HEADER = 12

/** Bodies up to this long are copied byte by byte: cheaper than a call. */
const LOOP_COPY_MAX = 24

/** An upper bound of `encodeChunk`'s result. */
export function chunkBytesMax(chunk: StoredChunk): number {
  let bytes = CHUNK_HEADER + chunk.segments.length * 6 + chunk.runs.length * 2 + chunk.count * 8 + 4
  if (chunk.extras !== null) {
    bytes += chunk.count * 4
    for (const extra of chunk.extras) if (extra !== null) bytes += extra.length
  }
  return bytes + inlineBytes(chunk)
}

function inlineBytes(chunk: StoredChunk): number {
  if (chunk.segments.length === 0) return chunk.bytes - chunk.settledBytes
  let bytes = 0
  let i = 0
  for (let r = 0; r < chunk.runs.length; r += 3) {
    const end = i + chunk.runs[r + 2]!
    if (chunk.runs[r] === INLINE) for (; i < end; i++) bytes += chunk.messages[i]!.length
    i = end
  }
  return bytes
}

/** Writes the chunk at `at` and returns where it ends. Bodies of entries already settled are left out. */
export function encodeChunk(chunk: StoredChunk, out: Buffer, at: number): number {
  const { count, extras, segments, runs, messages, uniformTag } = chunk
  out[at] = FORMAT
  out[at + 1] = (uniformTag === null ? 0 : UNIFORM_TAG) | (extras === null ? 0 : EXTRAS)
  let o = put16(out, at + 2, count)
  o = put16(out, o, segments.length)
  o = put16(out, o, runs.length / 3)
  for (const segment of segments) {
    writeUint48(out, o, segment.id)
    o += 6
  }
  for (let r = 0; r < runs.length; r++) o = put16(out, o, runs[r]!)
  if (uniformTag !== null) o = put32(out, o, uniformTag)
  else for (let i = 0; i < count; i++) o = put32(out, o, chunk.tags[i]!)
  if (extras !== null) {
    for (const extra of extras) o = put32(out, o, extra === null ? 0 : extra.length + 1)
    for (const extra of extras) if (extra !== null) o = copy(out, o, extra)
  }
  if (segments.length === 0) return putBodies(out, o, messages)
  const inline: Buffer[] = []
  let i = 0
  for (let r = 0; r < runs.length; r += 3) {
    const end = i + runs[r + 2]!
    if (runs[r] === INLINE) for (; i < end; i++) inline.push(messages[i]!)
    i = end
  }
  return putBodies(out, o, inline)
}

function putBodies(out: Buffer, at: number, bodies: readonly Buffer[]): number {
  let o = at
  for (let i = 0; i < bodies.length; i++) o = put32(out, o, bodies[i]!.length)
  for (let i = 0; i < bodies.length; i++) o = copy(out, o, bodies[i]!)
  return o
}

function put16(out: Buffer, at: number, value: number): number {
  out[at] = value
  out[at + 1] = value >>> 8
  return at + 2
}

function put32(out: Buffer, at: number, value: number): number {
  out[at] = value
  out[at + 1] = value >>> 8
  out[at + 2] = value >>> 16
  out[at + 3] = value >>> 24
  return at + 4
}

function copy(out: Buffer, at: number, bytes: Buffer): number {
  const length = bytes.length
  if (length <= LOOP_COPY_MAX) for (let i = 0; i < length; i++) out[at + i] = bytes[i]!
  else out.set(bytes, at)
  return at + length
}

export interface DecodedChunk {
  segmentIds: number[]
  runs: number[]
  /** One number: the tag of all entries. */
  tags: number[] | number
  extras: (Buffer | null)[] | null
  /** Bodies kept in the chunk itself, in order. */
  inline: PackedBodies
}

/** Reads what `encodeChunk` wrote. @throws SluiceError store_corrupt */
export function decodeChunk(value: Buffer, count: number): DecodedChunk {
  try {
    if (value[0] !== FORMAT || value.readUInt16LE(2) !== count) throw new RangeError('header')
    const flags = value[1]!
    const runCount = value.readUInt16LE(6)
    const segmentIds = chunkSegmentIds(value)
    let o = CHUNK_HEADER + segmentIds.length * 6
    const runs: number[] = []
    let entries = 0
    let inlineCount = 0
    for (let r = 0; r < runCount; r++, o += 6) {
      const source = value.readUInt16LE(o)
      const length = value.readUInt16LE(o + 4)
      if (source > segmentIds.length) throw new RangeError('source')
      runs.push(source, value.readUInt16LE(o + 2), length)
      entries += length
      if (source === INLINE) inlineCount += length
    }
    if (entries !== count) throw new RangeError('runs')
    const uniform = (flags & UNIFORM_TAG) !== 0
    const tags = uniform ? value.readUInt32LE(o) : new Array<number>(count)
    if (typeof tags !== 'number') for (let i = 0; i < count; i++) tags[i] = value.readUInt32LE(o + i * 4)
    o += uniform ? 4 : count * 4
    let extras: (Buffer | null)[] | null = null
    if ((flags & EXTRAS) !== 0) {
      extras = []
      let from = o + count * 4
      for (let i = 0; i < count; i++) {
        const length = value.readUInt32LE(o + i * 4) - 1
        extras.push(length < 0 ? null : slice(value, from, length))
        from += Math.max(0, length)
      }
      o = from
    }
    return { segmentIds, runs, tags, extras, inline: findBodies(value, o, inlineCount) }
  } catch (cause) {
    throw corrupt('a chunk', cause)
  }
}

/** The segments a chunk value refers to. */
export function chunkSegmentIds(value: Buffer): number[] {
  const ids: number[] = []
  const segmentCount = value.readUInt16LE(4)
  for (let i = 0; i < segmentCount; i++) ids.push(readUint48(value, CHUNK_HEADER + i * 6))
  return ids
}

export function segmentBytesMax(segment: Segment): number {
  return SEGMENT_HEADER + segment.bodies!.length * 4 + segment.bytes
}

export function encodeSegment(segment: Segment, out: Buffer, at: number): number {
  const bodies = segment.bodies!
  out[at] = FORMAT
  out[at + 1] = 0
  put16(out, at + 2, bodies.length)
  put32(out, at + 4, segment.refs)
  return putBodies(out, at + SEGMENT_HEADER, bodies)
}

/** @throws SluiceError store_corrupt */
export function decodeSegment(value: Buffer): Buffer[] {
  try {
    if (value[0] !== FORMAT) throw new RangeError('header')
    const count = value.readUInt16LE(2)
    const bodies = findBodies(value, SEGMENT_HEADER, count)
    return Array.from({ length: count }, (_, i) => bodies.at(i))
  } catch (cause) {
    throw corrupt('a segment', cause)
  }
}

export const segmentRefs = (value: Buffer): number => value.readUInt32LE(4)

function findBodies(buffer: Buffer, at: number, count: number): PackedBodies {
  const starts = new Uint32Array(count + 1)
  let from = at + count * 4
  starts[0] = from
  for (let i = 0; i < count; i++) {
    from += buffer.readUInt32LE(at + i * 4)
    starts[i + 1] = from
  }
  if (from > buffer.length) throw new RangeError('length')
  return new PackedBodies(buffer, starts)
}

function slice(value: Buffer, from: number, length: number): Buffer {
  if (from + length > value.length) throw new RangeError('length')
  return value.subarray(from, from + length)
}

export function encodeSettled(chunk: StoredChunk): Buffer {
  const words = (chunk.count + 31) >>> 5
  const value = Buffer.allocUnsafe(SETTLED_HEADER + words * 4)
  put16(value, 0, chunk.count - chunk.unsettled)
  put16(value, 2, 0)
  put32(value, 4, Math.floor(chunk.settledBytes / 0x100000000))
  put32(value, 8, chunk.settledBytes >>> 0)
  for (let w = 0; w < words; w++) put32(value, SETTLED_HEADER + w * 4, chunk.settledWord(w))
  return value
}

export const settledCount = (value: Buffer): number => value.readUInt16LE(0)
export const settledBytes = (value: Buffer): number => value.readUInt32LE(4) * 0x100000000 + value.readUInt32LE(8)

export function settledBits(value: Buffer): number[] {
  const bits = new Array<number>(CHUNK_ENTRIES_MAX >>> 5).fill(0)
  const words = Math.min(bits.length, (value.length - SETTLED_HEADER) >>> 2)
  for (let w = 0; w < words; w++) bits[w] = value.readInt32LE(SETTLED_HEADER + w * 4)
  return bits
}

export function corrupt(what: string, cause: unknown): SluiceError {
  return new SluiceError('store_corrupt', `The data directory is damaged: ${what} cannot be read.`, { cause })
}
