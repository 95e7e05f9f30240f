/** When a group goes to the engine while another is under way. */
import { beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { MemoryEngine } from '../../src/stores/embedded/memory-engine.ts'
import { EmbeddedStore } from '../../src/stores/embedded/store.ts'
import { target, waitingTexts } from './store-contract.ts'
import { FaultyEngine } from './store-faults.ts'

let engine: FaultyEngine
let store: EmbeddedStore
let commits: Promise<void>[]
/** Batches given by opening. */
let before: number

function write(message: Buffer): void {
  store.append(message, [target(store.lane('s/a'))])
  commits.push(store.commit())
}

beforeEach(async () => {
  engine = new FaultyEngine(new MemoryEngine())
  engine.overlapBytes = 256 * 1024
  store = new EmbeddedStore(engine, { clock: systemClock })
  await store.open()
  commits = []
  before = engine.batches
  engine.hold()
})

test('a small group stays open while another is under way', async () => {
  for (let i = 0; i < 10; i++) write(Buffer.from(`m${i}`))
  expect(engine.batches - before).toBe(1)
  engine.letGo()
  await Promise.all(commits)
  expect(engine.batches - before).toBe(2)
  expect((await waitingTexts(store, store.lane('s/a'))).length).toBe(10)
})

test('one large group goes ahead, and what comes after it is merged', async () => {
  write(Buffer.from('first'))
  for (let i = 0; i < 4; i++) write(Buffer.alloc(100 * 1024, i))
  expect(engine.batches - before).toBe(2)
  for (let i = 0; i < 4; i++) write(Buffer.alloc(300 * 1024, i))
  expect(engine.batches - before).toBe(2)
  engine.letGo()
  await Promise.all(commits)
  expect(engine.batches - before).toBe(3)
  expect(store.lane('s/a').waiting).toBe(9)
})

test('what a failed commit leaves to be written does not hold up the group behind it', async () => {
  const lane = store.lane('s/a')
  engine.letGo()
  write(Buffer.from('old'))
  await Promise.all(commits)
  engine.failNext(2)
  store.settle(lane, 1)
  await expect(store.commit()).rejects.toMatchObject({ code: 'store_unavailable' })
  for (let turn = 0; turn < 5; turn++) await new Promise((resolve) => setImmediate(resolve))
  before = engine.batches
  engine.hold()
  store.append(Buffer.from('new'), [target(lane)])
  const committed = store.commit()
  // The repair and the group.
  expect(engine.batches - before).toBe(2)
  engine.letGo()
  await committed
  expect(await waitingTexts(store, lane)).toEqual([[2, 'new']])
})
