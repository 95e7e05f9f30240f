/** What people do with queues: look at messages, move dead letters back, replay. One suite for every store. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { Job } from '../../src/queue/job-records.ts'
import type { QueueSettings } from '../../src/queue/settings.ts'
import { Bench, payloads, plain, type StoreHarness } from './queue-contract.ts'
import { enter, pass, passUntil } from './queue-order-contract.ts'

export function queueControlContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`control of work queues on ${name}`, () => {
    let harness: StoreHarness
    let bench: Bench

    async function make(settings: Partial<QueueSettings> = {}): Promise<void> {
      const work = { ...plain, maxAttempts: 1, ...settings }
      bench = await new Bench(harness, { settings: { work, other: plain } }).open()
    }

    beforeEach(() => {
      harness = makeHarness()
    })
    afterEach(async () => {
      await bench.close()
      await harness.dispose()
    })

    const done = async (job: Job | Promise<Job>): Promise<Job> => bench.queues.control.jobs.ended((await job).id)
    const pull = async (queue: string, max = 1000) => bench.queues.get(queue).pull(max, 10_000)

    async function kill(count: number, reason = 'broken'): Promise<string[]> {
      for (let i = 0; i < count; i++) enter(bench, String(i), { priority: i % 2 === 0 ? 4 : 9 }, 'work', `t/${i % 3}`)
      await bench.store.commit()
      const got = await pull('work')
      await bench.work.nack(got.map(({ receipt }) => ({ receipt, reason })))
      return got.map(({ id }) => id)
    }

    describe('browsing', () => {
      test('shows every message once, page by page, with its state, and takes none', async () => {
        await make({ maxAttempts: 5 })
        for (let i = 0; i < 25; i++) enter(bench, String(i), i % 5 === 0 ? { priority: 9 } : null)
        await bench.store.commit()
        const held = await bench.work.pull(2, 10_000)
        await bench.work.nack([{ receipt: held[1]!.receipt, reason: 'later' }])
        const seen = []
        let cursor: number | undefined
        do {
          const page = await bench.queues.control.browse('work', {}, 7, cursor)
          expect(page.messages.length).toBeLessThanOrEqual(7)
          seen.push(...page.messages)
          cursor = page.next
        } while (cursor !== undefined)
        expect(seen.map(({ message }) => message.payload.toString())).toEqual([
          ...['0', '5', '10', '15', '20'],
          ...Array.from({ length: 25 }, (_, i) => String(i)).filter((n) => Number(n) % 5 !== 0),
        ])
        expect(new Set(seen.map(({ id }) => id)).size).toBe(25)
        expect(seen.slice(0, 3).map(({ state, attempts }) => [state, attempts])).toEqual([
          ['leased', 1],
          ['delayed', 1],
          ['ready', 0],
        ])
        expect(seen[1]!.failures.map(({ reason }) => reason)).toEqual(['later'])
        expect((await bench.queues.control.find('work', held[0]!.id))!.message.payload.toString()).toBe('0')
        expect(await bench.queues.control.find('work', 'nobody')).toBeNull()
        expect(bench.work.ready).toBe(23)
      })

      test('dead letters carry topic, client, payload, attempts and every failure', async () => {
        await make({ maxAttempts: 2 })
        enter(bench, 'x', { key: Buffer.from('k') }, 'work', 'a/b')
        await bench.store.commit()
        for (const reason of ['first', 'second']) {
          const [held] = await pull('work')
          await bench.work.nack([{ receipt: held!.receipt, reason, delayMs: 0 }])
        }
        const { messages } = await bench.queues.control.browse('work.dead', {}, 10)
        expect(messages).toHaveLength(1)
        const { message, terms, failures } = messages[0]!
        expect([message.topic, message.clientId, message.payload.toString()]).toEqual(['a/b', 'device', 'x'])
        expect([terms.deadLetter!.queue, terms.deadLetter!.attempts, terms.key!.toString()]).toEqual(['work', 2, 'k'])
        expect(failures.map(({ reason }) => reason)).toEqual(['first', 'second'])
      })
    })

    describe('redrive', () => {
      test('all: back into their queue, with their ids, priorities and all attempts before them', async () => {
        await make()
        const ids = await kill(1200)
        const dead = bench.queues.get('work.dead')
        expect(dead.waiting).toBe(1000)
        const rest = await pull('work')
        await bench.work.nack(rest.map(({ receipt }) => ({ receipt, reason: 'broken' })))
        ids.push(...rest.map(({ id }) => id))
        const job = await done(bench.queues.control.redrive('work.dead', {}))
        expect([job.state, job.count, dead.waiting]).toEqual(['done', 1200, 0])
        await bench.reopen()
        const got = [...(await pull('work')), ...(await pull('work'))]
        expect(got.map(({ id }) => id).sort()).toEqual([...ids].sort())
        expect(new Set(got.map(({ attempt }) => attempt))).toEqual(new Set([1]))
        expect(payloads(got.slice(0, 600)).every((payload) => Number(payload) % 2 === 1)).toBe(true)
        expect(got[0]!.deadLetter).toBeNull()
      })

      test('selected, by topic, id or reason; into another queue; what a worker holds stays', async () => {
        await make()
        const ids = await kill(9)
        const held = await bench.queues.get('work.dead').pull(1, 10_000)
        const byTopic = await done(bench.queues.control.redrive('work.dead', { topicFilter: 't/1' }, 0, 'other'))
        const byId = await done(bench.queues.control.redrive('work.dead', { ids: ids.slice(0, 2) }, 0, 'other'))
        const byReason = await done(bench.queues.control.redrive('work.dead', { reason: 'whole' }, 0, 'other'))
        const left = bench.queues.get('work.dead').waiting
        expect(byTopic.count + byId.count + left).toBe(9)
        expect(byReason.count).toBe(0)
        const got = await pull('other')
        expect(got.length).toBe(9 - left)
        expect(got.some(({ id }) => id === held[0]!.id)).toBe(false)
        expect((await bench.queues.get('work.dead').ack([held[0]!.receipt]))[0]!.ok).toBe(true)
      })

      test('at a rate', async () => {
        await make()
        await kill(10)
        const job = await bench.queues.control.redrive('work.dead', {}, 20)
        const counts = [job.count]
        for (let i = 0; i < 200 && job.state === 'running'; i++) {
          await pass(bench, 100)
          counts.push(job.count)
        }
        expect(counts.length).toBeGreaterThan(5)
        for (let i = 1; i < counts.length; i++) expect(counts[i]! - counts[i - 1]!).toBeLessThanOrEqual(2)
        let over = false
        const ended = done(job).finally(() => {
          over = true
        })
        while (!over) await pass(bench, 100)
        expect((await ended).count).toBe(10)
      })
    })

    describe('replay', () => {
      const retention = { ms: 60_000, bytesMax: 1024 ** 2 }

      test('what was acknowledged comes again: the same id and key, marked, in the order of the first time', async () => {
        await make({ retention, deduplication: { windowMs: 60_000, keysMax: 10 } })
        for (const n of ['1', '2', '3']) enter(bench, n, { deduplicationKey: Buffer.from(n) })
        enter(bench, '4')
        await bench.store.commit()
        const first = await pull('work')
        await bench.work.ack(first.map(({ receipt }) => receipt))
        await bench.reopen()
        expect(await pull('work')).toEqual([])
        const job = await done(bench.queues.control.replay('work', {}))
        expect([job.state, job.count]).toEqual(['done', 4])
        const again = await pull('work')
        expect(payloads(again)).toEqual(['1', '2', '3', '4'])
        expect(again.map(({ id }) => id)).toEqual(first.map(({ id }) => id))
        expect(again[0]!.terms.deduplicationKey!.toString()).toBe('1')
        expect(again.every(({ terms }) => terms.replayedAt === bench.clock.now())).toBe(true)
        expect(first.every(({ terms }) => terms.replayedAt === undefined)).toBe(true)
      })

      test('by time, topic, device and id; into another queue or one group', async () => {
        await make({ retention, groups: ['g'] })
        const start = bench.clock.now()
        for (const [payload, topic] of [
          ['1', 'a'],
          ['2', 'b'],
          ['3', 'a'],
        ] as const) {
          enter(bench, payload, null, 'work', topic)
          await bench.store.commit()
          await pass(bench, 1000)
        }
        const got = await pull('work')
        await pull('work@g')
        const { control } = bench.queues
        const into = async (job: Promise<Job>, queue: string): Promise<string[]> => {
          await done(job)
          return payloads(await pull(queue))
        }
        expect(
          await into(control.replay('work', { from: start + 500, to: start + 1500 }, 0, 'other'), 'other'),
        ).toEqual(['2'])
        expect(await into(control.replay('work', { topicFilter: 'a' }, 0, 'other'), 'other')).toEqual(['1', '3'])
        expect(await into(control.replay('work', { clientId: 'nobody' }, 0, 'other'), 'other')).toEqual([])
        expect(await into(control.replay('work', { ids: [got[2]!.id] }, 0, 'work@g'), 'work@g')).toEqual(['3'])
        expect(bench.work.ready).toBe(0)
      })

      test('what is kept ends with its time and its size', async () => {
        await make({ retention: { ms: 60_000, bytesMax: 3000 } })
        for (let i = 0; i < 100; i++) {
          enter(bench, String(i).repeat(10))
          await bench.store.commit()
        }
        await bench.settled()
        const { retained } = bench.queues.intake('work')
        await retained.trim()
        expect(retained.lane.waitingBytes).toBeLessThanOrEqual(3000)
        expect(retained.lane.waiting).toBeGreaterThan(10)
        for (let i = 0; i < 14; i++) {
          await pass(bench, 5000)
          // What the timer began may still be reading.
          await retained.trim()
        }
        expect(retained.lane.waiting).toBe(0)
        await expect(bench.queues.control.replay('work', {})).rejects.toMatchObject({ code: 'nothing_retained' })
        expect(bench.work.waiting).toBe(100)
      })
    })

    describe('a job that a restart interrupts', () => {
      /** Until the job has moved so many. */
      const moved = async (id: string, count: number): Promise<void> => {
        await passUntil(bench, 100, () => bench.queues.control.jobs.get(id).count >= count)
        expect(bench.queues.control.jobs.get(id).count).toBeGreaterThanOrEqual(count)
      }
      const finish = async (id: string): Promise<Job> => {
        await passUntil(bench, 100, () => bench.queues.control.jobs.get(id).state !== 'running')
        return bench.queues.control.jobs.get(id)
      }

      test('a redrive goes on where it was, moves every message once, and not what came after it began', async () => {
        await make()
        await kill(40)
        const { id } = await bench.queues.control.redrive('work.dead', { reason: 'broken' }, 50)
        await moved(id, 5)
        for (let i = 0; i < 4; i++) enter(bench, 'new')
        await bench.store.commit()
        const held = await pull('work')
        await bench.work.nack(
          held.map(({ receipt }, i) =>
            payloads([held[i]!])[0] === 'new' ? { receipt, reason: 'broken' } : { receipt, release: true },
          ),
        )
        await bench.settled()
        await bench.reopen()
        const [listed] = bench.queues.control.jobs.list()
        expect([listed!.id, listed!.state, listed!.selection, listed!.perSecond]).toEqual([
          ...[id, 'running', { reason: 'broken' }, 50],
        ])
        await moved(id, 15)
        await bench.reopen()
        const job = await finish(id)
        expect([job.state, job.count]).toEqual(['done', 40])
        const got = await pull('work')
        expect(new Set(got.map((delivery) => delivery.id)).size).toBe(40)
        expect(got).toHaveLength(40)
        expect(bench.queues.get('work.dead').waiting).toBe(4)
        await bench.reopen()
        expect(bench.queues.control.jobs.get(id)).toMatchObject({ state: 'done', count: 40 })
      })

      test('a replay goes on where it was and copies every message once', async () => {
        await make({ retention: { ms: 600_000, bytesMax: 1024 ** 2 } })
        for (let i = 0; i < 40; i++) enter(bench, String(i))
        await bench.store.commit()
        const { id } = await bench.queues.control.replay('work', {}, 50, 'other')
        await moved(id, 5)
        enter(bench, 'too late')
        await bench.store.commit()
        await bench.reopen()
        await moved(id, 15)
        await bench.reopen()
        const job = await finish(id)
        expect([job.state, job.count]).toEqual(['done', 40])
        expect(payloads(await pull('other'))).toEqual(Array.from({ length: 40 }, (_, i) => String(i)))
      })

      test('one that was cancelled stays so', async () => {
        await make()
        await kill(20)
        const { id } = await bench.queues.control.redrive('work.dead', {}, 10)
        await moved(id, 2)
        await bench.queues.control.jobs.cancel(id)
        await bench.settled()
        const { count } = bench.queues.control.jobs.get(id)
        await bench.reopen()
        for (let i = 0; i < 10; i++) await pass(bench, 100)
        expect(bench.queues.control.jobs.get(id)).toMatchObject({ state: 'cancelled', count })
        expect(bench.queues.get('work.dead').waiting).toBe(20 - count)
      })

      test('those that are over are forgotten when there are a hundred more', async () => {
        await make()
        const first = await bench.queues.control.redrive('work', {})
        await done(first)
        for (let i = 0; i < 100; i++) await done(bench.queues.control.redrive('work', {}))
        await bench.settled()
        await bench.reopen()
        expect(bench.queues.control.jobs.list()).toHaveLength(100)
        expect(() => bench.queues.control.jobs.get(first.id)).toThrow(expect.objectContaining({ code: 'job_unknown' }))
      })
    })

    test('a purge gives up everything nobody holds, for good', async () => {
      await make({ maxAttempts: 5 })
      for (let i = 0; i < 30; i++) enter(bench, String(i), { priority: i % 10 })
      await bench.store.commit()
      const held = await bench.work.pull(3, 10_000)
      await bench.work.nack([
        { receipt: held[1]!.receipt, delayMs: 1000 },
        { receipt: held[2]!.receipt, delayMs: 0 },
      ])
      expect(await bench.work.purge()).toBe(29)
      await bench.reopen()
      expect([bench.work.waiting, bench.work.leased]).toEqual([1, 1])
      expect(await pull('work')).toEqual([])
    })
  })
}
