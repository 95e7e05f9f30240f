import fc from 'fast-check'
import { describe, expect, it } from 'vitest'
import type { Group } from '../../src/router/destinations.ts'
import { Origin } from '../../src/router/message.ts'
import { Publication } from '../../src/router/publication.ts'
import { Loan, Loans } from '../../src/session/loan.ts'
import { encodePublish } from '../../src/wire/client-packets.ts'
import { bodyStart } from '../conformance/wire/decode.ts'
import { publish } from './wire-packets.ts'

/** Only handed through. */
const group = {} as Group
const origin = new Origin('publisher', 'user')

describe.each([4, 5] as const)('a message of version %i lent to a member', (version) => {
  it('can be had in its stored form long after its packet is gone', () => {
    const packets = fc.array(publish(version, ['subscriptionIdentifiers']), { minLength: 1, maxLength: 30 })
    fc.assert(
      fc.property(packets, fc.nat(3000), (list, more) => {
        const lent = list.map((packet, time) => {
          const payload = time % 7 === 0 ? Buffer.concat([packet.payload, Buffer.alloc(more)]) : packet.payload
          const encoded = encodePublish(version, { ...packet, payload })
          const memory = Buffer.concat([Buffer.alloc(5), encoded])
          const publication = new Publication()
          publication.parse(memory, 5, 5 + bodyStart(encoded), memory.length, version === 5)
          const wanted = publication.store(origin, time)
          const loan = new Loan(group, 1, null, null)
          loan.keep(publication, origin, time)
          memory.fill(0xff)
          return { loan, wanted }
        })
        for (const { loan, wanted } of lent) {
          expect(loan.message.equals(wanted)).toBe(true)
          expect(loan.message.equals(wanted)).toBe(true)
        }
      }),
      { numRuns: 200 },
    )
  })
})

it('loans are repaid in any order, and what is left can be taken, oldest first', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(fc.integer({ min: 1, max: 70 }), fc.nat()), { maxLength: 300 }), (steps) => {
      const loans = new Loans()
      const model = new Map<number, Loan>()
      const repaid: number[] = []
      let seq = 1
      for (const [ahead, which] of steps) {
        if (which % 3 > 0) {
          const mine = seq
          const loan = new Loan(group, 1, Buffer.alloc(0), () => repaid.push(mine))
          loans.lend(seq, loan)
          model.set(seq, loan)
          seq += ahead
        } else if (model.size > 0) {
          const one = [...model.keys()][which % model.size]!
          loans.repay(one)
          loans.repay(one)
          model.delete(one)
          expect(repaid.pop()).toBe(one)
          expect(repaid).toEqual([])
        }
      }
      expect(loans.take()).toEqual([...model.values()])
      expect(loans.take()).toEqual([])
    }),
    { numRuns: 300 },
  )
})
