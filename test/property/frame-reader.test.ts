import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import { FrameReader } from '../../src/wire/frame-reader.ts'
import { varintBytes, writeVarint } from '../../src/wire/varint.ts'

function packet(first: number, body: Buffer): Buffer {
  const head = Buffer.alloc(1 + varintBytes(body.length))
  head[0] = first
  writeVarint(head, 1, body.length)
  return Buffer.concat([head, body])
}

/** Feeds the bytes in the given pieces; returns the packets the sink saw. */
function read(bytes: Buffer, sizes: number[], limit = 1_000_000, stopEvery = 0): Buffer[] {
  const reader = new FrameReader(limit)
  const seen: Buffer[] = []
  const sink = {
    frame(buf: Buffer, start: number, bodyStart: number, end: number): boolean {
      expect(bodyStart).toBeGreaterThan(start + 1)
      seen.push(Buffer.from(buf.subarray(start, end)))
      return stopEvery === 0 || seen.length % stopEvery !== 0
    },
  }
  let at = 0
  for (let i = 0; at < bytes.length; i++) {
    const piece = bytes.subarray(at, at + (sizes[i % sizes.length] ?? bytes.length))
    at += piece.length
    let taken = 0
    while (taken < piece.length) taken = reader.feed(piece, taken, sink)
  }
  return seen
}

const packets = fc.array(fc.tuple(fc.integer({ min: 0, max: 255 }), fc.uint8Array({ maxLength: 300 })), {
  minLength: 1,
  maxLength: 12,
})

describe('the frame reader', () => {
  test('finds the same packets wherever the stream is cut', () => {
    fc.assert(
      fc.property(
        packets,
        fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1, maxLength: 8 }),
        (list, sizes) => {
          const encoded = list.map(([first, body]) => packet(first, Buffer.from(body)))
          const stream = Buffer.concat(encoded)
          expect(read(stream, sizes)).toEqual(encoded)
          expect(read(stream, [1])).toEqual(encoded)
          expect(read(stream, [stream.length])).toEqual(encoded)
        },
      ),
    )
  })

  test('goes on after the sink stopped it, losing and doubling nothing', () => {
    fc.assert(
      fc.property(packets, fc.array(fc.integer({ min: 1, max: 200 }), { minLength: 1 }), (list, sizes) => {
        const encoded = list.map(([first, body]) => packet(first, Buffer.from(body)))
        expect(read(Buffer.concat(encoded), sizes, 1_000_000, 1)).toEqual(encoded)
      }),
    )
  })

  test('reads packets of every size of Remaining Length [v5 2.1.4]', () => {
    for (const bytes of [0, 127, 128, 16_383, 16_384, 2_097_151, 2_097_152]) {
      const one = packet(0x30, Buffer.alloc(bytes, 7))
      const stream = Buffer.concat([one, packet(0xc0, Buffer.alloc(0))])
      const seen = read(stream, [65_536], 10_000_000)
      expect(seen.map((p) => p.length)).toEqual([one.length, 2])
      expect(seen[0]!.equals(one)).toBe(true)
    }
  })

  test('puts large packets together in memory that is used again, also after readers that never finished', () => {
    const one = packet(0x30, Buffer.alloc(50_000, 1))
    const memories = new Set<ArrayBufferLike>()
    let forgotten = 0
    const sink = {
      frame(buf: Buffer, start: number, _body: number, end: number): boolean {
        memories.add(buf.buffer)
        expect(buf.subarray(start, end).equals(one)).toBe(true)
        return true
      },
      forget(): void {
        forgotten++
      },
    }
    for (let i = 0; i < 50; i++) {
      const unfinished = new FrameReader(100_000)
      unfinished.feed(one.subarray(0, 20_000), 0, sink)
      unfinished.close()
      const reader = new FrameReader(100_000)
      reader.feed(one.subarray(0, 30_000), 0, sink)
      reader.feed(one.subarray(30_000), 0, sink)
    }
    expect(memories.size).toBe(1)
    expect(forgotten).toBe(50)
  })

  test('has memory for every large packet, however many are under way at once', () => {
    const list = Array.from({ length: 30 }, (_, i) => packet(0x30, Buffer.alloc(40_000, i)))
    const readers = list.map((one) => {
      const reader = new FrameReader(100_000)
      reader.feed(one.subarray(0, 39_000), 0, { frame: () => true })
      return reader
    })
    list.forEach((one, i) => {
      const seen: Buffer[] = []
      const frame = (buf: Buffer, start: number, _body: number, end: number): boolean =>
        seen.push(Buffer.from(buf.subarray(start, end))) > 0
      readers[i]!.feed(one.subarray(39_000), 0, { frame })
      expect(seen[0]!.equals(one)).toBe(true)
    })
  })

  test('refuses an announced size above the limit before the body comes, and keeps nothing of it', () => {
    const reader = new FrameReader(1000)
    const sink = { frame: () => true }
    expect(() => reader.feed(Buffer.from([0x30, 0xff, 0xff, 0xff, 0x7f]), 0, sink)).toThrow(SluiceError)
    const byteByByte = new FrameReader(1000)
    byteByByte.feed(Buffer.from([0x30]), 0, sink)
    expect(() => byteByByte.feed(Buffer.from([0xe7, 0x07]), 0, sink)).toThrow(/1002 bytes; the limit is 1000/)
    expect(() => read(packet(0x30, Buffer.alloc(997)), [3], 1000)).not.toThrow()
  })

  test('refuses a Remaining Length of five bytes, whole or byte by byte [v5 1.5.5]', () => {
    const bytes = Buffer.from([0x30, 0x80, 0x80, 0x80, 0x80, 0x01])
    for (const sizes of [[6], [1], [2], [5]]) expect(() => read(bytes, sizes)).toThrow(/more than four bytes/)
  })
})
