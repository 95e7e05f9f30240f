/** Random histories of the store against a model of what each lane must hold, with failures and reopens at any point. */
import fc from 'fast-check'
import { afterAll, describe, expect, it } from 'vitest'
import type { Lane, LaneTarget } from '../../src/store.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { redisHarness } from './redis-harness.ts'
import { body, laterTurn, waitingTexts } from './store-contract.ts'
import { lmdbHarness, memoryHarness, type Opened, type StoreHarness } from './store-harness.ts'

/** More of them on demand: STORE_HISTORIES=20 runs twenty times as many. */
const TIMES = Number(process.env['STORE_HISTORIES'] ?? 1)

const LANES = ['s/a', 's/b', 'q/c']

type Operation =
  | { do: 'append'; lanes: number[]; shared: boolean; times: number }
  | { do: 'settle'; lane: number; pick: number; times: number }
  | { do: 'mark'; lane: number; pick: number; drop: boolean }
  | { do: 'drop'; lane: number }

interface Step {
  operations: Operation[]
  /** Commits that the engine refuses from here on. */
  failures: number
  after: 'wait' | 'goOn' | 'reopen' | 'crash'
}

const laneIndex = fc.integer({ min: 0, max: LANES.length - 1 })
const operation: fc.Arbitrary<Operation> = fc.oneof(
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('append' as const),
      lanes: fc.uniqueArray(laneIndex, { minLength: 1, maxLength: LANES.length }),
      shared: fc.boolean(),
      times: fc.integer({ min: 1, max: 6 }),
    }),
  },
  {
    weight: 5,
    arbitrary: fc.record({
      do: fc.constant('settle' as const),
      lane: laneIndex,
      pick: fc.nat(50),
      times: fc.integer({ min: 1, max: 12 }),
    }),
  },
  {
    weight: 2,
    arbitrary: fc.record({ do: fc.constant('mark' as const), lane: laneIndex, pick: fc.nat(50), drop: fc.boolean() }),
  },
  { weight: 1, arbitrary: fc.record({ do: fc.constant('drop' as const), lane: laneIndex }) },
)
const step: fc.Arbitrary<Step> = fc.record({
  operations: fc.array(operation, { maxLength: 6 }),
  failures: fc.oneof(
    { weight: 4, arbitrary: fc.constant(0) },
    { weight: 1, arbitrary: fc.integer({ min: 1, max: 3 }) },
  ),
  after: fc.oneof(
    { weight: 4, arbitrary: fc.constant('wait' as const) },
    { weight: 4, arbitrary: fc.constant('goOn' as const) },
    { weight: 1, arbitrary: fc.constant('reopen' as const) },
    { weight: 1, arbitrary: fc.constant('crash' as const) },
  ),
})

interface Entry {
  text: string
  mark: string | null
}

/** What one group did, to be applied when its commit has succeeded. */
interface GroupModel {
  done: Promise<boolean>
  appended: { lane: LaneModel; seq: number }[]
  marks: { lane: LaneModel; seq: number; mark: string | null }[]
}

class LaneModel {
  readonly entries: Map<number, Entry>

  constructor(entries = new Map<number, Entry>()) {
    this.entries = entries
  }

  copy(): LaneModel {
    return new LaneModel(new Map([...this.entries].map(([seq, entry]) => [seq, { ...entry }])))
  }
}

class Model {
  lanes = LANES.map(() => new LaneModel())
  groups: GroupModel[] = []

  /** Applies what came of the groups under way. */
  async settled(): Promise<void> {
    for (const group of this.groups) {
      const ok = await group.done
      if (ok) for (const { lane, seq, mark } of group.marks) setMark(lane, seq, mark)
      else for (const { lane, seq } of group.appended) lane.entries.delete(seq)
    }
    this.groups = []
  }
}

function setMark(lane: LaneModel, seq: number, mark: string | null): void {
  const entry = lane.entries.get(seq)
  if (entry !== undefined) entry.mark = mark
}

class Run {
  readonly #harness: StoreHarness
  readonly #cacheBytes: number
  #opened!: Opened
  #model = new Model()
  #targets = new Map<string, LaneTarget[]>()
  #counter = 0

  constructor(harness: StoreHarness, cacheBytes: number) {
    this.#harness = harness
    this.#cacheBytes = cacheBytes
  }

  async open(): Promise<void> {
    this.#opened = await this.#harness.open({ cacheBytes: this.#cacheBytes })
    this.#targets.clear()
  }

  lane(i: number): Lane {
    return this.#opened.store.lane(LANES[i]!)
  }

  async step({ operations, failures, after }: Step): Promise<void> {
    const { store, faults } = this.#opened
    if (after === 'crash') return this.#crash(operations)
    const group: GroupModel = { done: Promise.resolve(true), appended: [], marks: [] }
    faults.failNext(failures)
    for (const each of operations) this.#apply(each, group)
    group.done = store.commit().then(
      () => true,
      () => false,
    )
    this.#model.groups.push(group)
    if (after === 'goOn') return
    await this.check()
    if (after === 'wait') return
    faults.heal()
    await store.close()
    await this.open()
    await this.check()
  }

