/** Deduplication, schedules, redrives and limits while the store fails. */
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { StoreFaults } from '../support/faulty-store.ts'
import { Bench, payloads, plain } from './queue-contract.ts'
import { enter, pass } from './queue-order-contract.ts'

describe('a work queue whose store fails', () => {
  let faults: StoreFaults
  let bench: Bench
  let dir: string

  const recovered = async (): Promise<void> => {
    faults.heal()
    for (let i = 0; i < 5; i++) await pass(bench, 1000)
  }
  const turn = (): Promise<void> => new Promise((resolve) => setImmediate(resolve))

  beforeEach(async () => {
    faults = new StoreFaults()
    dir = await mkdtemp(join(tmpdir(), 'sluicemq-queue-'))
    const open = async () => {
      const store = faults.store('lmdb', dir)
      await store.open()
      return store
    }
    const work = { ...plain, maxAttempts: 1, retention: { ms: 3_600_000, bytesMax: 1024 ** 2 } }
    bench = await new Bench({ open, dispose: async () => {} }, { settings: { work } }).open()
  })
  afterEach(async () => {
    faults.heal()
    await bench.close()
    await rm(dir, { recursive: true })
  })

  const once = { deduplicationKey: Buffer.from('k') }

  test('a message that did not become durable is no duplicate of the one that is sent again', async () => {
    faults.failing = true
    expect(enter(bench, '1', once)).toBe('enter')
    await bench.settled()
    await recovered()
    expect(enter(bench, '1 again', once)).toBe('enter')
    await bench.store.commit()
    await bench.reopen()
    expect(enter(bench, '1 and again', once)).toBe('drop')
    expect(payloads(await bench.work.pull(9, 1000))).toEqual(['1 again'])
  })

  test('a duplicate is not acknowledged when the first one fails on its way to the disk', async () => {
    await bench.settled()
    faults.hold()
    expect(enter(bench, '1', once)).toBe('enter')
    const first = bench.store.commit()
    await turn()
    expect(enter(bench, '1 again', once)).toBe('drop')
    const second = bench.store.commit()
    faults.failing = true
    faults.release()
    await expect(first).rejects.toMatchObject({ code: 'store_unavailable' })
    await expect(second).rejects.toMatchObject({ code: 'store_unavailable' })
    await recovered()
    expect(enter(bench, '1 at last', once)).toBe('enter')
    await bench.store.commit()
  })

  test('what is due waits until the store takes it, and comes once', async () => {
    enter(bench, 'later', { deliverAt: bench.clock.now() + 1000 })
    await bench.store.commit()
    faults.failing = true
    await pass(bench, 3000)
    expect(bench.work.ready).toBe(0)
    await recovered()
    const got = await bench.work.pull(9, 60_000)
    expect(payloads(got)).toEqual(['later'])
    await bench.work.ack(got.map(({ receipt }) => receipt))
    await bench.reopen()
    await pass(bench, 3000)
    expect([bench.work.waiting, bench.queues.intake('work').schedule.waiting]).toEqual([0, 0])
  })

  test('a redrive whose store fails waits, and moves everything once when it is back', async () => {
    for (const payload of ['1', '2', '3', '4']) enter(bench, payload)
    await bench.store.commit()
    const got = await bench.work.pull(9, 60_000)
    await bench.work.nack(got.map(({ receipt }) => ({ receipt, reason: 'broken' })))
    await bench.settled()
    const { control } = bench.queues
    faults.failing = true
    await expect(control.redrive('work.dead', {})).rejects.toMatchObject({ code: 'store_unavailable' })
    await recovered()
    expect([bench.work.waiting, bench.queues.get('work.dead').ready, control.jobs.list()]).toEqual([0, 4, []])
    const job = await control.redrive('work.dead', {}, 10)
    while (job.count < 1) await pass(bench, 100)
    faults.failing = true
    for (let i = 0; i < 30; i++) await pass(bench, 100)
    expect(job).toMatchObject({ state: 'running', error: expect.stringContaining('the test broke the store') })
    const { count } = job
    await recovered()
    expect(count).toBeLessThan(4)
    for (let i = 0; i < 100 && job.state === 'running'; i++) await pass(bench, 100)
    expect([job.state, job.count, bench.queues.get('work.dead').waiting]).toEqual(['done', 4, 0])
    await bench.reopen()
    expect(payloads(await bench.work.pull(9, 60_000)).sort()).toEqual(['1', '2', '3', '4'])
  })

  test('a replay whose store fails waits, and copies everything once when it is back', async () => {
    for (let i = 0; i < 10; i++) enter(bench, String(i))
    await bench.store.commit()
    const got = await bench.work.pull(99, 60_000)
    await bench.work.ack(got.map(({ receipt }) => receipt))
    const { control } = bench.queues
    const job = await control.replay('work', {}, 20)
    while (job.count < 2) await pass(bench, 100)
    faults.failing = true
    for (let i = 0; i < 30; i++) await pass(bench, 100)
    const { state, count } = job
    await recovered()
    expect(state).toBe('running')
    expect(count).toBeLessThan(10)
    for (let i = 0; i < 100 && job.state === 'running'; i++) await pass(bench, 100)
    expect([job.state, job.count, bench.work.waiting]).toEqual(['done', 10, 10])
    expect(job.error).toBeUndefined()
  })

  test('the next message of a key that was leased in vain is handed out again, in its turn', async () => {
    for (const payload of ['a1', 'a2', 'a3']) enter(bench, payload, { key: Buffer.from('a') })
    await bench.store.commit()
    const [a1] = await bench.work.pull(9, 60_000)
    faults.failing = true
    await expect(bench.work.ack([a1!.receipt])).rejects.toMatchObject({ code: 'store_unavailable' })
    await expect(bench.work.pull(9, 60_000)).rejects.toMatchObject({ code: 'store_unavailable' })
    await recovered()
    const seen: string[] = []
    for (let got = await bench.work.pull(9, 60_000); got.length > 0; got = await bench.work.pull(9, 60_000)) {
      expect(got).toHaveLength(1)
      seen.push(...payloads(got))
      await bench.work.ack([got[0]!.receipt])
    }
    expect(seen).toEqual(['a2', 'a3'])
  })
})
