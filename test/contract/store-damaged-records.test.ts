/**
 * One damaged record costs that record and nothing else: the store serves what it would serve if the record were not there. Bits flip in
 * keys and in values, in a store too large to be read as a whole when it opens, and in one that is.
 */
import { afterEach, describe, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { Engine } from '../../src/stores/embedded/engine.ts'
import { idsKey, waitingKey } from '../../src/stores/embedded/group-writer.ts'
import { chunkKey, chunkKeyBytes, isBare, keyId, keySeq, table } from '../../src/stores/embedded/keys.ts'
import { MemoryDisk, MemoryEngine } from '../../src/stores/embedded/memory-engine.ts'
import { EmbeddedStore } from '../../src/stores/embedded/store.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { body, target, waitingTexts } from './store-contract.ts'
import { fillStore, LANES, linesOf } from './store-damages.ts'

const SEED = Number(process.env['DAMAGE_SEED'] ?? Date.now() % 1_000_000)
const TIMES = Number(process.env['DAMAGE_FLIPS'] ?? 1)
console.log(`DAMAGE_SEED=${SEED}`)

const stores: EmbeddedStore[] = []
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close()
})

/** A store on a disk of memory, with seals as on a real one. @param small it is read as a whole when it opens */
async function openOn(disk: MemoryDisk, small = false): Promise<{ store: EmbeddedStore; told: string[] }> {
  const space = small ? { space: () => ({ bytes: 0, freeBytes: 0 }) } : {}
  const engine = Object.assign(new MemoryEngine(disk), { durable: true, ...space }) as unknown as Engine
  const told: string[] = []
  const store = new EmbeddedStore(engine, {
    clock: systemClock,
    onEvent: (event) => void (event.type === 'damaged' && told.push(event.record)),
  })
  await store.open()
  stores.push(store)
  return { store, told }
}

async function close(store: EmbeddedStore): Promise<void> {
  stores.splice(stores.indexOf(store), 1)
  await store.close()
}

type Records = ReadonlyMap<string, Buffer>

function recordsOf(disk: MemoryDisk): Records {
  const records = new Map<string, Buffer>()
  disk.map.scan('', '\u0100', (key, value) => {
    records.set(key, value)
    return true
  })
  return records
}

function diskOf(records: Records): MemoryDisk {
  const disk = new MemoryDisk()
  for (const [key, value] of records) disk.map.set(key, Buffer.from(value))
  return disk
}

const bytesOf = (key: string): Buffer => Buffer.from(key, 'latin1')
const nameOf = (key: Buffer): string => key.toString('latin1')

/** What is served, before and after more is written and the store is opened again. */
async function serves(records: Records, small: boolean): Promise<{ lines: string[]; later: string[]; told: string[] }> {
  const disk = diskOf(records)
  const { store, told } = await openOn(disk, small)
  const lines = (await linesOf(store, LANES)).sort()
  const fresh = ['new/1', 'new/2']
  for (const name of fresh) store.append(body(`into ${name}`), [target(store.lane(name))])
  store.append(body('into both'), [target(store.lane(fresh[0]!)), target(store.lane(fresh[1]!))])
  await store.commit()
  for (const name of LANES)
    for (const [seq] of await waitingTexts(store, store.lane(name))) store.settle(store.lane(name), seq)
  await store.commit()
  await close(store)
  const again = await openOn(disk, small)
  const later = (await linesOf(again.store, [...LANES, ...fresh])).sort()
  expect(again.store.stats().waiting).toBeGreaterThanOrEqual(0)
  await close(again.store)
  return { lines, later, told }
}

async function written(random: SeededRandom): Promise<Records> {
  const disk = new MemoryDisk()
  const { store } = await openOn(disk)
  await fillStore(store, random, 12)
  await close(store)
  return recordsOf(disk)
}

describe.each([
  ['a large store', false],
  ['a small store', true],
])('in %s', (_what, small) => {
  test(
    'a bit that flips in a record costs that record and no other',
    async () => {
      const random = new SeededRandom(SEED)
      const records = await written(random)
      const keys = [...records.keys()].filter((key) => !isBare(bytesOf(key)))
      const faults: unknown[] = []
      for (let n = 0; n < 150 * TIMES; n++) {
        const key = random.pick(keys)
        const without = new Map(records)
        without.delete(key)
        const damaged = new Map(without)
        const inKey = random.chance(0.5)
        const bytes = Buffer.from(inKey ? bytesOf(key) : records.get(key)!)
        bytes[random.int(0, bytes.length - 1)]! ^= 1 << random.int(0, 7)
        if (inKey && records.has(nameOf(bytes))) continue
        damaged.set(inKey ? nameOf(bytes) : key, inKey ? records.get(key)! : bytes)
        const expected = await serves(without, small)
        const found = await serves(damaged, small)
        const at = {
          key: bytesOf(key).toString('hex').slice(0, 80),
          now: inKey ? bytes.toString('hex').slice(0, 80) : 'value',
        }
        if (small && found.told.length === 0) faults.push({ ...at, is: 'not told' })
        for (const part of ['lines', 'later'] as const) {
          const missing = expected[part].filter((line) => !found[part].includes(line)).map((line) => line.slice(0, 60))
          const more = found[part].filter((line) => !expected[part].includes(line)).map((line) => line.slice(0, 60))
          if (missing.length + more.length > 0) faults.push({ ...at, part, missing, more })
        }
      }
      expect(faults.slice(0, 5)).toEqual([])
    },
    60_000 * TIMES,
  )
})

