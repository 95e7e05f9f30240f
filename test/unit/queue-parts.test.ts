import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { backoffMs } from '../../src/queue/backoff.ts'
import { Entry, Lease } from '../../src/queue/entry.ts'
import { Heap } from '../../src/queue/heap.ts'
import {
  addFailure,
  decodeFailures,
  decodeMark,
  encodeEntryMark,
  encodeLeaseMark,
  FAILURES_MAX,
  REASON_BYTES_MAX,
} from '../../src/queue/marks.ts'
import { LeaseIds, leaseSuffix, receiptLeaseId, receiptOf, receiptRef } from '../../src/queue/receipt.ts'

describe('the heap', () => {
  test('gives its items back in order of key, also after removals from the middle', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(fc.integer({ min: 0, max: 50 }), fc.boolean())), (input) => {
        const heap = new Heap<{ key: number; heapIndex: number }>()
        const items = input.map(([key]) => ({ key, heapIndex: -1 }))
        for (const item of items) heap.push(item)
        for (const [i, [, removed]] of input.entries()) if (removed) heap.remove(items[i]!)
        const kept = items.filter((_, i) => !input[i]![1])
        const out: number[] = []
        for (let item = heap.pop(); item !== undefined; item = heap.pop()) out.push(item.key)
        expect(out).toEqual(kept.map(({ key }) => key).sort((a, b) => a - b))
        expect(items.every(({ heapIndex }) => heapIndex === -1)).toBe(true)
      }),
    )
  })
})

describe('backoff', () => {
  const backoff = { minMs: 500, maxMs: 300_000, factor: 2, jitter: 'none' as const }

  test('doubles from minMs to maxMs', () => {
    expect([1, 2, 3, 10, 11, 10_000].map((failures) => backoffMs(backoff, failures, 0.3))).toEqual([
      500, 1000, 2000, 256_000, 300_000, 300_000,
    ])
  })

  test('with full jitter takes a random share of the delay', () => {
    const full = { ...backoff, jitter: 'full' as const }
    expect(backoffMs(full, 3, 0)).toBe(0)
    expect(backoffMs(full, 3, 0.25)).toBe(500)
    expect(backoffMs(full, 10_000, 0.5)).toBe(150_000)
  })
})

describe('receipts', () => {
  test('carry sequence number and lease id', () => {
    const receipt = receiptOf(42, leaseSuffix(1_800_000_000_123_456))
    expect(receiptRef(receipt)).toBe(42)
    expect(receiptLeaseId(receipt)).toBe(1_800_000_000_123_456)
  })

  test.each(['', '-', '42', '42-', '-abc', 'x-y', '42-abc!', '42-ABC', '42-0abc', '42-abc-d', '{}'])(
    '%j is none',
    (text) => {
      expect(Number.isNaN(receiptRef(text)) || Number.isNaN(receiptLeaseId(text))).toBe(true)
    },
  )

  test('lease ids go up across restarts, and beyond every id found in the store', () => {
    const now = Date.UTC(2026, 10, 20)
    const before = new LeaseIds(now)
    const first = before.next()
    expect(before.next()).toBeGreaterThan(first)
    expect(new LeaseIds(now + 1).next()).toBeGreaterThan(before.next())
    const setBack = new LeaseIds(now - 1_000_000)
    setBack.seen(first)
    expect(setBack.next()).toBeGreaterThan(first)
    expect(Number.isSafeInteger(first)).toBe(true)
  })
})

function entry(seq: number, leaseId: number): Entry {
  const made = new Entry(seq)
  made.leaseId = leaseId
  return made
}

describe('marks', () => {
  test('an entry mark gives back state, attempts, lease and failures', () => {
    const failed = entry(7, 1_800_000_000_000_001)
    failed.state = 'delayed'
    failed.attempt = 3
    failed.history = addFailure(null, { at: 1_790_000_000_000, attempt: 3, reason: 'größer' })
    const mark = decodeMark(encodeEntryMark(failed, 'delayed', 1_790_000_000_500, 500))
    expect(mark).toMatchObject({
      kind: 'entry',
      state: 'delayed',
      attempt: 3,
      leaseId: 1_800_000_000_000_001,
      at: 1_790_000_000_500,
      spanMs: 500,
    })
    expect(mark.kind === 'entry' && decodeFailures(mark.history)).toEqual([
      { at: 1_790_000_000_000, attempt: 3, reason: 'größer' },
    ])
  })

  test('a lease mark gives back every entry with its lease id, whatever the gaps', () => {
    const seqs = fc.uniqueArray(fc.integer({ min: 1, max: 2 ** 40 }), { minLength: 1, maxLength: 50 })
    const dense = fc.integer({ min: 1, max: 2 ** 52 }).map((first) => Array.from({ length: 20 }, (_, i) => first + i))
    fc.assert(
      fc.property(fc.oneof(seqs, dense), fc.integer({ min: 1, max: 7 }), (chosen, every) => {
        const entries = chosen.sort((a, b) => a - b).map((seq, i) => entry(seq, 2 ** 50 + Math.floor(i / every)))
        const mark = decodeMark(encodeLeaseMark(new Lease(0, 1_790_000_000_000, 30_000), entries))
        if (mark.kind !== 'lease') throw new Error('not a lease mark')
        expect(mark.until).toBe(1_790_000_000_000)
        expect(mark.leaseMs).toBe(30_000)
        const found = mark.runs.flatMap(({ firstSeq, count, leaseId }) =>
          Array.from({ length: count }, (_, i) => [firstSeq + i, leaseId]),
        )
        expect(found).toEqual(entries.map(({ seq, leaseId }) => [seq, leaseId]))
      }),
    )
  })

  test('a lease of 1,000 neighbours takes a few bytes', () => {
    const entries = Array.from({ length: 1000 }, (_, i) => entry(5000 + i, 2 ** 50))
    expect(encodeLeaseMark(new Lease(0, 1, 1), entries).length).toBeLessThan(32)
  })

  test('reasons are cut between characters and only the last failures are kept', () => {
    let history = addFailure(null, { at: 0, attempt: 0, reason: 'ä'.repeat(REASON_BYTES_MAX) })
    expect(decodeFailures(history)[0]!.reason).toBe('ä'.repeat(REASON_BYTES_MAX / 2))
    history = addFailure(history, { at: 1, attempt: 1, reason: `x${'ä'.repeat(REASON_BYTES_MAX)}` })
    expect(decodeFailures(history)[1]!.reason).toBe(`x${'ä'.repeat(REASON_BYTES_MAX / 2 - 1)}`)
    for (let attempt = 2; attempt < FAILURES_MAX + 5; attempt++)
      history = addFailure(history, { at: attempt, attempt, reason: `failure ${attempt}` })
    const failures = decodeFailures(history)
    expect(failures.length).toBe(FAILURES_MAX)
    expect(failures[0]!.attempt).toBe(5)
    expect(failures.at(-1)!.attempt).toBe(FAILURES_MAX + 4)
  })

  test.each([Buffer.alloc(0), Buffer.from([9]), Buffer.from([1, 2, 3]), Buffer.from([2, 0])])(
    'bytes that are no mark are refused: %j',
    (bytes) => {
      expect(() => decodeMark(bytes)).toThrow(expect.objectContaining({ code: 'store_corrupt' }))
    },
  )
})
