import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { closeFrame, FrameParser, pongFrame, writeBinaryHeader } from '../../src/transports/websocket-frames.ts'

interface Frame {
  opcode: number
  payload: Buffer
  fin?: boolean
  mask?: Buffer
  reserved?: number
}

/** A frame as a client sends it. */
function clientFrame({
  opcode,
  payload,
  fin = true,
  mask = Buffer.from([1, 2, 250, 77]),
  reserved = 0,
}: Frame): Buffer {
  const length = payload.length
  const head = Buffer.alloc(length < 126 ? 2 : length < 65_536 ? 4 : 10)
  head[0] = (fin ? 0x80 : 0) | reserved | opcode
  head[1] = 0x80 | (length < 126 ? length : length < 65_536 ? 126 : 127)
  if (head.length === 4) head.writeUInt16BE(length, 2)
  if (head.length === 10) head.writeBigUInt64BE(BigInt(length), 2)
  return Buffer.concat([head, mask, payload.map((byte, i) => byte ^ mask[i & 3]!)])
}

const binary = (payload: Buffer): Buffer => clientFrame({ opcode: 2, payload })

/** Feeds `bytes` in pieces that end at `cuts`, each in memory of its own at an odd address. */
function feed(parser: FrameParser, bytes: Buffer, cuts: number[] = []): Buffer {
  const places = [0, ...cuts.map((cut) => cut % (bytes.length + 1)).sort((a, b) => a - b), bytes.length]
  const payloads: Buffer[] = []
  for (let i = 1; i < places.length; i++) {
    const piece = bytes.subarray(places[i - 1]!, places[i]!)
    const own = Buffer.from(new ArrayBuffer(piece.length + 3), i % 4, piece.length)
    piece.copy(own)
    payloads.push(Buffer.from(parser.push(own)))
  }
  return Buffer.concat(payloads)
}

const bytes = (maxLength: number): fc.Arbitrary<Buffer> =>
  fc.uint8Array({ maxLength, size: 'max' }).map((array) => Buffer.from(array))

describe('frames of a client (RFC 6455, 5)', () => {
  test('payloads come out whole and in order, whatever the sizes, masks and reads', () => {
    const frame = fc.record({
      payload: fc.oneof(bytes(40), bytes(200), bytes(1000)),
      mask: fc.uint8Array({ minLength: 4, maxLength: 4 }).map((array) => Buffer.from(array)),
    })
    fc.assert(
      fc.property(fc.array(frame, { maxLength: 12 }), fc.array(fc.nat(10_000), { maxLength: 8 }), (frames, cuts) => {
        const parser = new FrameParser()
        const sent = Buffer.concat(frames.map(({ payload, mask }) => clientFrame({ opcode: 2, payload, mask })))
        expect(feed(parser, sent, cuts).equals(Buffer.concat(frames.map(({ payload }) => payload)))).toBe(true)
        expect(parser.end).toBeNull()
      }),
      { numRuns: 300 },
    )
  })

  test('a frame of more than 64 KiB is passed on as it comes', () => {
    const payload = Buffer.alloc(70_001, 'abcdefg')
    const parser = new FrameParser()
    const sent = binary(payload)
    expect(parser.push(Buffer.from(sent.subarray(0, 20))).length).toBe(6)
    expect(feed(parser, sent.subarray(20), [3, 5000, 30_001]).equals(payload.subarray(6))).toBe(true)
  })

  test('a message in fragments with a ping among them', () => {
    const parser = new FrameParser()
    const sent = Buffer.concat([
      clientFrame({ opcode: 2, payload: Buffer.from('ab'), fin: false }),
      clientFrame({ opcode: 9, payload: Buffer.from('are you there') }),
      clientFrame({ opcode: 0, payload: Buffer.from('cd'), fin: false }),
      clientFrame({ opcode: 10, payload: Buffer.alloc(0) }),
      clientFrame({ opcode: 0, payload: Buffer.from('ef') }),
      binary(Buffer.from('gh')),
    ])
    for (const cuts of [[], [9, 20], Array.from({ length: sent.length }, (_, i) => i)]) {
      const one = new FrameParser()
      expect(feed(one, sent, cuts).toString()).toBe('abcdefgh')
      expect(one.pings!.map(String)).toEqual(['are you there'])
    }
    expect(parser.end).toBeNull()
  })

  const closing = (code: number): Buffer => Buffer.from([code >> 8, code & 255, ...Buffer.from('reason')])
  test.each([
    ['a code', closing(1001), 1001, true],
    ['no code', Buffer.alloc(0), 1005, true],
    ['half a code', Buffer.from([3]), 1002, false],
    ['a code that is never sent', closing(1006), 1002, false],
    ['a code of nobody', closing(2999), 1002, false],
    ['a code of a program', closing(4999), 4999, true],
  ])('a close frame with %s', (_name, payload, code, good) => {
    const parser = new FrameParser()
    const sent = Buffer.concat([
      binary(Buffer.from('last')),
      clientFrame({ opcode: 8, payload }),
      binary(Buffer.from('late')),
    ])
    expect(feed(parser, sent).toString()).toBe('last')
    expect(parser.end!.code).toBe(code)
    expect(parser.end!.error === null).toBe(good)
  })

  const one = Buffer.from('x')
  test.each([
    ['without mask', Buffer.from([0x82, 1, 120]), 1002],
    ['with a reserved bit', clientFrame({ opcode: 2, payload: one, reserved: 0x40 }), 1002],
    ['of text [v5 MQTT-6.0.0-1]', clientFrame({ opcode: 1, payload: one }), 1003],
    ['with a reserved opcode', clientFrame({ opcode: 3, payload: one }), 1002],
    ['with a reserved control opcode', clientFrame({ opcode: 11, payload: one }), 1002],
    ['that continues nothing', clientFrame({ opcode: 0, payload: one }), 1002],
    [
      'within another message',
      Buffer.concat([clientFrame({ opcode: 2, payload: Buffer.alloc(0), fin: false }), binary(one)]),
      1002,
    ],
    ['of control in fragments', clientFrame({ opcode: 9, payload: one, fin: false }), 1002],
    ['of control above 125 bytes', clientFrame({ opcode: 9, payload: Buffer.alloc(126) }), 1002],
    ['beyond 2^53', Buffer.from([0x82, 0xff, 0x7f, 255, 255, 255, 255, 255, 255, 255, 1, 2, 3, 4]), 1002],
  ])('a frame %s ends the reading, and what came before it counts', (_name, frame, code) => {
    for (const cuts of [[], [8, 9, 10]]) {
      const parser = new FrameParser()
      expect(feed(parser, Buffer.concat([binary(Buffer.from('ab')), frame]), cuts).toString()).toBe('ab')
      expect(parser.end).toMatchObject({ code, error: expect.any(String) })
    }
  })
})

test('frames of the server: shortest length, no mask', () => {
  const header = (length: number): string => {
    const target = Buffer.alloc(10)
    return target.subarray(0, writeBinaryHeader(target, length)).toString('hex')
  }
  expect([0, 125, 126, 65_535, 65_536, 2 ** 32 + 1].map(header)).toEqual([
    '8200',
    '827d',
    '827e007e',
    '827effff',
    '827f0000000000010000',
    '827f0000000100000001',
  ])
  expect(pongFrame(Buffer.from('x')).toString('hex')).toBe('8a0178')
  expect([closeFrame(1000), closeFrame(1005)].map((frame) => frame.toString('hex'))).toEqual(['880203e8', '8800'])
})
