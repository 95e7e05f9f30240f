import fc from 'fast-check'
import { expect, test } from 'vitest'
import { PacketIds } from '../load/packet-ids.ts'

test('an identifier in flight is never handed out again [v3 MQTT-2.3.1-2]', () => {
  fc.assert(
    fc.property(fc.array(fc.integer({ min: -12, max: 12 }), { maxLength: 100 }), fc.nat(100), (steps, salt) => {
      const ids = new PacketIds(10)
      const inFlight: number[] = []
      for (const step of steps) {
        for (let i = 0; i < step && inFlight.length < 10; i++) {
          const id = ids.take()
          expect(id).toBeGreaterThan(0)
          expect(id).toBeLessThanOrEqual(10)
          expect(inFlight).not.toContain(id)
          inFlight.push(id)
        }
        // Released in an order of their own.
        for (let i = 0; i > step && inFlight.length > 0; i--) {
          const [id] = inFlight.splice((salt + i * i) % inFlight.length, 1)
          expect(ids.release(id!)).toBe(true)
        }
        expect(ids.inFlight).toBe(inFlight.length)
      }
    }),
  )
})

test('releasing what is not in flight is noticed', () => {
  const ids = new PacketIds()
  expect(ids.release(1)).toBe(false)
  const id = ids.take()
  expect(ids.release(id)).toBe(true)
  expect(ids.release(id)).toBe(false)
  expect(ids.release(0)).toBe(false)
  expect(ids.inFlight).toBe(0)
})
