/** Redrives and replays that find no room, in the queue they fill or in the store: they wait, and go on. One suite for every store. */
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import type { Job } from '../../src/queue/job-records.ts'
import { BATCH_BYTES } from '../../src/queue/jobs.ts'
import type { QueueSettings } from '../../src/queue/settings.ts'
import { Bench, payloads, plain, type StoreHarness } from './queue-contract.ts'
import { enter, pass, passUntil } from './queue-order-contract.ts'

export function queueRoomContract(name: string, makeHarness: () => StoreHarness): void {
  describe(`jobs of work queues that find no room on ${name}`, () => {
    let harness: StoreHarness
    let bench: Bench

    beforeEach(() => {
      harness = makeHarness()
    })
    afterEach(async () => {
      await bench.close()
      await harness.dispose()
    })

    /** @param limits of the queue `other` */
    async function make(limits: Partial<QueueSettings['limits']> = {}): Promise<void> {
      const work = { ...plain, maxAttempts: 1, retention: { ms: 3_600_000, bytesMax: 1024 ** 3 } }
      const other = { ...plain, groups: ['g'], limits: { ...plain.limits, ...limits } }
      bench = await new Bench(harness, { settings: { work, other } }).open()
    }

    const numbers = (from: number, to: number): string[] => Array.from({ length: to - from }, (_, i) => `${from + i}`)

    /** Puts messages in and has them fail: each is a dead letter then, and kept for replay. */
    async function kill(...texts: string[]): Promise<void> {
      for (const text of texts) enter(bench, text)
      await bench.store.commit()
      while (bench.work.ready > 0) {
        const got = await bench.work.pull(1000, 10_000)
        await bench.work.nack(got.map(({ receipt }) => ({ receipt, reason: 'broken' })))
      }
      await bench.settled()
    }

    const job = (id: string): Job => bench.queues.control.jobs.get(id)

    /** Until the job is so. */
    async function until(id: string, holds: (job: Job) => boolean): Promise<Job> {
      await passUntil(bench, 100, () => holds(job(id)))
      expect(job(id)).toSatisfy(holds)
      return job(id)
    }

    const waits = ({ state, waitsFor }: Job): boolean => state === 'running' && waitsFor !== undefined
    const over = ({ state }: Job): boolean => state !== 'running'

    async function work(queue: string, max = 1000): Promise<string[]> {
      const got = await bench.queues.get(queue).pull(max, 10_000)
      await bench.queues.get(queue).ack(got.map(({ receipt }) => receipt))
      return payloads(got)
    }

    test.each(['redrive', 'replay'] as const)(
      'a %s waits before a queue that is full, and goes on as workers make room',
      async (kind) => {
        await make({ messagesMax: 10 })
        await kill(...numbers(0, 25))
        const { control } = bench.queues
        const from = kind === 'redrive' ? 'work.dead' : 'work'
        const { id } =
          kind === 'redrive' ? await control.redrive(from, {}, 0, 'other') : await control.replay(from, {}, 0, 'other')
        expect(await until(id, waits)).toMatchObject({
          state: 'running',
          count: 10,
          waitsFor: 'room in the queue other',
        })
        expect(bench.queues.get('other').waiting).toBe(10)
        expect(await work('other', 4)).toEqual(numbers(0, 4))
        // A replay goes to the groups too, and this one is full.
        if (kind === 'replay') await work('other@g', 4)
        await until(id, ({ count }) => count === 14)
        await until(id, waits)
        await bench.reopen()
        expect(await until(id, waits)).toMatchObject({ count: 14 })
        const got: string[] = []
        for (let i = 0; i < 100 && !over(job(id)); i++) {
          got.push(...(await work('other')))
          await work('other@g')
          await pass(bench, 1000)
        }
        got.push(...(await work('other')))
        expect(job(id)).toMatchObject({ state: 'done', count: 25 })
        expect(job(id).waitsFor).toBeUndefined()
        expect(got).toEqual(numbers(4, 25))
      },
    )

    test('a replay into one group waits for that group alone', async () => {
      await make({ bytesMax: 200 })
      await kill(...numbers(0, 5))
      enter(bench, 'x'.repeat(300), null, 'other')
      await bench.store.commit()
      await work('other@g')
      const all = await bench.queues.control.replay('work', {}, 0, 'other')
      expect(await until(all.id, waits)).toMatchObject({ count: 0, waitsFor: 'room in the queue other' })
      const group = await bench.queues.control.replay('work', {}, 0, 'other@g')
      await until(group.id, ({ count }) => count > 0)
      await bench.queues.control.jobs.cancel(all.id)
      expect(await until(all.id, over)).toMatchObject({ state: 'cancelled', count: 0 })
    })

    test.each(['redrive', 'replay'] as const)(
      'a %s writes nothing while the store is short of room, and says why; then it goes on',
      async (kind) => {
        await make()
        await kill(...numbers(0, 20))
        let short: SluiceError | null = new SluiceError('store_full', 'the disk is full')
        let looks = 0
        const watch = (): void => {
          bench.queues.control.shortage = async () => {
            looks++
            return short
          }
        }
        watch()
        const { id } =
          kind === 'redrive'
            ? await bench.queues.control.redrive('work.dead', {}, 0, 'other')
            : await bench.queues.control.replay('work', {}, 0, 'other')
        expect(await until(id, waits)).toMatchObject({ state: 'running', count: 0, waitsFor: 'the disk is full' })
        for (let i = 0; i < 20; i++) await pass(bench, 500)
        expect(job(id)).toMatchObject({ state: 'running', count: 0 })
        expect(looks).toBeLessThan(20)
        expect(await work('other')).toEqual([])
        short = null
        expect(await until(id, over)).toMatchObject({ state: 'done', count: 20 })
        expect(job(id)).not.toHaveProperty('waitsFor')
        expect(await work('other')).toEqual(numbers(0, 20))
      },
    )

    test('one that waits for the store can be cancelled, and ends with the process and not before', async () => {
      await make()
      await kill(...numbers(0, 5))
      bench.queues.control.shortage = async () => new SluiceError('store_full', 'the disk is full')
      const first = await bench.queues.control.redrive('work.dead', {}, 0, 'other')
      const second = await bench.queues.control.redrive('work.dead', {}, 0, 'other')
      await until(first.id, waits)
      await until(second.id, waits)
      await bench.queues.control.jobs.cancel(first.id)
      expect(await until(first.id, over)).toMatchObject({ state: 'cancelled', count: 0 })
      await bench.reopen()
      expect(await until(second.id, over)).toMatchObject({ state: 'done', count: 5 })
    })

    test('between two looks at the room of the store no more is written than a batch', async () => {
      await make()
      const size = 100_000
      await kill(...Array.from({ length: 40 }, (_, i) => `${i}`.padEnd(size, '.')))
      const seen: number[] = []
      bench.queues.control.shortage = async () => {
        seen.push(bench.queues.get('other').waitingBytes)
        return null
      }
      for (const start of [
        () => bench.queues.control.redrive('work.dead', {}, 0, 'other'),
        () => bench.queues.control.replay('work', {}, 0, 'other'),
      ]) {
        seen.length = 0
        const { id } = await start()
        expect(await until(id, over)).toMatchObject({ state: 'done', count: 40 })
        seen.push(bench.queues.get('other').waitingBytes)
        expect(seen.at(-1)! - seen[0]!).toBeGreaterThan(40 * size)
        for (let i = 1; i < seen.length; i++) expect(seen[i]! - seen[i - 1]!).toBeLessThan(BATCH_BYTES + 2 * size)
      }
    })
  })
}
