/** What decides who gets which message when: keys, priorities, times, rates, groups. One suite for every store. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Delivery } from '../../src/queue/delivery.ts'
import type { QueueSettings } from '../../src/queue/settings.ts'
import type { Terms } from '../../src/queue/terms.ts'
import { encodeMessage, NO_EXPIRY } from '../../src/router/message.ts'
import { Bench, payloads, plain, type StoreHarness } from './queue-contract.ts'

export function enter(bench: Bench, payload: string, terms: Terms | null = null, queue = 'work', topic = 't'): string {
  const admission = bench.queues.intake(queue).admit(terms)
  if (admission.verdict !== 'enter') return admission.verdict
  const message = encodeMessage({
    topic,
    clientId: 'device',
    qos: 1,
    retain: false,
    time: bench.clock.now(),
    properties: Buffer.alloc(0),
    payload: Buffer.from(payload),
    expirySeconds: NO_EXPIRY,
  })
  bench.store.append(message, admission.targets)
  admission.entered()
  return 'enter'
}

const receipts = (deliveries: readonly Delivery[]): string[] => deliveries.map(({ receipt }) => receipt)
const key = (name: string): Terms => ({ key: Buffer.from(name) })
const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

/** Time passes, and what follows from it happens. */
export async function pass(bench: Bench, ms: number): Promise<void> {
  bench.clock.advance(ms)
  for (let i = 0; i < 4; i++) await turn()
  await bench.settled()
}

/** Time passes until the condition holds; a store in another process gets the time of the real clock that it needs. */
export async function passUntil(bench: Bench, ms: number, holds: () => boolean): Promise<void> {
  const end = performance.now() + 30_000
  while (!holds() && performance.now() < end) {
    await pass(bench, ms)
    await new Promise((resolve) => setTimeout(resolve, 1))
  }
}