  /** Does things that are never committed, and loses them with the process. */
  async #crash(operations: Operation[]): Promise<void> {
    const { store, faults } = this.#opened
    faults.heal()
    await this.check()
    if (!this.#harness.canCrash) return
    const before = this.#model.lanes.map((lane) => lane.copy())
    for (const each of operations) this.#apply(each, { done: Promise.resolve(false), appended: [], marks: [] })
    this.#model.lanes = before
    faults.cut()
    await store.read(this.lane(0), 1)
    await this.open()
    await this.check()
  }

  #apply(each: Operation, group: GroupModel): void {
    const { store } = this.#opened
    if (each.do === 'append') {
      for (let t = 0; t < each.times; t++) {
        const text = `m${++this.#counter}`
        for (const i of each.lanes) {
          const lane = this.#model.lanes[i]!
          const seq = this.lane(i).nextSeq
          lane.entries.set(seq, { text, mark: null })
          group.appended.push({ lane, seq })
        }
        store.append(body(text), this.#targetsOf(each))
      }
      return
    }
    const model = this.#model.lanes[each.lane]!
    const lane = this.lane(each.lane)
    if (each.do === 'drop') {
      store.dropLane(lane)
      this.#targets.clear()
      this.#model.lanes[each.lane] = new LaneModel()
      return
    }
    const seqs = [...model.entries.keys()].sort((a, b) => a - b)
    if (each.do === 'settle') {
      for (const seq of seqs.slice(each.pick % (seqs.length + 1)).slice(0, each.times)) {
        store.settle(lane, seq)
        model.entries.delete(seq)
      }
      return
    }
    const seq = seqs[each.pick % Math.max(1, seqs.length)]
    if (seq === undefined) return
    const mark = each.drop ? null : `k${++this.#counter}`
    store.mark(lane, seq, mark === null ? null : body(mark))
    group.marks.push({ lane: model, seq, mark })
  }

  #targetsOf({ lanes, shared }: { lanes: number[]; shared: boolean }): LaneTarget[] {
    const key = lanes.join()
    const known = this.#targets.get(key)
    if (shared && known !== undefined) return known
    const targets = lanes.map((i) => ({ lane: this.lane(i), tag: i, extra: null }))
    this.#targets.set(key, targets)
    return targets
  }

  /** Waits for everything under way and compares the lanes with the model. */
  async check(): Promise<void> {
    const { store } = this.#opened
    await this.#model.settled()
    await laterTurn()
    await store.commit().catch(() => {})
    for (const [i, model] of this.#model.lanes.entries()) {
      const lane = this.lane(i)
      const entries = [...model.entries].sort(([a], [b]) => a - b)
      expect(await waitingTexts(store, lane)).toEqual(entries.map(([seq, { text }]) => [seq, text]))
      expect(lane.waiting).toBe(entries.length)
      expect(lane.waitingBytes).toBe(entries.reduce((sum, [, { text }]) => sum + text.length, 0))
      const marks = (await store.marks(lane)).map(({ seq, bytes }) => [seq, bytes.toString()])
      expect(marks).toEqual(entries.filter(([, { mark }]) => mark !== null).map(([seq, { mark }]) => [seq, mark]))
    }
    const { waiting } = store.stats()
    if (waiting !== undefined)
      expect(waiting).toBe(this.#model.lanes.reduce((sum, { entries }) => sum + entries.size, 0))
    expect(store.pendingBytes).toBe(0)
  }

  /** Settles everything: nothing may be left behind. */
  async finish(): Promise<void> {
    this.#opened.faults.heal()
    await this.check()
    const { store } = this.#opened
    for (const [i, model] of this.#model.lanes.entries()) {
      for (const seq of model.entries.keys()) store.settle(this.lane(i), seq)
    }
    for (let i = 0; i < 50; i++) {
      store.putMeta('tick', i)
      await store.commit()
      if ((await this.#opened.inspect()).doomed === 0) break
    }
    expect(await this.#opened.inspect()).toMatchObject({
      chunks: 0,
      settled: 0,
      marks: 0,
      segments: 0,
      refs: 0,
      doomed: 0,
      residentSegments: 0,
      cachedChunks: 0,
    })
  }

  async close(): Promise<void> {
    await this.#opened.store.close().catch(() => {})
  }
}

function histories(makeHarness: () => Promise<StoreHarness> | StoreHarness, runs: number): Promise<void> {
  return fc.assert(
    fc.asyncProperty(
      fc.array(step, { minLength: 1, maxLength: 25 }),
      fc.constantFrom(0, 3000, 1_000_000),
      async (steps, cacheBytes) => {
        const harness = await makeHarness()
        const run = new Run(harness, cacheBytes)
        try {
          await run.open()
          for (const each of steps) await run.step(each)
          await run.finish()
        } finally {
          await run.close()
          await harness.remove()
        }
      },
    ),
    { numRuns: runs },
  )
}

describe('any history of a store', async () => {
  const redis = hasRedis ? await RedisProcess.start({ appendfsync: 'no' }) : null
  afterAll(() => redis?.stop())
  it.skipIf(redis === null)(
    'leaves in each lane what the model says, in Redis',
    () => histories(redisHarness(redis!), 25 * TIMES),
    60_000 * TIMES,
  )

  it('leaves in each lane what the model says, in memory', () => histories(memoryHarness, 300 * TIMES), 60_000 * TIMES)
  it('leaves in each lane what the model says, in LMDB', () => histories(lmdbHarness, 20 * TIMES), 60_000 * TIMES)
})
