/** What every adapter of the store must do. Run over each of them by store.test.ts. */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Chunk, Lane, LaneTarget, SessionRecord, Store, SubscriptionRecord, WillRecord } from '../../src/store.ts'
import type { Left, Opened, StoreHarness, StoreOptions } from './store-harness.ts'

export const body = (text: string): Buffer => Buffer.from(text)
export const target = (lane: Lane, tag = 0, extra: Buffer | null = null): LaneTarget => ({ lane, tag, extra })

export async function collect<T>(items: AsyncIterable<T>): Promise<T[]> {
  const all: T[] = []
  for await (const item of items) all.push(item)
  return all
}

/** Of what is named in `of`: whether there is none (false) or some (true). */
function amounts(found: Partial<Left>, of: Partial<Left>): Record<string, boolean> {
  const names = Object.keys(of).filter((name) => name !== 'settled' && name !== 'refs')
  return Object.fromEntries(names.map((name) => [name, (found[name as keyof Left] ?? 0) > 0]))
}

/** Waits until the turns in which a failed commit makes others fail are over. */
export async function laterTurn(): Promise<void> {
  for (let i = 0; i < 3; i++) await new Promise((resolve) => setImmediate(resolve))
}

/** Everything that waits in a lane, as text, read chunk by chunk. */
export async function waitingTexts(store: Store, lane: Lane, fromSeq = 1): Promise<[number, string][]> {
  const found: [number, string][] = []
  let from = fromSeq
  for (;;) {
    const chunk = await store.read(lane, from)
    if (chunk === null) return found
    for (let i = 0; i < chunk.count; i++) {
      const seq = chunk.firstSeq + i
      if (seq >= from && !chunk.isSettled(i)) found.push([seq, chunk.message(i).toString()])
    }
    from = chunk.firstSeq + chunk.count
  }
}

