import fc from 'fast-check'
import { expect, test } from 'vitest'
import { Exchange, Inflight } from '../../src/session/inflight.ts'
import { packetIdOf, SEQ_SPAN_MAX, seqOf } from '../../src/session/packet-ids.ts'

test('a Packet Identifier is 1 to 65,535 and leads back to its sequence number within a span [v5 MQTT-2.2.1-3]', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 2 ** 45 }), fc.integer({ min: 0, max: SEQ_SPAN_MAX - 1 }), (base, ahead) => {
      const packetId = packetIdOf(base + ahead)
      expect(packetId).toBeGreaterThanOrEqual(1)
      expect(packetId).toBeLessThanOrEqual(65_535)
      expect(seqOf(packetId, base)).toBe(base + ahead)
    }),
  )
})

/** What a client and the window can do: send the next message (perhaps skipping some), or finish one in flight. */
const step = fc.oneof(
  { weight: 3, arbitrary: fc.record({ kind: fc.constant('open' as const), skip: fc.integer({ min: 0, max: 3 }) }) },
  { weight: 2, arbitrary: fc.record({ kind: fc.constant('close' as const), pick: fc.nat() }) },
  { weight: 1, arbitrary: fc.record({ kind: fc.constant('move' as const), pick: fc.nat() }) },
)

test('the window agrees with a plain map, whatever order acknowledgements come in', () => {
  fc.assert(
    fc.property(fc.integer({ min: 1, max: 200_000 }), fc.array(step, { maxLength: 400 }), (first, steps) => {
      const inflight = new Inflight(first)
      const model = new Map<number, number>()
      let next = first
      for (const s of steps) {
        const open = [...model.keys()]
        if (s.kind === 'open') {
          const seq = next + s.skip
          if (!inflight.fits(seq)) continue
          expect(inflight.open(seq, Exchange.awaitingPuback)).toBe(packetIdOf(seq))
          model.set(seq, Exchange.awaitingPuback)
          next = seq + 1
        } else if (open.length > 0) {
          const seq = open[s.pick % open.length]!
          if (s.kind === 'close') {
            inflight.close(seq)
            model.delete(seq)
          } else {
            inflight.move(seq, Exchange.awaitingPubcomp)
            model.set(seq, Exchange.awaitingPubcomp)
          }
        }
        expect(inflight.count).toBe(model.size)
        for (const [seq, state] of model) {
          expect(inflight.find(packetIdOf(seq))).toBe(seq)
          expect(inflight.state(seq)).toBe(state)
        }
      }
      for (let seq = first; seq < next; seq++) if (!model.has(seq)) expect(inflight.find(packetIdOf(seq))).toBe(-1)
    }),
    { numRuns: 60 },
  )
})

test('a message whose Packet Identifier would meet one in use does not fit [v5 MQTT-2.2.1-3]', () => {
  const inflight = new Inflight(1)
  inflight.open(1, Exchange.awaitingPuback)
  for (let seq = 2; seq <= SEQ_SPAN_MAX; seq++) {
    inflight.open(seq, Exchange.awaitingPuback)
    inflight.close(seq)
  }
  expect(packetIdOf(SEQ_SPAN_MAX + 1)).toBe(packetIdOf(1))
  expect(inflight.fits(SEQ_SPAN_MAX)).toBe(true)
  expect(inflight.fits(SEQ_SPAN_MAX + 1)).toBe(false)
  inflight.close(1)
  expect(inflight.fits(SEQ_SPAN_MAX + 1)).toBe(true)
})
