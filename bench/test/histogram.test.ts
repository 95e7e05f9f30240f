import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Histogram } from '../load/histogram.ts'

test('percentiles are exact below 256 and never more than 1 % too high above', () => {
  const value = fc.oneof(fc.nat(300), fc.nat(1_000_000), fc.nat(3_600_000_000))
  fc.assert(
    fc.property(
      fc.array(value, { minLength: 1, maxLength: 400 }),
      fc.double({ min: 0.1, max: 100 }),
      (values, percent) => {
        fc.pre(Number.isFinite(percent))
        const histogram = new Histogram()
        for (const one of values) histogram.record(one)
        const sorted = [...values].sort((a, b) => a - b)
        const exact = sorted[Math.max(0, Math.ceil((values.length * percent) / 100) - 1)]!
        const told = histogram.percentile(percent)
        expect(told).toBeGreaterThanOrEqual(exact)
        expect(told).toBeLessThanOrEqual(exact < 256 ? exact : exact * 1.01)
        expect(histogram.max).toBe(sorted.at(-1))
        expect(histogram.total).toBe(values.length)
      },
    ),
  )
})

test('an empty histogram answers 0, and odd values are kept in range', () => {
  const histogram = new Histogram()
  expect(histogram.percentile(99)).toBe(0)
  histogram.record(-5)
  histogram.record(2.9)
  histogram.record(1e300)
  expect(histogram.percentile(1)).toBe(0)
  expect(histogram.percentile(50)).toBe(2)
  expect(histogram.max).toBe(0xffff_ffff)
})
