import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import { copyByWords, RepeatedBytes } from '../../src/wire/words.ts'

/** Bytes that make words which are hard for floating-point numbers: zeros, minus zero, infinities, not-a-numbers. */
const hard = fc.constantFrom(0x00, 0x80, 0x7f, 0xff, 0xf0, 0xf8)
const bytes = fc.oneof(
  fc.array(fc.nat(255), { maxLength: 80 }),
  fc.array(hard, { maxLength: 40 }),
  fc.array(fc.oneof(hard, fc.nat(255)), { maxLength: 40 }),
)

/** Small buffers are read byte by byte, large ones through a view. */
const room = fc.constantFrom(0, 2000)

describe('bytes that repeat', () => {
  it('are recognised wherever they lie, and nothing else is', () => {
    fc.assert(
      fc.property(
        bytes,
        fc.nat(20),
        room,
        fc.nat(),
        fc.integer({ min: 1, max: 255 }),
        (list, before, after, at, flip) => {
          const wanted = Buffer.from(list)
          const repeated = new RepeatedBytes(Buffer.concat([Buffer.alloc(3, 7), wanted]), 3, 3 + wanted.length)
          const buf = Buffer.concat([Buffer.alloc(before, 1), wanted, Buffer.alloc(after, 2)])
          const end = before + wanted.length
          expect(repeated.is(buf, before, end)).toBe(true)
          if (wanted.length === 0) return
          expect(repeated.is(buf, before, end - 1)).toBe(false)
          buf[before + (at % wanted.length)]! ^= flip
          expect(repeated.is(buf, before, end)).toBe(false)
        },
      ),
      { numRuns: 2000 },
    )
  })

  it('do not take minus zero for zero', () => {
    const zeros = Buffer.alloc(2048)
    const repeated = new RepeatedBytes(zeros, 0, 24)
    expect(repeated.is(zeros, 5, 29)).toBe(true)
    zeros[5 + 15] = 0x80
    expect(repeated.is(zeros, 5, 29)).toBe(false)
  })

  it('are looked for in the buffer given, not in the one before', () => {
    const first = Buffer.alloc(4096, 'first...')
    const second = Buffer.alloc(4096, 'second..')
    const repeated = new RepeatedBytes(first, 0, 40)
    for (const [buf, same] of [
      [first, true],
      [second, false],
      [first.subarray(8), true],
      [first.subarray(1), false],
      [second, false],
      [first.subarray(0, 100), true],
    ] as const)
      expect(repeated.is(buf, 0, 40)).toBe(same)
  })
})

it('short copies have every byte and touch no other', () => {
  fc.assert(
    fc.property(fc.uint8Array({ maxLength: 200 }), fc.nat(30), fc.nat(30), room, (list, before, at, after) => {
      const buf = Buffer.concat([Buffer.alloc(before), list, Buffer.alloc(after)])
      const target = Buffer.alloc(at + list.length + 9, 0xee)
      const view = new DataView(target.buffer, target.byteOffset, target.length)
      const wanted = Buffer.from(target)
      if (copyByWords(buf, before, before + list.length, view, at)) wanted.set(list, at)
      else expect(buf.length).toBeLessThan(2000)
      expect(target.equals(wanted)).toBe(true)
    }),
    { numRuns: 1000 },
  )
})
