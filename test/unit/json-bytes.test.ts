import fc from 'fast-check'
import { expect, test } from 'vitest'
import { JsonBytes } from '../../src/bridge/json-bytes.ts'

const text = fc.oneof(
  fc.string({ unit: 'binary' }),
  fc.string({ unit: 'binary-ascii' }),
  fc.string({ unit: fc.constantFrom('"', '\\', '\n', '\t', '\u0001', '\u007f', '\u2028', 'ä', '😀', 'x') }),
)

test('strings are written as JSON.stringify writes them, wherever they begin and however much room there is', () => {
  fc.assert(
    fc.property(fc.array(text), fc.nat(20), fc.integer({ min: 1, max: 300 }), (texts, offset, room) => {
      const out = new JsonBytes(room)
      for (const one of texts) {
        const bytes = Buffer.concat([Buffer.alloc(offset, '"'), Buffer.from(one)])
        out.string(bytes, offset, bytes.length)
      }
      expect(out.bytes.toString()).toBe(texts.map((one) => JSON.stringify(Buffer.from(one).toString())).join(''))
    }),
  )
})

test.each([4095, 4096, 4097, 100_000])('a string of %i bytes', (length) => {
  for (const one of ['x'.repeat(length), 'ä'.repeat(length / 2), '"'.repeat(length)]) {
    const bytes = Buffer.from(one)
    const out = new JsonBytes(10)
    out.string(bytes, 0, bytes.length)
    expect(out.bytes.equals(Buffer.from(JSON.stringify(one)))).toBe(true)
  }
})

test('what is cut is gone', () => {
  const out = new JsonBytes(4)
  out.ascii('[1')
  const { length } = out
  out.raw(Buffer.from(',2'.repeat(100)))
  out.cut(length)
  out.base64(Buffer.from([0xff, 0]), 0, 2)
  out.json(']ä')
  expect(out.bytes.toString()).toBe('[1"/wA="]ä')
})