async function lanes(): Promise<Records> {
  const disk = new MemoryDisk()
  const { store } = await openOn(disk)
  for (let group = 0; group < 5; group++) {
    for (const name of ['q/a', 'q/b'])
      for (let i = 0; i < 10; i++) store.append(body(`${name} ${group}.${i}`), [target(store.lane(name))])
    await store.commit()
  }
  await close(store)
  return recordsOf(disk)
}

const texts = async (store: EmbeddedStore, name: string, from = 1): Promise<string[]> =>
  (await waitingTexts(store, store.lane(name), from)).map(([, text]) => text)

/** The records, with one under a key that claims something else. */
function rekeyed(records: Records, which: (key: Buffer) => boolean, change: (key: Buffer) => Buffer): Records {
  const copy = new Map(records)
  const key = [...records.keys()].find((each) => which(bytesOf(each)))!
  copy.set(nameOf(change(bytesOf(key))), copy.get(key)!)
  copy.delete(key)
  return copy
}

const isChunk = (lane: number, seq: number) => (key: Buffer) =>
  key[0] === table.chunk && keyId(key) === lane && keySeq(key) === seq

describe.each([
  ['known from the start', true],
  ['found when it is read', false],
])('a chunk under a key that claims its neighbours, %s,', (_when, small) => {
  test.each([
    ['more messages than it has', 11, 11, 35],
    ['to begin within the one before, and end within the one after', 11, 5, 20],
    ['to begin where the one after does', 11, 21, 12],
    ['messages that are in none', 41, 45, 10],
  ])('hides none of them: %s', async (_what, seq, claimed, count) => {
    const records = rekeyed(await lanes(), isChunk(1, seq), (key) =>
      chunkKey(1, claimed, count, chunkKeyBytes(key), false),
    )
    const group = (seq - 1) / 10
    for (const from of [1, 5, 11, 15, 21, 25, 38]) {
      const { store, told } = await openOn(diskOf(records), small)
      const expected = [...new Array(50).keys()].filter((i) => i + 1 >= from && Math.floor(i / 10) !== group)
      expect(await texts(store, 'q/a', from)).toEqual(expected.map((i) => `q/a ${Math.floor(i / 10)}.${i % 10}`))
      expect(await texts(store, 'q/b')).toHaveLength(50)
      if (from === 1) {
        expect(told).toHaveLength(1)
        expect(store.lane('q/a').waiting).toBe(40)
        for (const [each] of await waitingTexts(store, store.lane('q/a'))) store.settle(store.lane('q/a'), each)
        await store.commit()
        expect(store.lane('q/a').waiting).toBe(0)
      }
      await close(store)
    }
  })
})

test.each([
  ['is damaged', (value: Buffer) => Buffer.concat([value.subarray(0, 3), Buffer.from([0xff]), value.subarray(4)])],
  ['is missing', () => null],
])('no number is given twice where the record of the counters %s', async (_what, change) => {
  const records = new Map(await lanes())
  const changed = change(records.get(nameOf(idsKey))!)
  records.delete(nameOf(idsKey))
  if (changed !== null) records.set(nameOf(idsKey), changed)
  const disk = diskOf(records)
  const { store } = await openOn(disk)
  store.append(body('mine'), [target(store.lane('s/new'))])
  store.append(body('shared'), [target(store.lane('s/new')), target(store.lane('s/other'))])
  await store.commit()
  await close(store)
  const again = (await openOn(disk)).store
  expect(await texts(again, 's/new')).toEqual(['mine', 'shared'])
  expect(await texts(again, 's/other')).toEqual(['shared'])
  expect(await texts(again, 'q/a')).toHaveLength(50)
  expect(await texts(again, 'q/b')).toHaveLength(50)
})

test('no number is given twice where the record of the counters is of an earlier time', async () => {
  const disk = new MemoryDisk()
  const { store } = await openOn(disk)
  store.append(body('first'), [target(store.lane('s/1')), target(store.lane('s/2'))])
  await store.commit()
  const early = recordsOf(disk).get(nameOf(idsKey))!
  for (let i = 3; i < 9; i++) store.append(body(`to ${i}`), [target(store.lane(`s/${i}`)), target(store.lane('s/1'))])
  await store.commit()
  await close(store)
  disk.map.set(nameOf(idsKey), Buffer.from(early))
  const { store: later } = await openOn(disk)
  later.append(body('new'), [target(later.lane('s/new')), target(later.lane('s/1'))])
  await later.commit()
  await close(later)
  const { store: again } = await openOn(disk)
  expect(await texts(again, 's/new')).toEqual(['new'])
  for (let i = 3; i < 9; i++) expect(await texts(again, `s/${i}`)).toEqual([`to ${i}`])
})

test('what waits is counted anew where its count is damaged', async () => {
  const records = new Map(await lanes())
  const value = Buffer.from(records.get(nameOf(waitingKey))!)
  value[0]! ^= 1
  records.set(nameOf(waitingKey), value)
  const disk = diskOf(records)
  const { store } = await openOn(disk)
  expect(store.stats().waiting).toBe(100)
  for (const [seq] of await waitingTexts(store, store.lane('q/a'))) store.settle(store.lane('q/a'), seq)
  await store.commit()
  await close(store)
  expect((await openOn(disk)).store.stats().waiting).toBe(50)
})
