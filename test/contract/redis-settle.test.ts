/** What settling leaves in Redis, whether the script cuts a stream or takes entries out one by one. */
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Lane } from '../../src/store.ts'
import type { RedisStore } from '../../src/stores/redis/store.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { openStore } from './redis-harness.ts'

const NAME = 's/settled'

describe.skipIf(!hasRedis)('settling in Redis', async () => {
  if (!hasRedis) return
  const redis = await RedisProcess.start({ appendfsync: 'no' })
  afterAll(() => redis.stop())
  let store: RedisStore
  let lane: Lane

  beforeEach(async () => {
    await redis.flush()
    store = await openStore(redis)
    lane = store.lane(NAME)
  })
  afterEach(() => store.close())

  /** Appends bodies of 1, 2, 3 … bytes, so that every wrong sum shows. */
  async function append(count: number): Promise<void> {
    const first = lane.nextSeq
    for (let i = 0; i < count; i++) store.append(Buffer.alloc(first + i, 0x61), [{ lane, tag: 1, extra: null }])
    await store.commit()
  }

  async function left(): Promise<{ seqs: number[]; bytes: number; marks: number[] }> {
    const { admin } = redis
    const entries = await admin.xrange(`sluicemq:lane:${NAME}`, '-', '+')
    const marks = await admin.hkeys(`sluicemq:marks:${NAME}`)
    return {
      seqs: entries.map(([id]) => Number(id.slice(2))),
      bytes: Number(await admin.hget('sluicemq:lanes', NAME)),
      marks: marks.map(Number).sort((a, b) => a - b),
    }
  }

  const sum = (seqs: readonly number[]): number => seqs.reduce((total, seq) => total + seq, 0)
  const range = (from: number, to: number): number[] => Array.from({ length: to - from + 1 }, (_, i) => from + i)
  const settle = (...seqs: number[]): void => {
    for (const seq of seqs) store.settle(lane, seq)
  }

  it('cuts a run off the front', async () => {
    await append(700)
    settle(...range(1, 600))
    await store.commit()
    expect(await left()).toEqual({ seqs: range(601, 700), bytes: sum(range(601, 700)), marks: [] })
    expect(lane).toMatchObject({ waiting: 100, waitingBytes: sum(range(601, 700)) })
  })

  it('keeps what waits before a run, and what waits between two', async () => {
    await append(40)
    settle(...range(2, 10), ...range(12, 39))
    await store.commit()
    expect(await left()).toEqual({ seqs: [1, 11, 40], bytes: 52, marks: [] })
    settle(1, 11)
    await store.commit()
    expect(await left()).toEqual({ seqs: [40], bytes: 40, marks: [] })
  })

  it('takes the marks of a run along', async () => {
    await append(20)
    for (const seq of [3, 5, 18]) store.mark(lane, seq, Buffer.from('m'))
    await store.commit()
    settle(...range(1, 10))
    await store.commit()
    expect(await left()).toEqual({ seqs: range(11, 20), bytes: sum(range(11, 20)), marks: [18] })
  })

  it('counts a run only once when it had been settled before', async () => {
    await append(20)
    const other = await openStore(redis)
    const theirs = other.lane(NAME)
    for (const seq of range(1, 8)) other.settle(theirs, seq)
    settle(...range(1, 12))
    await Promise.all([other.commit(), store.commit()])
    expect((await left()).seqs).toEqual(range(13, 20))
    await other.close()
  })

  it('an emptied lane weighs nothing and goes on counting', async () => {
    await append(9)
    settle(...range(1, 9))
    await store.commit()
    expect(await left()).toEqual({ seqs: [], bytes: 0, marks: [] })
    await append(1)
    expect((await left()).seqs).toEqual([10])
  })

  it('leaves what a model leaves, whatever the order (200 groups, seed in the message)', async () => {
    const seed = Number(process.env['SEED'] ?? Date.now() % 1e9)
    const numbers = new SeededRandom(seed)
    const random = (): number => numbers.next()
    const waiting = new Set<number>()
    const marked = new Set<number>()
    let next = 1
    for (let group = 0; group < 200; group++) {
      for (let n = Math.floor(random() * 12); n > 0; n--) {
        store.append(Buffer.alloc(next, 0x61), [{ lane, tag: 1, extra: null }])
        waiting.add(next++)
      }
      await store.commit()
      for (let n = Math.floor(random() * 3); n > 0; n--) {
        const from = 1 + Math.floor(random() * next)
        const upward = random() < 0.7
        for (let k = Math.floor(random() * 15); k >= 0; k--) {
          const seq = upward ? from + k : from - k
          if (random() < 0.1 && waiting.has(seq)) {
            store.mark(lane, seq, Buffer.from('m'))
            marked.add(seq)
          } else {
            store.settle(lane, upward ? from + (15 - k) : seq)
            waiting.delete(upward ? from + (15 - k) : seq)
            marked.delete(upward ? from + (15 - k) : seq)
          }
        }
      }
      await store.commit()
      const seqs = [...waiting].sort((a, b) => a - b)
      const marks = [...marked].sort((a, b) => a - b)
      expect(await left(), `SEED=${seed}, group ${group}`).toEqual({ seqs, bytes: sum(seqs), marks })
    }
  })
})
