import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FrameScanner } from '../load/frame-scanner.ts'

function encode(header: number, body: Uint8Array): Buffer {
  const length: number[] = []
  let rest = body.length
  do {
    length.push((rest & 0x7f) | (rest > 0x7f ? 0x80 : 0))
    rest >>>= 7
  } while (rest > 0)
  return Buffer.concat([Buffer.from([header, ...length]), body])
}

function scan(chunks: readonly Buffer[]): { header: number; body: string }[] {
  const frames: { header: number; body: string }[] = []
  const scanner = new FrameScanner({
    packet: (header, bytes, from, to) => frames.push({ header, body: bytes.toString('hex', from, to) }),
  })
  // Every chunk comes at an offset in a buffer that is overwritten afterwards, as the shared read buffer is.
  for (const chunk of chunks) {
    const shared = Buffer.concat([Buffer.from('junk'), chunk, Buffer.from('junk')])
    scanner.push(shared, 4, 4 + chunk.length)
    shared.fill(0xff)
  }
  return frames
}

describe('FrameScanner', () => {
  test('finds the same frames however the stream is cut', () => {
    const frame = fc.record({
      header: fc.integer({ min: 0, max: 255 }),
      body: fc.oneof(fc.uint8Array({ maxLength: 20 }), fc.uint8Array({ minLength: 120, maxLength: 700 })),
    })
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 12 }), fc.array(fc.nat(400), { maxLength: 40 }), (frames, cuts) => {
        const stream = Buffer.concat(frames.map(({ header, body }) => encode(header, body)))
        const chunks: Buffer[] = []
        let at = 0
        for (const cut of cuts) {
          chunks.push(stream.subarray(at, at + cut))
          at = Math.min(stream.length, at + cut)
        }
        chunks.push(stream.subarray(at))
        const wanted = frames.map(({ header, body }) => ({ header, body: Buffer.from(body).toString('hex') }))
        expect(scan(chunks)).toEqual(wanted)
      }),
    )
  })

  test('finds frames that arrive byte by byte', () => {
    const stream = Buffer.concat([encode(0x30, Buffer.alloc(200, 7)), encode(0x40, Buffer.from([0, 1]))])
    expect(scan([...stream].map((byte) => Buffer.from([byte]))).map(({ header }) => header)).toEqual([0x30, 0x40])
  })

  test('refuses a Remaining Length of five bytes, whole or in pieces [v3 2.2.3]', () => {
    const bytes = Buffer.from([0x30, 0xff, 0xff, 0xff, 0xff, 0x01])
    expect(() => scan([bytes])).toThrow(RangeError)
    expect(() => scan([...bytes].map((byte) => Buffer.from([byte])))).toThrow(RangeError)
  })
})