export function storeContract(name: string, makeHarness: () => Promise<StoreHarness> | StoreHarness): void {
  describe(`store contract: ${name}`, () => {
    let harness: StoreHarness
    let opened: Opened
    let store: Store

    const reopen = async (options?: StoreOptions) => {
      await store.close()
      opened = await harness.open(options)
      store = opened.store
    }
    const inspect = () => opened.inspect()
    /** What is left in the store: exactly this where chunks are counted, elsewhere something or nothing as said here. */
    const left = async (expected: Partial<Left>): Promise<void> => {
      const found = await inspect()
      if (harness.exact) expect(found).toMatchObject(expected)
      else expect(amounts(found, expected)).toEqual(amounts(expected, expected))
    }

    beforeEach(async () => {
      harness = await makeHarness()
      opened = await harness.open()
      store = opened.store
    })
    afterEach(async () => {
      opened.faults.letGo()
      await store.close().catch(() => {})
      await harness.remove()
    })

    describe('lanes', () => {
      it('keeps the order of appends, over chunks and groups and a reopen', async () => {
        const lane = store.lane('s/a')
        const targets = [target(lane, 7)]
        const expected: [number, string][] = []
        for (let i = 1; i <= 3000; i++) {
          store.append(body(`m${i}`), targets)
          expected.push([i, `m${i}`])
          if (i % 700 === 0) await store.commit()
        }
        await store.commit()
        expect(await waitingTexts(store, lane)).toEqual(expected)
        await reopen()
        expect(await waitingTexts(store, store.lane('s/a'))).toEqual(expected)
      })

      it('gives back tags and extras of every entry', async () => {
        const lane = store.lane('s/a')
        store.append(body('one'), [target(lane, 0xffffffff, body('x'))])
        store.append(body('two'), [target(lane, 3)])
        store.append(body(''), [target(lane, 4, body(''))])
        await store.commit()
        for (const again of [false, true]) {
          if (again) await reopen()
          const chunk = (await store.read(store.lane('s/a'), 1))!
          expect(chunk.count).toBe(3)
          expect([...chunk.tags]).toEqual([0xffffffff, 3, 4])
          expect(chunk.extras?.map((extra) => extra?.toString() ?? null)).toEqual(['x', null, ''])
          expect(chunk.message(2).length).toBe(0)
        }
      })

      it('has null extras where the chunk has none', async () => {
        store.append(body('one'), [target(store.lane('s/a'))])
        await store.commit()
        expect((await store.read(store.lane('s/a'), 1))!.extras).toBeNull()
        await reopen()
        expect((await store.read(store.lane('s/a'), 1))!.extras).toBeNull()
      })

      it('reads nothing that is not committed', async () => {
        const lane = store.lane('s/a')
        store.append(body('one'), [target(lane)])
        expect(await store.read(lane, 1)).toBeNull()
        opened.faults.hold()
        const committed = store.commit()
        expect(await store.read(lane, 1)).toBeNull()
        opened.faults.letGo()
        await committed
        expect(await waitingTexts(store, lane)).toEqual([[1, 'one']])
      })

      it('counts what waits, and knows it again after a reopen', async () => {
        const lane = store.lane('q/a')
        expect([lane.nextSeq, lane.waiting, lane.waitingBytes]).toEqual([1, 0, 0])
        store.append(body('12345'), [target(lane)])
        store.append(body('678'), [target(lane)])
        expect([lane.nextSeq, lane.waiting, lane.waitingBytes]).toEqual([3, 2, 8])
        await store.commit()
        store.settle(lane, 1)
        expect([lane.waiting, lane.waitingBytes]).toEqual([1, 3])
        await reopen()
        const again = store.lane('q/a')
        expect([again.nextSeq, again.waiting, again.waitingBytes]).toEqual([3, 1, 3])
      })

      it('gives the same handle for the same name', () => {
        expect(store.lane('s/a')).toBe(store.lane('s/a'))
        expect(store.lane('s/a')).not.toBe(store.lane('s/b'))
      })

      it('names the lanes that hold something, by prefix', async () => {
        for (const name of ['s/b', 's/a', 'q/a', 's/', `s/${'long'.repeat(1000)}`, `s/${'long'.repeat(1000)}!`]) {
          store.append(body('x'), [target(store.lane(name))])
        }
        store.lane('s/empty')
        await store.commit()
        await reopen()
        const expected = ['s/', 's/a', 's/b', `s/${'long'.repeat(1000)}`, `s/${'long'.repeat(1000)}!`].sort()
        expect(store.laneNames('s/').sort()).toEqual(expected)
        expect(store.laneNames('q/')).toEqual(['q/a'])
        expect(store.laneNames(`s/${'long'.repeat(999)}`).length).toBe(2)
      })

      it('keeps lanes with very long and with odd names apart', async () => {
        const names = ['x'.repeat(481), 'x'.repeat(5000), `${'x'.repeat(5000)}y`, 'a\u0000b', 'a\u0000c', 'a', 'ä€😀']
        for (const name of names) store.append(body(name), [target(store.lane(name))])
        await store.commit()
        await reopen()
        for (const name of names) expect(await waitingTexts(store, store.lane(name))).toEqual([[1, name]])
      })

      it('keeps a body of several megabytes', async () => {
        const large = Buffer.alloc(5_000_000, 'large')
        store.append(large, [target(store.lane('q/a'))])
        store.append(body('small'), [target(store.lane('q/a'))])
        await store.commit()
        await reopen()
        const chunk = (await store.read(store.lane('q/a'), 1))!
        expect(chunk.message(0).equals(large)).toBe(true)
        expect(await waitingTexts(store, store.lane('q/a'), 2)).toEqual([[2, 'small']])
      })
    })

    describe('sequence numbers', () => {
      it('never go back, though everything was settled before the reopen', async () => {
        const lane = store.lane('s/a')
        for (let i = 0; i < 5; i++) store.append(body('x'), [target(lane)])
        await store.commit()
        for (let seq = 1; seq <= 5; seq++) store.settle(lane, seq)
        await store.commit()
        await left({ chunks: 0 })
        await reopen()
        expect(store.lane('s/a').nextSeq).toBe(6)
      })

      it('never go back, though the last chunk was settled before the first', async () => {
        const lane = store.lane('s/a')
        for (let i = 0; i < 3; i++) {
          store.append(body('x'), [target(lane)])
          await store.commit()
        }
        store.settle(lane, 3)
        await store.commit()
        await reopen()
        expect(store.lane('s/a').nextSeq).toBe(4)
        expect((await waitingTexts(store, store.lane('s/a'))).map(([seq]) => seq)).toEqual([1, 2])
      })

      it('never go back, though an entry was settled in the group that appended it', async () => {
        const lane = store.lane('s/a')
        store.append(body('x'), [target(lane)])
        store.settle(lane, 1)
        await store.commit()
        await left({ chunks: 0 })
        await reopen()
        expect(store.lane('s/a').nextSeq).toBe(2)
        expect(await store.read(store.lane('s/a'), 1)).toBeNull()
      })
    })

    describe('settling', () => {
      const fill = async (n: number, perGroup: number): Promise<Lane> => {
        const lane = store.lane('q/a')
        for (let i = 1; i <= n; i++) {
          store.append(body(`m${i}`), [target(lane)])
          if (i % perGroup === 0) await store.commit()
        }
        await store.commit()
        return lane
      }

      it('in order leaves the rest, and in the end nothing', async () => {
        const lane = await fill(10, 3)
        for (let seq = 1; seq <= 10; seq++) {
          store.settle(lane, seq)
          await store.commit()
          expect((await waitingTexts(store, lane))[0]?.[0]).toBe(seq === 10 ? undefined : seq + 1)
        }
        await left({ chunks: 0, settled: 0 })
      })

      it('out of order skips the settled ones, before and after a reopen', async () => {
        const lane = await fill(12, 4)
        for (const seq of [12, 2, 6, 5, 7, 8]) store.settle(lane, seq)
        await store.commit()
        const left = [1, 3, 4, 9, 10, 11]
        expect((await waitingTexts(store, lane)).map(([seq]) => seq)).toEqual(left)
        await reopen()
        expect((await waitingTexts(store, store.lane('q/a'))).map(([seq]) => seq)).toEqual(left)
        expect((await waitingTexts(store, store.lane('q/a'), 5))[0]).toEqual([9, 'm9'])
      })

      it('ignores unknown and settled entries', async () => {
        const lane = await fill(3, 3)
        for (const seq of [0, -1, 4, 99, 2, 2]) store.settle(lane, seq)
        await store.commit()
        store.settle(lane, 2)
        expect(lane.waiting).toBe(2)
        await reopen()
        store.settle(store.lane('q/a'), 2)
        expect(store.lane('q/a').waiting).toBe(2)
      })

      it('shows at once in a chunk that a reader holds, and empties the body', async () => {
        const lane = await fill(3, 3)
        const chunk = (await store.read(lane, 1))!
        store.settle(lane, 2)
        expect([chunk.isSettled(0), chunk.isSettled(1), chunk.isSettled(2)]).toEqual([false, true, false])
        expect(chunk.message(1).length).toBe(0)
        expect(chunk.message(0).toString()).toBe('m1')
      })

      it('of an entry whose group is under way is not lost', async () => {
        const lane = store.lane('q/a')
        store.append(body('one'), [target(lane)])
        store.append(body('two'), [target(lane)])
        opened.faults.hold()
        const first = store.commit()
        store.settle(lane, 1)
        const second = store.commit()
        store.settle(lane, 2)
        const third = store.commit()
        opened.faults.letGo()
        await Promise.all([first, second, third])
        expect(lane.waiting).toBe(0)
        await left({ chunks: 0, settled: 0 })
        await reopen()
        expect(await store.read(store.lane('q/a'), 1)).toBeNull()
      })

      it('costs one record for each chunk touched in a group', async () => {
        const lane = await fill(2000, 1000)
        for (let seq = 2; seq <= 2000; seq += 2) store.settle(lane, seq)
        await store.commit()
        await left({ chunks: 2, settled: 2 })
      })

      it('of chunks the cache let go of finds them again on disk', async () => {
        await reopen({ cacheBytes: 0 })
        const lane = await fill(50, 5)
        for (let seq = 1; seq <= 50; seq += 2) store.settle(lane, seq)
        await store.commit()
        expect((await waitingTexts(store, lane)).map(([seq]) => seq % 2)).toEqual(new Array(25).fill(0))
        for (let seq = 2; seq <= 50; seq += 2) {
          store.settle(lane, seq)
          await store.commit()
        }
        await left({ chunks: 0, settled: 0, cachedChunks: 0 })
      })

      it('shows in a chunk that a reader holds even when the cache has let go of it', async () => {
        await reopen({ cacheBytes: 0 })
        const lane = await fill(20, 10)
        const chunk = (await store.read(lane, 1))!
        await waitingTexts(store, lane, 11)
        store.settle(lane, 3)
        expect(chunk.isSettled(2)).toBe(true)
        await store.commit()
        await waitingTexts(store, lane, 11)
        store.mark(lane, 4, body('mark'))
        expect(chunk.markOf(3)?.toString()).toBe('mark')
      })
    })

    describe('reading', () => {
      it('finds the first unsettled entry at or after the number asked for', async () => {
        const lane = store.lane('q/a')
        for (let i = 1; i <= 9; i++) {
          store.append(body(`m${i}`), [target(lane)])
          if (i % 3 === 0) await store.commit()
        }
        for (const seq of [4, 5, 6, 8]) store.settle(lane, seq)
        await store.commit()
        const firstFrom = async (from: number) => {
          const chunk = await store.read(lane, from)
          if (chunk === null) return null
          for (let i = Math.max(0, from - chunk.firstSeq); i < chunk.count; i++) {
            if (!chunk.isSettled(i)) return chunk.firstSeq + i
          }
          return -1
        }
        for (const again of [false, true]) {
          if (again) await reopen()
          const answers: (number | null)[] = []
          for (let from = 0; from <= 11; from++) answers.push(await firstFrom(from))
          expect(answers).toEqual([1, 1, 2, 3, 7, 7, 7, 7, 9, 9, null, null])
        }
      })

      it('of an empty or unknown lane gives null', async () => {
        expect(await store.read(store.lane('q/none'), 1)).toBeNull()
        await store.commit()
        expect(await store.read(store.lane('q/none'), 1)).toBeNull()
      })

      it('gives chunks on disk and fresh chunks in one order', async () => {
        const lane = store.lane('q/a')
        for (let i = 1; i <= 6; i++) {
          store.append(body(`m${i}`), [target(lane)])
          await store.commit()
        }
        await reopen()
        const again = store.lane('q/a')
        store.append(body('m7'), [target(again)])
        await store.commit()
        expect((await waitingTexts(store, again)).map(([seq]) => seq)).toEqual([1, 2, 3, 4, 5, 6, 7])
        expect((await store.read(again, 7))!.message(0).toString()).toBe('m7')
      })

      it('holds no more than the cache may, however much waits', async () => {
        await reopen({ cacheBytes: 100_000 })
        const lane = store.lane('q/a')
        const message = Buffer.alloc(1000, 'x')
        for (let i = 0; i < 2000; i++) {
          store.append(message, [target(lane)])
          if (i % 50 === 0) await store.commit()
        }
        await store.commit()
        expect((await inspect()).cachedBytes).toBeLessThanOrEqual(100_000)
        expect((await waitingTexts(store, lane)).length).toBe(2000)
        expect((await inspect()).cachedBytes).toBeLessThanOrEqual(100_000)
      })
    })

    describe('bodies shared by lanes', () => {
      it('are stored once and go with the last entry', async () => {
        const lanes = ['a', 'b', 'c'].map((id) => store.lane(`s/${id}`))
        const targets = lanes.map((lane, i) => target(lane, i))
        for (let i = 1; i <= 10; i++) store.append(body(`m${i}`), targets)
        await store.commit()
        await left({ chunks: 3, segments: 1 })
        for (const [i, lane] of lanes.entries()) {
          expect((await waitingTexts(store, lane)).length).toBe(10)
          for (let seq = 1; seq <= 10; seq++) store.settle(lane, seq)
          await store.commit()
          await left({ chunks: 2 - i, segments: i === 2 ? 0 : 1, settled: 0 })
        }
        await left({ segments: 0, refs: 0, residentSegments: 0 })
      })

      it('are read by each lane at its own pace, over reopens', async () => {
        const a = store.lane('s/a')
        const b = store.lane('s/b')
        const both = [target(a, 1), target(b, 2)]
        store.append(body('both1'), both)
        store.append(body('a2'), [target(a, 1)])
        store.append(body('both3'), both)
        store.append(body('b3'), [target(b, 2)])
        await store.commit()
        store.settle(a, 1)
        store.settle(a, 2)
        await reopen()
        expect(await waitingTexts(store, store.lane('s/a'))).toEqual([[3, 'both3']])
        expect(await waitingTexts(store, store.lane('s/b'))).toEqual([
          [1, 'both1'],
          [2, 'both3'],
          [3, 'b3'],
        ])
        for (const seq of [1, 2, 3]) store.settle(store.lane('s/b'), seq)
        await store.commit()
        await left({ chunks: 1, segments: 1 })
        await reopen()
        expect(await waitingTexts(store, store.lane('s/a'))).toEqual([[3, 'both3']])
        store.settle(store.lane('s/a'), 3)
        await store.commit()
        await left({ chunks: 0, segments: 0, refs: 0, settled: 0, residentSegments: 0 })
      })

      it('go when a lane is settled in the group that appended them', async () => {
        const a = store.lane('s/a')
        const b = store.lane('s/b')
        store.append(body('x'), [target(a), target(b)])
        store.settle(a, 1)
        await store.commit()
        await left({ chunks: 1, segments: 1 })
        store.settle(b, 1)
        await store.commit()
        await left({ chunks: 0, segments: 0, refs: 0, residentSegments: 0 })
        store.append(body('x'), [target(a), target(b)])
        store.settle(a, 2)
        store.settle(b, 2)
        await store.commit()
        await left({ chunks: 0, segments: 0, refs: 0, residentSegments: 0 })
      })

      it('fill several segments when they are many or large', async () => {
        const lanes = [store.lane('s/a'), store.lane('s/b')]
        const targets = lanes.map((lane) => target(lane))
        const text = 'x'.repeat(1000)
        for (let i = 0; i < 2500; i++) store.append(body(`${i} ${text}`), targets)
        await store.commit()
        expect((await inspect()).segments).toBeGreaterThan(2)
        await reopen()
        for (const lane of [store.lane('s/a'), store.lane('s/b')]) {
          const texts = await waitingTexts(store, lane)
          expect(texts.map(([, each]) => Number.parseInt(each, 10))).toEqual([...new Array(2500).keys()])
          for (const [seq] of texts) store.settle(lane, seq)
        }
        await store.commit()
        await left({ chunks: 0, segments: 0, refs: 0, residentSegments: 0 })
      })
    })

    describe('marks', () => {
      it('stand beside a waiting entry, are replaced, dropped, and read in order', async () => {
        const lane = store.lane('q/a')
        for (let i = 0; i < 5; i++) store.append(body('x'), [target(lane)])
        store.mark(lane, 4, body('open'))
        expect(await store.marks(lane)).toEqual([{ seq: 4, bytes: body('open') }])
        await store.commit()
        store.mark(lane, 2, body('two'))
        store.mark(lane, 4, body('four'))
        store.mark(lane, 5, body('five'))
        store.mark(lane, 5, null)
        const expected = [
          { seq: 2, bytes: body('two') },
          { seq: 4, bytes: body('four') },
        ]
        expect(await store.marks(lane)).toEqual(expected)
        await store.commit()
        await reopen()
        const again = store.lane('q/a')
        expect(await store.marks(again)).toEqual(expected)
        const chunk = (await store.read(again, 1))!
        expect(chunk.markOf(0)).toBeUndefined()
        expect(chunk.markOf(1)?.toString()).toBe('two')
        store.mark(again, 2, null)
        expect(chunk.markOf(1)).toBeUndefined()
        await store.commit()
        await left({ marks: 1 })
      })

      it('go with their entry', async () => {
        const lane = store.lane('q/a')
        for (let i = 0; i < 3; i++) store.append(body('x'), [target(lane)])
        for (const seq of [1, 2, 3]) store.mark(lane, seq, body(`m${seq}`))
        await store.commit()
        store.settle(lane, 2)
        await reopen()
        expect((await store.marks(store.lane('q/a'))).map(({ seq }) => seq)).toEqual([1, 3])
        store.settle(store.lane('q/a'), 1)
        store.settle(store.lane('q/a'), 3)
        await store.commit()
        await left({ marks: 0, chunks: 0 })
      })

      it('are not kept for unknown and settled entries', async () => {
        const lane = store.lane('q/a')
        store.append(body('x'), [target(lane)])
        store.append(body('y'), [target(lane)])
        await store.commit()
        store.settle(lane, 1)
        store.mark(lane, 1, body('late'))
        store.mark(lane, 9, body('unknown'))
        await store.commit()
        expect(await store.marks(lane)).toEqual([])
        await left({ marks: 0 })
      })
    })

    describe('commit', () => {
      it('tells each chunk once, in order, after it is durable and before the promise resolves', async () => {
        const lane = store.lane('s/a')
        const told: number[] = []
        lane.onCommitted = (chunk) => told.push(chunk.firstSeq, chunk.count)
        store.append(body('one'), [target(lane)])
        opened.faults.hold()
        const first = store.commit()
        store.append(body('two'), [target(lane)])
        store.append(body('three'), [target(lane)])
        const second = store.commit()
        await new Promise((resolve) => setImmediate(resolve))
        expect(told).toEqual([])
        opened.faults.letGo()
        await first
        expect(told.slice(0, 2)).toEqual([1, 1])
        await second
        expect(told).toEqual([1, 1, 2, 2])
      })

      it('gives the listener the very buffers that were appended', async () => {
        const lane = store.lane('s/a')
        const chunks: Chunk[] = []
        lane.onCommitted = (chunk) => chunks.push(chunk)
        const message = body('one')
        store.append(message, [target(lane, 5, body('extra'))])
        await store.commit()
        expect(chunks[0]!.message(0)).toBe(message)
        expect(chunks[0]!.tags[0]).toBe(5)
        expect(chunks[0]!.extras![0]!.toString()).toBe('extra')
      })

      it('of an empty group resolves with the last one under way', async () => {
        await store.commit()
        store.append(body('x'), [target(store.lane('s/a'))])
        opened.faults.hold()
        let done = false
        void store.commit()
        const empty = store.commit().then(() => {
          done = true
        })
        await new Promise((resolve) => setImmediate(resolve))
        expect(done).toBe(false)
        opened.faults.letGo()
        await empty
      })

      it('merges what waits while two groups are under way', async () => {
        const lane = store.lane('s/a')
        opened.faults.hold()
        const before = opened.faults.batches
        const commits: Promise<void>[] = []
        for (let i = 0; i < 10; i++) {
          store.append(body(`m${i}`), [target(lane)])
          commits.push(store.commit())
        }
        expect(opened.faults.batches - before).toBe(2)
        opened.faults.letGo()
        await Promise.all(commits)
        expect(opened.faults.batches - before).toBe(3)
        expect((await waitingTexts(store, lane)).length).toBe(10)
      })

      it('counts bytes that are not durable yet', async () => {
        const lanes = [target(store.lane('s/a')), target(store.lane('s/b'))]
        store.append(body('12345'), lanes)
        expect(store.pendingBytes).toBe(5)
        opened.faults.hold()
        const committed = store.commit()
        store.append(body('123'), lanes)
        expect(store.pendingBytes).toBe(8)
        opened.faults.letGo()
        await committed
        expect(store.pendingBytes).toBe(3)
        await store.commit()
        expect(store.pendingBytes).toBe(0)
      })

      it('is done by close', async () => {
        store.append(body('x'), [target(store.lane('s/a'))])
        await reopen()
        expect(store.lane('s/a').waiting).toBe(1)
      })
    })

    describe('a failing commit', () => {
      it('leaves nothing of what was appended, and the store goes on', async () => {
        const lane = store.lane('s/a')
        const told: number[] = []
        lane.onCommitted = (chunk) => told.push(chunk.firstSeq)
        store.append(body('kept'), [target(lane)])
        await store.commit()
        opened.faults.failNext()
        store.append(body('lost'), [target(lane), target(store.lane('s/b'))])
        store.putRetained('t', body('lost'))
        await expect(store.commit()).rejects.toMatchObject({ code: 'store_unavailable', kind: 'dependency' })
        expect([lane.waiting, lane.waitingBytes, store.lane('s/b').waiting, store.pendingBytes]).toEqual([1, 4, 0, 0])
        expect(told).toEqual([1])
        expect(await waitingTexts(store, lane)).toEqual([[1, 'kept']])
        await laterTurn()
        const next = lane.nextSeq
        store.append(body('later'), [target(lane), target(store.lane('s/b'))])
        await store.commit()
        await reopen()
        expect(await waitingTexts(store, store.lane('s/a'))).toEqual([
          [1, 'kept'],
          [next, 'later'],
        ])
        expect(store.lane('s/b').waiting).toBe(1)
        expect(await collect(store.retained())).toEqual([])
        await left({ segments: 1, chunks: 3 })
      })

      it('fails the groups given after it and the open one', async () => {
        const lane = store.lane('s/a')
        opened.faults.hold()
        opened.faults.failNext()
        store.append(body('first'), [target(lane)])
        const first = store.commit()
        store.append(body('second'), [target(lane)])
        const second = store.commit()
        store.append(body('third'), [target(lane)])
        const third = store.commit()
        const outcome = Promise.allSettled([first, second, third])
        opened.faults.letGo()
        expect((await outcome).map(({ status }) => status)).toEqual(['rejected', 'rejected', 'rejected'])
        expect([lane.waiting, lane.waitingBytes, store.pendingBytes]).toEqual([0, 0, 0])
        await laterTurn()
        store.append(body('fourth'), [target(lane)])
        await store.commit()
        expect((await waitingTexts(store, lane)).map(([, text]) => text)).toEqual(['fourth'])
        await reopen()
        expect((await waitingTexts(store, store.lane('s/a'))).map(([, text]) => text)).toEqual(['fourth'])
      })

      it('is told to whoever wrote in the same turn and calls commit after another has', async () => {
        const lane = store.lane('s/a')
        opened.faults.failNext()
        store.append(body('mine'), [target(lane)])
        const endOfTurn = new Promise<Promise<void>>((resolve, reject) => {
          setImmediate(() => store.commit().then(() => resolve(Promise.resolve()), reject))
        })
        const outcome = expect(endOfTurn).rejects.toMatchObject({ code: 'store_unavailable' })
        const another = expect(store.commit()).rejects.toThrow()
        await another
        store.append(body('mine, too'), [target(lane)])
        await outcome
        expect(lane.waiting).toBe(0)
        await laterTurn()
        store.append(body('later'), [target(lane)])
        await store.commit()
        expect((await waitingTexts(store, lane)).map(([, text]) => text)).toEqual(['later'])
      })

      it('undoes what is written until the turn is over', async () => {
        const lane = store.lane('s/a')
        store.append(body('kept'), [target(lane)])
        await store.commit()
        opened.faults.failNext()
        store.append(body('lost'), [target(lane)])
        await expect(store.commit()).rejects.toThrow()
        store.append(body('lost, too'), [target(lane), target(store.lane('s/b'))])
        store.settle(lane, 1)
        store.mark(lane, 1, body('x'))
        store.putMeta('lost', true)
        await expect(store.commit()).rejects.toThrow()
        expect([lane.waiting, store.lane('s/b').waiting, store.meta('').size, store.pendingBytes]).toEqual([0, 0, 0, 0])
        await laterTurn()
        await store.commit()
        await left({ chunks: 0, segments: 0, marks: 0, settled: 0, residentSegments: 0 })
      })

      it('keeps settlements in memory and writes them with the next group', async () => {
        const a = store.lane('s/a')
        const b = store.lane('s/b')
        const both = [target(a), target(b)]
        for (let i = 0; i < 4; i++) store.append(body('x'), both)
        await store.commit()
        opened.faults.failNext()
        for (const seq of [1, 2, 3, 4]) store.settle(a, seq)
        store.settle(b, 2)
        await expect(store.commit()).rejects.toThrow()
        expect([a.waiting, b.waiting]).toEqual([0, 3])
        expect(await store.read(a, 1)).toBeNull()
        await laterTurn()
        store.settle(b, 1)
        await store.commit()
        await left({ chunks: 1, segments: 1, settled: 1 })
        await reopen()
        expect([store.lane('s/a').waiting, store.lane('s/b').waiting, store.lane('s/a').nextSeq]).toEqual([0, 2, 5])
        for (const seq of [3, 4]) store.settle(store.lane('s/b'), seq)
        await store.commit()
        await left({ chunks: 0, segments: 0, refs: 0, settled: 0 })
      })

      it('gives marks their former value back', async () => {
        const lane = store.lane('q/a')
        for (let i = 0; i < 3; i++) store.append(body('x'), [target(lane)])
        store.mark(lane, 1, body('old'))
        await store.commit()
        const chunk = (await store.read(lane, 1))!
        opened.faults.failNext()
        store.mark(lane, 1, body('new'))
        store.mark(lane, 2, body('new'))
        store.mark(lane, 3, body('gone'))
        store.settle(lane, 3)
        await expect(store.commit()).rejects.toThrow()
        expect(await store.marks(lane)).toEqual([{ seq: 1, bytes: body('old') }])
        expect([chunk.markOf(0)?.toString(), chunk.markOf(1)]).toEqual(['old', undefined])
        await laterTurn()
        await store.commit()
        await left({ marks: 1 })
      })

      it('of a dropped lane drops it with the next group', async () => {
        const lane = store.lane('s/a')
        store.append(body('x'), [target(lane), target(store.lane('s/b'))])
        await store.commit()
        opened.faults.failNext()
        store.dropLane(lane)
        await expect(store.commit()).rejects.toThrow()
        expect(store.lane('s/a').waiting).toBe(0)
        await laterTurn()
        store.append(body('new'), [target(store.lane('s/a'))])
        await store.commit()
        await reopen()
        expect(await waitingTexts(store, store.lane('s/a'))).toEqual([[1, 'new']])
      })

      it('survives failures at every point of a long run', async () => {
        const lane = store.lane('s/a')
        const both = [target(lane), target(store.lane('s/b'))]
        const kept = new Map<number, string>()
        for (let i = 0; i < 60; i++) {
          const from = lane.nextSeq
          for (let k = 0; k < 3; k++) store.append(body(`${i}.${k}`), both)
          for (const seq of [...kept.keys()].slice(0, 2)) {
            store.settle(lane, seq)
            kept.delete(seq)
          }
          if (i % 3 === 1) opened.faults.failNext()
          const ok = await store.commit().then(
            () => true,
            () => false,
          )
          if (ok) for (let k = 0; k < 3; k++) kept.set(from + k, `${i}.${k}`)
          expect(await waitingTexts(store, lane)).toEqual([...kept])
          expect(lane.waiting).toBe(kept.size)
          if (i % 4 > 0) await laterTurn()
        }
        opened.faults.heal()
        await laterTurn()
        await store.commit()
        await reopen()
        expect(await waitingTexts(store, store.lane('s/a'))).toEqual([...kept])
        for (const name of ['s/a', 's/b']) {
          for (const [seq] of await waitingTexts(store, store.lane(name))) store.settle(store.lane(name), seq)
        }
        await store.commit()
        await left({ chunks: 0, segments: 0, refs: 0, settled: 0, residentSegments: 0 })
      })
    })

    describe('dropping a lane', () => {
      const swept = async () => {
        for (let i = 0; i < 200 && (await inspect()).doomed > 0; i++) {
          store.putMeta('tick', i)
          await store.commit()
        }
        await left({ doomed: 0 })
      }

      it('removes its entries, marks and bodies, and only its own', async () => {
        const a = store.lane('s/a')
        const b = store.lane('s/b')
        for (let i = 0; i < 3; i++) {
          store.append(body('both'), [target(a), target(b)])
          store.append(body('a'), [target(a)])
          await store.commit()
        }
        store.mark(a, 1, body('mark'))
        store.settle(a, 2)
        await store.commit()
        store.dropLane(a)
        await store.commit()
        await swept()
        await left({ chunks: 3, segments: 3, marks: 0, settled: 0, lanes: 1 })
        store.dropLane(b)
        await store.commit()
        await swept()
        await left({ chunks: 0, segments: 0, refs: 0, lanes: 0, residentSegments: 0 })
        expect(store.laneNames('')).toEqual([])
      })

      it('that nobody has looked at since the reopen removes it too', async () => {
        store.append(body('x'), [target(store.lane('s/a')), target(store.lane('s/b'))])
        await store.commit()
        await reopen()
        store.dropLane(store.lane('s/a'))
        store.dropLane(store.lane('s/unknown'))
        await store.commit()
        expect(store.laneNames('s/')).toEqual(['s/b'])
        await swept()
        await left({ chunks: 1, segments: 1, lanes: 1 })
      })

      it('takes with it what is open and under way', async () => {
        const a = store.lane('s/a')
        const b = store.lane('s/b')
        const told: number[] = []
        a.onCommitted = (chunk) => told.push(chunk.firstSeq)
        opened.faults.hold()
        store.append(body('under way'), [target(a), target(b)])
        const first = store.commit()
        store.append(body('open'), [target(a), target(b)])
        store.dropLane(a)
        const second = store.commit()
        opened.faults.letGo()
        await Promise.all([first, second])
        await swept()
        expect(told).toEqual([])
        await left({ chunks: 2, segments: 2, lanes: 1 })
        for (const seq of [1, 2]) store.settle(b, seq)
        await store.commit()
        await left({ chunks: 0, segments: 0, refs: 0, residentSegments: 0 })
      })

      it('leaves an empty lane of that name to begin anew', async () => {
        const lane = store.lane('s/a')
        store.append(body('old'), [target(lane)])
        await store.commit()
        store.dropLane(lane)
        const fresh = store.lane('s/a')
        expect([fresh.nextSeq, fresh.waiting]).toEqual([1, 0])
        store.append(body('new'), [target(fresh)])
        await store.commit()
        expect(await waitingTexts(store, fresh)).toEqual([[1, 'new']])
        await reopen()
        expect(await waitingTexts(store, store.lane('s/a'))).toEqual([[1, 'new']])
        expect(store.laneNames('s/')).toEqual(['s/a'])
      })

      it('goes on after a reopen in the middle', async () => {
        const lane = store.lane('s/a')
        const both = [target(lane), target(store.lane('s/b'))]
        for (let i = 0; i < 600; i++) {
          store.append(body('x'), both)
          await store.commit()
        }
        store.dropLane(lane)
        await store.commit()
        await store.commit()
        await reopen()
        expect(store.laneNames('s/')).toEqual(['s/b'])
        await swept()
        await left({ chunks: 600, segments: 600 })
        expect((await waitingTexts(store, store.lane('s/b'))).length).toBe(600)
      })

      it('sweeps by itself', async () => {
        const events: unknown[] = []
        let removed: () => void = () => {}
        const done = new Promise<void>((resolve) => {
          removed = resolve
        })
        await reopen({
          onEvent: (event) => {
            events.push(event)
            if (event.type === 'lane-removed') removed()
          },
        })
        const lane = store.lane('s/a')
        for (let i = 0; i < 300; i++) {
          store.append(body('x'), [target(lane)])
          await store.commit()
        }
        store.dropLane(lane)
        await store.commit()
        await done
        await store.commit()
        expect(events).toEqual([{ type: 'lane-removed', chunks: 300 }])
        await left({ chunks: 0, doomed: 0 })
      })
    })

    describe('tables', () => {
      const session = (clientId: string, more: Partial<SessionRecord> = {}): SessionRecord => ({
        clientId,
        version: 4,
        expirySeconds: 0xffffffff,
        disconnectedAt: 0,
        maybeSentBefore: 1,
        lane: `s/${clientId}`,
        ...more,
      })
      const subscription = (topicFilter: string, more: Partial<SubscriptionRecord> = {}): SubscriptionRecord => ({
        topicFilter,
        qos: 1,
        noLocal: false,
        retainAsPublished: false,
        retainHandling: 0,
        subscriptionIdentifier: 0,
        ...more,
      })

      it('keep sessions with their subscriptions and inbound packet identifiers', async () => {
        const long = 'f/'.repeat(20_000)
        store.putSession(session('b', { userName: 'someone', version: 5 }))
        store.putSession(session('a'))
        store.putSession(session('ab'))
        store.putSubscription('a', subscription('x/+', { qos: 2, subscriptionIdentifier: 7 }))
        store.putSubscription('a', subscription(long))
        store.putSubscription('ab', subscription('#'))
        store.putInboundPacketId('a', 65535)
        store.putInboundPacketId('a', 1)
        store.putInboundPacketId('a', 2)
        store.deleteInboundPacketId('a', 2)
        await store.commit()
        await reopen()
        const all = await collect(store.sessions())
        expect(all.map((each) => each.session.clientId).sort()).toEqual(['a', 'ab', 'b'])
        const a = all.find((each) => each.session.clientId === 'a')!
        expect(a.session).toEqual(session('a'))
        expect(a.subscriptions.map((each) => each.topicFilter).sort()).toEqual([long, 'x/+'].sort())
        expect(a.subscriptions.find((each) => each.topicFilter === 'x/+')).toEqual(
          subscription('x/+', { qos: 2, subscriptionIdentifier: 7 }),
        )
        expect(a.inboundPacketIds.sort((x, y) => x - y)).toEqual([1, 65535])
        expect(all.find((each) => each.session.clientId === 'b')!.session.userName).toBe('someone')
      })

      it('replace and delete a subscription', async () => {
        store.putSession(session('a'))
        store.putSubscription('a', subscription('x'))
        store.putSubscription('a', subscription('y'))
        await store.commit()
        store.putSubscription('a', subscription('x', { qos: 0 }))
        store.deleteSubscription('a', 'y')
        await store.commit()
        await reopen()
        expect((await collect(store.sessions()))[0]!.subscriptions).toEqual([subscription('x', { qos: 0 })])
      })

      it('delete a session with all that belongs to it, committed or not', async () => {
        store.putSession(session('a'))
        store.putSession(session('ab'))
        store.putSubscription('a', subscription('x'))
        store.putSubscription('ab', subscription('x'))
        store.putInboundPacketId('a', 5)
        await store.commit()
        opened.faults.hold()
        store.putSubscription('a', subscription('under way'))
        const first = store.commit()
        store.putSubscription('a', subscription('open'))
        store.deleteSession('a')
        const second = store.commit()
        opened.faults.letGo()
        await Promise.all([first, second])
        await left({ session: 2 })
        expect((await collect(store.sessions())).map((each) => each.session.clientId)).toEqual(['ab'])
        store.putSession(session('a'))
        await store.commit()
        const again = (await collect(store.sessions())).find((each) => each.session.clientId === 'a')
        expect(again).toEqual({
          session: session('a'),
          subscriptions: [],
          inboundPacketIds: [],
        })
      })

      it('stream many sessions', async () => {
        for (let i = 0; i < 3000; i++) {
          store.putSession(session(`client-${i}`))
          store.putSubscription(`client-${i}`, subscription(`t/${i}`))
        }
        await store.commit()
        const seen = new Set<string>()
        for await (const each of store.sessions()) {
          expect(each.subscriptions).toEqual([subscription(`t/${each.session.clientId.slice(7)}`)])
          seen.add(each.session.clientId)
        }
        expect(seen.size).toBe(3000)
      })

      it('keep retained messages', async () => {
        const long = 't/'.repeat(30_000)
        store.putRetained('a', body('old'))
        store.putRetained('a/', body('slash'))
        store.putRetained(long, body('long'))
        store.putRetained('gone', body('x'))
        await store.commit()
        store.putRetained('a', body('new'))
        store.deleteRetained('gone')
        await store.commit()
        await reopen()
        const all = new Map((await collect(store.retained())).map(({ topic, message }) => [topic, message.toString()]))
        expect(all).toEqual(
          new Map([
            ['a', 'new'],
            ['a/', 'slash'],
            [long, 'long'],
          ]),
        )
      })

      it('keep wills', async () => {
        const will: WillRecord = {
          clientId: 'a',
          message: body('bye'),
          qos: 1,
          retain: true,
          delaySeconds: 30,
          dueAt: 1_700_000_000_000,
          node: 'n1',
        }
        store.putWill(will)
        store.putWill({ ...will, clientId: 'b' })
        await store.commit()
        store.deleteWill('b')
        await store.commit()
        await reopen()
        expect(await collect(store.wills())).toEqual([will])
      })

      it('keep named facts, which read what was written at once', async () => {
        store.putMeta('queue/a', { paused: true })
        store.putMeta('queue/b', 7)
        store.putMeta('other', 'x')
        expect(store.meta('queue/').get('queue/a')).toEqual({ paused: true })
        await store.commit()
        store.deleteMeta('queue/b')
        expect([...store.meta('queue/').keys()]).toEqual(['queue/a'])
        await store.commit()
        await reopen()
        expect(store.meta('')).toEqual(
          new Map<string, unknown>([
            ['other', 'x'],
            ['queue/a', { paused: true }],
          ]),
        )
      })
    })

    it('counts commits and the time the last one took', async () => {
      const before = store.stats().commits
      store.putMeta('x', 1)
      await store.commit()
      expect(store.stats().commits).toBe(before + 1)
      expect(store.stats().lastCommitMs).toBeGreaterThanOrEqual(0)
      if (store.durable) expect(store.stats().bytesOnDisk).toBeGreaterThan(0)
    })
  })
}