export function queueOrderContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`the order of a work queue on ${name}`, () => {
    let harness: StoreHarness
    let bench: Bench

    async function make(settings: Partial<QueueSettings> = {}): Promise<void> {
      bench = await new Bench(harness, { settings: { work: { ...plain, ...settings } } }).open()
    }

    beforeEach(() => {
      harness = makeHarness()
    })
    afterEach(async () => {
      await bench.close()
      await harness.dispose()
    })

    const pull = async (max = 100, queue = 'work'): Promise<Delivery[]> => bench.queues.get(queue).pull(max, 10_000)

    describe('ordering keys', () => {
      test('a later message of a key waits for the earlier one, other keys do not', async () => {
        await make()
        for (const payload of ['a1', 'a2', 'b1', 'a3', 'b2', 'x'])
          enter(bench, payload, payload === 'x' ? null : key(payload[0]!))
        await bench.store.commit()
        const first = await pull()
        expect(payloads(first)).toEqual(['a1', 'b1', 'x'])
        expect(await pull()).toEqual([])
        await bench.work.ack([first[0]!.receipt])
        const second = await pull()
        expect(payloads(second)).toEqual(['a2'])
        await bench.work.ack([second[0]!.receipt, first[1]!.receipt])
        expect(payloads(await pull()).sort()).toEqual(['a3', 'b2'])
      })

      test('a message that failed holds its key until it is done', async () => {
        await make()
        for (const payload of ['a1', 'a2']) enter(bench, payload, key('a'))
        await bench.store.commit()
        await bench.work.nack([{ receipt: (await pull())[0]!.receipt, delayMs: 1000 }])
        expect(await pull()).toEqual([])
        await pass(bench, 1000)
        const again = await pull()
        expect(payloads(again)).toEqual(['a1'])
        await bench.work.nack([{ receipt: again[0]!.receipt, reject: true }])
        expect(payloads(await pull())).toEqual(['a2'])
      })

      test('order survives a restart', async () => {
        await make()
        for (const payload of ['a1', 'a2', 'a3', 'b1']) enter(bench, payload, key(payload[0]!))
        await bench.store.commit()
        const [a1, b1] = await pull()
        await bench.reopen()
        expect(await pull()).toEqual([])
        await bench.work.ack([a1!.receipt])
        expect(payloads(await pull())).toEqual(['a2'])
        await bench.work.nack([{ receipt: b1!.receipt, delayMs: 0 }])
        await bench.reopen()
        expect(payloads(await pull())).toEqual(['b1'])
      })

      test('several of a key at a time, when the settings say so', async () => {
        await make({ keys: { ...plain.keys, leasedMax: 2 } })
        for (const payload of ['a1', 'a2', 'a3']) enter(bench, payload, key('a'))
        await bench.store.commit()
        const two = await pull()
        expect(payloads(two)).toEqual(['a1', 'a2'])
        await bench.work.ack([two[1]!.receipt])
        expect(payloads(await pull())).toEqual(['a3'])
      })

      test('a rate for each key', async () => {
        await make({ keys: { leasedMax: 100, parkedMax: 100, perSecond: 1, burst: 2 } })
        for (const payload of ['a1', 'a2', 'a3', 'b1']) enter(bench, payload, key(payload[0]!))
        await bench.store.commit()
        expect(payloads(await pull())).toEqual(['a1', 'a2', 'b1'])
        await pass(bench, 990)
        expect(await pull()).toEqual([])
        await pass(bench, 20)
        expect(payloads(await pull())).toEqual(['a3'])
      })

      test('no more is looked at than parkedMax says, and nothing is forgotten', async () => {
        await make({ keys: { ...plain.keys, parkedMax: 3 } })
        for (let i = 0; i < 10; i++) enter(bench, `a${i}`, key('a'))
        enter(bench, 'z')
        await bench.store.commit()
        const seen: string[] = []
        for (let got = await pull(); got.length > 0; got = await pull()) {
          seen.push(...payloads(got))
          await bench.work.ack(receipts(got))
        }
        expect(seen.filter((payload) => payload !== 'z')).toEqual(Array.from({ length: 10 }, (_, i) => `a${i}`))
        expect(seen).toHaveLength(11)
      })

      test('a purge leaves no key behind', async () => {
        await make()
        for (const payload of ['a1', 'a2', 'a3']) enter(bench, payload, key('a'))
        await bench.store.commit()
        const [a1] = await pull()
        expect(await bench.work.purge()).toBe(2)
        await bench.work.ack([a1!.receipt])
        expect(await pull()).toEqual([])
        enter(bench, 'a4', key('a'))
        await bench.store.commit()
        expect(payloads(await pull())).toEqual(['a4'])
        expect(bench.work.waiting).toBe(1)
      })
    })

    describe('priorities', () => {
      test('the highest first, first in first out within one, over a restart', async () => {
        await make()
        for (const [payload, priority] of [
          ['l1', 0],
          ['m1', 4],
          ['h1', 9],
          ['m2', 4],
          ['h2', 9],
          ['l2', 0],
        ] as const)
          enter(bench, payload, { priority })
        enter(bench, 'm3')
        await bench.store.commit()
        await bench.reopen()
        expect(payloads(await pull(3))).toEqual(['h1', 'h2', 'm1'])
        const rest = await pull()
        expect(payloads(rest)).toEqual(['m2', 'm3', 'l1', 'l2'])
        expect(await bench.work.ack(receipts(rest))).toEqual(rest.map(({ receipt }) => ({ receipt, ok: true })))
        expect([bench.work.waiting, bench.work.leased]).toEqual([3, 3])
      })

      test('waiting lifts a message, so that nothing waits for ever', async () => {
        await make({ ageingMs: 1000 })
        enter(bench, 'old', { priority: 2 })
        await bench.store.commit()
        await pass(bench, 2000)
        enter(bench, 'h3', { priority: 3 })
        enter(bench, 'h5', { priority: 5 })
        await bench.store.commit()
        expect(payloads(await pull())).toEqual(['h5', 'old', 'h3'])
      })

      test('attempts, delays, dead letters and receipts are those of the message, whatever its priority', async () => {
        await make()
        enter(bench, 'h', { priority: 9 })
        enter(bench, 'l', { priority: 0 })
        await bench.store.commit()
        for (let attempt = 1; attempt <= 3; attempt++) {
          const got = await pull()
          expect(got.map(({ attempt: n }) => n)).toEqual([attempt, attempt])
          expect(new Set(receipts(got)).size).toBe(2)
          if (attempt === 2) await bench.reopen()
          await bench.work.nack(got.map(({ receipt }) => ({ receipt, delayMs: 100 })))
          await pass(bench, 100)
        }
        const dead = await pull(100, 'work.dead')
        expect(payloads(dead)).toEqual(['h', 'l'])
        expect(dead.map(({ deadLetter }) => [deadLetter!.attempts, deadLetter!.priority])).toEqual([
          [3, 9],
          [3, 0],
        ])
      })
    })

    describe('times', () => {
      test('a message for later comes then, and not before, over a restart', async () => {
        await make()
        const start = bench.clock.now()
        enter(bench, 'later', { deliverAt: start + 5000 })
        enter(bench, 'much later', { deliverAt: start + 7_200_000, priority: 7 })
        enter(bench, 'now', { deliverAt: start - 1 })
        await bench.store.commit()
        expect(payloads(await pull())).toEqual(['now'])
        await bench.reopen()
        await pass(bench, 4999)
        expect(await pull()).toEqual([])
        await pass(bench, 1)
        const [later] = await pull()
        expect(payloads([later!])).toEqual(['later'])
        await pass(bench, 7_000_000)
        await bench.reopen()
        expect(bench.queues.intake('work').schedule.waiting).toBe(1)
        await pass(bench, 200_000)
        expect(payloads(await pull())).toContain('much later')
        expect(bench.queues.intake('work').schedule.waiting).toBe(0)
      })

      test('many messages for one moment keep their order and their ids', async () => {
        await make()
        const at = bench.clock.now() + 60_000
        for (let i = 0; i < 2500; i++) enter(bench, String(i), { deliverAt: at })
        await bench.store.commit()
        for (let i = 0; i < 5; i++) await pass(bench, 60_000 / 4)
        const seen: string[] = []
        const ids = new Set<string>()
        for (let got = await pull(1000); got.length > 0; got = await pull(1000)) {
          seen.push(...payloads(got))
          for (const { id } of got) ids.add(id)
        }
        expect(seen).toEqual(Array.from({ length: 2500 }, (_, i) => String(i)))
        expect(ids.size).toBe(2500)
      })

      test('time to live: nobody gets it after that', async () => {
        await make()
        enter(bench, 'short', { expiresAt: bench.clock.now() + 1000 })
        enter(bench, 'long', { expiresAt: bench.clock.now() + 3000 })
        await bench.store.commit()
        await pass(bench, 1000)
        expect(payloads(await pull())).toEqual(['long'])
        expect([bench.work.counters.expired, bench.work.waiting]).toEqual([1, 1])
      })

      test('age: what nobody took in time is given up, even if nobody asks', async () => {
        await make({ limits: { ...plain.limits, ageMs: 10_000 } })
        enter(bench, 'old')
        await bench.store.commit()
        await pass(bench, 6000)
        enter(bench, 'young')
        await bench.store.commit()
        await pass(bench, 5000)
        expect([bench.work.waiting, bench.work.counters.expired]).toEqual([1, 1])
        expect(payloads(await pull())).toEqual(['young'])
      })
    })

    describe('pace', () => {
      test('no more with workers than leasedMax', async () => {
        await make({ leasedMax: 2 })
        await bench.publish('1', '2', '3')
        const two = await pull()
        expect(payloads(two)).toEqual(['1', '2'])
        expect(await pull()).toEqual([])
        const waiting = bench.work.pull(5, 1000, 60_000)
        await bench.work.ack([two[0]!.receipt])
        expect(payloads(await waiting)).toEqual(['3'])
      })

      test('no faster than the rate', async () => {
        await make({ rate: { perSecond: 10, burst: 2 } })
        await bench.publish('1', '2', '3', '4')
        expect(payloads(await pull())).toEqual(['1', '2'])
        const waiting = bench.work.pull(5, 1000, 60_000)
        await pass(bench, 100)
        expect(payloads(await waiting)).toEqual(['3'])
        await pass(bench, 99)
        expect(await pull()).toEqual([])
        await pass(bench, 2)
        expect(payloads(await pull())).toEqual(['4'])
      })

      test('paused, also after a restart: nobody gets messages, what is leased can be answered for', async () => {
        await make()
        await bench.publish('1', '2')
        const [one] = await pull(1)
        await bench.queues.pause('work', true)
        expect(await pull()).toEqual([])
        expect(await bench.work.ack([one!.receipt])).toEqual([{ receipt: one!.receipt, ok: true }])
        await bench.reopen()
        expect((await bench.work.info()).paused).toBe(true)
        const waiting = bench.work.pull(5, 1000, 60_000)
        await turn()
        await bench.queues.pause('work', false)
        expect(payloads(await waiting)).toEqual(['2'])
      })
    })

    describe('consumer groups', () => {
      test('each group sees every message once, and has attempts and dead letters of its own', async () => {
        await make({ groups: ['audit', 'billing'], maxAttempts: 1 })
        enter(bench, '1')
        enter(bench, '2', { priority: 8 })
        await bench.store.commit()
        expect(payloads(await pull())).toEqual(['2', '1'])
        const audit = await pull(100, 'work@audit')
        expect(payloads(audit)).toEqual(['2', '1'])
        await bench.queues.get('work@audit').nack([{ receipt: audit[0]!.receipt }])
        expect(payloads(await pull(100, 'work@audit.dead'))).toEqual(['2'])
        await bench.reopen()
        expect(payloads(await pull(100, 'work@billing'))).toEqual(['2', '1'])
      })

      test('a group that comes late sees what comes after it, also after a restart', async () => {
        await make()
        enter(bench, '1')
        await bench.queues.addGroup('work', 'late')
        enter(bench, '2')
        await bench.store.commit()
        await bench.reopen()
        enter(bench, '3')
        await bench.store.commit()
        expect(payloads(await pull(100, 'work@late'))).toEqual(['2', '3'])
        expect(payloads(await pull())).toEqual(['1', '2', '3'])
        expect(bench.queues.intake('work@late')).toBe(bench.queues.intake('work'))
      })
    })

    describe('deduplication', () => {
      const once = (name: string): Terms => ({ deduplicationKey: Buffer.from(name) })

      test('a key enters once within the window, over a restart', async () => {
        await make({ deduplication: { windowMs: 10_000, keysMax: 100 } })
        expect(enter(bench, '1', once('k'))).toBe('enter')
        expect(enter(bench, '1 again', once('k'))).toBe('drop')
        expect(enter(bench, '2', once('x'.repeat(500)))).toBe('enter')
        await bench.store.commit()
        await bench.reopen()
        expect(enter(bench, '1 again', once('k'))).toBe('drop')
        expect(enter(bench, '2 again', once('x'.repeat(500)))).toBe('drop')
        await pass(bench, 10_000)
        expect(enter(bench, '1 much later', once('k'))).toBe('enter')
        await bench.store.commit()
        expect(payloads(await pull())).toEqual(['1', '2', '1 much later'])
      })

      test('no more keys are kept than keysMax, on disk too', async () => {
        await make({ deduplication: { windowMs: 1_000_000, keysMax: 10 } })
        for (let i = 0; i < 3000; i++) {
          enter(bench, String(i), once(String(i)))
          if (i % 500 === 0) await bench.store.commit()
        }
        await bench.store.commit()
        enter(bench, 'one more', once('one more'))
        await bench.settled()
        await turn()
        await bench.settled()
        expect(bench.queues.intake('work').window.size).toBe(10)
        expect(bench.store.lane('qd/work').waiting).toBeLessThan(1100)
        expect(enter(bench, 'again', once('2999'))).toBe('drop')
        expect(enter(bench, 'again', once('1'))).toBe('enter')
        await bench.store.commit()
      })
    })

    describe('limits', () => {
      test('drop-oldest: what waited longest goes, what a worker holds stays', async () => {
        await make({ limits: { ...plain.limits, messagesMax: 3, whenFull: 'drop-oldest' } })
        for (const payload of ['1', '2', '3']) enter(bench, payload)
        await bench.store.commit()
        const [one] = await pull(1)
        enter(bench, '4')
        await bench.store.commit()
        await bench.settled()
        enter(bench, '5')
        await bench.store.commit()
        await bench.settled()
        expect([bench.work.waiting, bench.work.counters.dropped]).toEqual([3, 2])
        expect(payloads(await pull())).toEqual(['4', '5'])
        expect((await bench.work.ack([one!.receipt]))[0]!.ok).toBe(true)
      })

      test('settings that change while the queue runs hold at once, and after a restart', async () => {
        await make()
        enter(bench, '1')
        await bench.store.commit()
        await bench.queues.define('work', { ...plain, limits: { ...plain.limits, messagesMax: 1 } })
        expect(enter(bench, '2')).toBe('refuse')
        await bench.reopen()
        expect(enter(bench, '2')).toBe('refuse')
        await bench.queues.define('work', null)
        expect(enter(bench, '2')).toBe('enter')
        await bench.store.commit()
        expect(payloads(await pull())).toEqual(['1', '2'])
      })
    })
  })
}
