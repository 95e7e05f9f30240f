import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { SluiceError } from '../../src/errors.ts'
import { StoreFaults } from '../support/faulty-store.ts'
import { Bench, payloads, plain } from './queue-contract.ts'

describe('a work queue whose store fails', () => {
  let faults: StoreFaults
  let bench: Bench
  let dir: string | null = null

  /** The store is back, and the queue has found that out. */
  const recovered = async (): Promise<void> => {
    faults.heal()
    for (let i = 0; i < 3; i++) {
      await bench.settled()
      bench.clock.advance(1000)
    }
    await bench.settled()
  }

  const restart = async (): Promise<void> => {
    await bench.close()
    await bench.open()
  }

  beforeEach(async () => {
    faults = new StoreFaults()
    const open = async () => {
      dir ??= await mkdtemp(join(tmpdir(), 'sluicemq-queue-'))
      const store = faults.store('lmdb', dir)
      await store.open()
      return store
    }
    bench = await new Bench({ open, dispose: async () => {} }).open()
    await bench.publish('a', 'b')
  })
  afterEach(async () => {
    faults.heal()
    await bench.close()
    await rm(dir!, { recursive: true })
    dir = null
  })

  test('answers a pull only when its leases are durable', async () => {
    faults.hold()
    let answered = false
    const poll = bench.work.pull(2, 10_000).finally(() => {
      answered = true
    })
    while (bench.work.leased < 2) await new Promise((resolve) => setImmediate(resolve))
    for (let i = 0; i < 10; i++) await new Promise((resolve) => setImmediate(resolve))
    expect(answered).toBe(false)
    faults.release()
    expect(payloads(await poll)).toEqual(['a', 'b'])
  })

  test('fails a pull whose leases are not durable, and hands the messages out again as if it had never been', async () => {
    faults.failing = true
    await expect(bench.work.pull(1, 10_000)).rejects.toMatchObject({ code: 'store_unavailable' })
    await recovered()
    const [a] = await bench.work.pull(1, 10_000)
    expect(a).toMatchObject({ attempt: 1, failures: [] })
    expect(payloads([a!])).toEqual(['a'])
  })

  test('fails an ack that is not durable, and writes it again when the store is back', async () => {
    const [a] = await bench.work.pull(1, 10_000)
    faults.failing = true
    await expect(bench.work.ack([a!.receipt])).rejects.toMatchObject({ code: 'store_unavailable' })
    await recovered()
    expect(await bench.work.ack([a!.receipt])).toMatchObject([{ ok: false, error: 'receipt_lost' }])
    await restart()
    bench.clock.advance(100_000)
    expect(payloads(await bench.work.pull(9, 10_000))).toEqual(['b'])
  })

  test('fails a nack that is not durable, and writes it again when the store is back', async () => {
    const [a] = await bench.work.pull(1, 10_000)
    faults.failing = true
    const refused = bench.work.nack([{ receipt: a!.receipt, delayMs: 0, reason: 'busy' }])
    await expect(refused).rejects.toMatchObject({ code: 'store_unavailable' })
    await recovered()
    await restart()
    const [again] = await bench.work.pull(1, 10_000)
    expect(again).toMatchObject({ attempt: 2, failures: [{ attempt: 1, reason: 'busy' }] })
  })

  test('keeps leases known whose record was moved in the group that failed', async () => {
    await bench.publish('c', 'd')
    const held = await bench.work.pull(4, 10_000)
    faults.failing = true
    // The record of a batch lies beside its last message.
    await expect(bench.work.ack([held[3]!.receipt])).rejects.toMatchObject({ code: 'store_unavailable' })
    await recovered()
    await restart()
    expect(bench.work.leased).toBe(3)
    expect(await bench.work.pull(9, 10_000)).toEqual([])
  })

  test('keeps a message that could not be moved to the dead letters, and moves it once later', async () => {
    const [a] = await bench.work.pull(1, 10_000)
    faults.failing = true
    const rejected = bench.work.nack([{ receipt: a!.receipt, reject: true, reason: 'no' }])
    await expect(rejected).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(bench.work.lane.waiting).toBe(2)
    for (let i = 0; i < 3; i++) {
      bench.clock.advance(1000)
      await bench.settled()
    }
    await recovered()
    expect(bench.work.lane.waiting).toBe(1)
    await restart()
    const letters = await bench.queues.get('work.dead').pull(9, 10_000)
    expect(payloads(letters)).toEqual(['a'])
    expect(letters[0]!.deadLetter).toMatchObject({ attempts: 1, failures: [{ reason: 'no' }] })
  })

  test('asks a store that stays away once a second, not in a circle, and goes on when it is back', async () => {
    await bench.work.pull(1, 100)
    let asked = 0
    const passage = faults.passage.bind(faults)
    faults.passage = () => {
      asked++
      return passage()
    }
    faults.failing = true
    bench.clock.advance(100)
    await bench.settled()
    // The failure that the lease ran out, the marks written anew, and what the store does by itself.
    const first = asked
    expect(first).toBeGreaterThan(0)
    expect(first).toBeLessThan(12)
    bench.clock.advance(999)
    await bench.settled()
    expect(asked).toBeLessThan(first + 12)
    await recovered()
    await restart()
    const got = await bench.work.pull(9, 10_000)
    expect(payloads(got)).toEqual(['a', 'b'])
    expect(got[0]).toMatchObject({ attempt: 2, failures: [{ reason: 'lease expired' }] })
  })

  describe('and cannot be read', () => {
    /** Each call of these fails so many times. */
    const failing = new Map<string, number>()

    const make = async (): Promise<void> => {
      await bench.close()
      const open = async () => {
        const store = faults.store('lmdb', dir!)
        await store.open()
        return new Proxy(store, {
          get(target, name) {
            const value = Reflect.get(target, name, target) as unknown
            if (typeof value !== 'function') return value
            return (...args: unknown[]) => {
              const left = failing.get(String(name)) ?? 0
              if (left === 0) return value.apply(target, args)
              failing.set(String(name), left - 1)
              const error = new SluiceError('store_unavailable', `the test broke ${String(name)}`)
              if (name === 'read' || name === 'marks') return Promise.reject(error)
              throw error
            }
          },
        })
      }
      bench = await new Bench(
        { open, dispose: async () => {} },
        { settings: { work: { ...plain, maxAttempts: 1 } } },
      ).open()
    }
    afterEach(() => failing.clear())

    test('opens a queue that is made while it runs when it is asked for again', async () => {
      await make()
      failing.set('marks', 2)
      const first = bench.queues.ensure('made')
      const second = bench.queues.ensure('made')
      await expect(first).rejects.toMatchObject({ code: 'store_unavailable' })
      await second.catch(() => {})
      failing.clear()
      const made = await bench.queues.ensure('made')
      bench.append('x', 'made')
      await bench.store.commit()
      expect(payloads(await made.pull(9, 1000))).toEqual(['x'])
    })

    test('opens a dead-letter queue that is made while it runs, and hands its letters out', async () => {
      await make()
      failing.set('marks', 1)
      const got = await bench.work.pull(9, 10_000)
      await bench.work.nack(got.map(({ receipt }) => ({ receipt, reason: 'broken' })))
      await recovered()
      expect(failing.get('marks')).toBe(0)
      expect(payloads(await bench.queues.get('work.dead').pull(9, 1000))).toEqual(['a', 'b'])
    })
  })
})
