/**
 * Damaged files: bits that flipped, pages that are others, and ends that are missing, in processes of their own. The store reports, or
 * is as it was; it never serves what was not written, and never takes the process with it.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { Store } from '../../src/store.ts'
import type { StoreEvent } from '../../src/stores/embedded/state.ts'
import { DATA_FILE } from '../../src/stores/lmdb/engine.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { lmdbTools } from '../../src/stores/lmdb-tools.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { anyFlip, anyPage, type Damage, isFault, outcomesOf } from './store-damage-outcomes.ts'
import { type Base, LANES, linesOf, makePacked, makeUsed, PAGE, writtenIn } from './store-damages.ts'
import { compileStore } from './store-process.ts'

const SEED = Number(process.env['DAMAGE_SEED'] ?? Date.now() % 1_000_000)
/** How many times as much damage is done as usual. */
const FLIPS = Number(process.env['DAMAGE_FLIPS'] ?? 1)
console.log(`DAMAGE_SEED=${SEED}`)

let dir: string
let file: string
let events: StoreEvent[]
const stores: Store[] = []

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-damaged-'))
  file = path.join(dir, DATA_FILE)
  events = []
})
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close().catch(() => {})
  fs.rmSync(dir, { recursive: true, force: true })
})

async function open(): Promise<Store> {
  const store = lmdbStore({ dir, clock: systemClock, onEvent: (event) => void events.push(event) })
  await store.open()
  stores.push(store)
  return store
}

async function close(store: Store): Promise<void> {
  stores.splice(stores.indexOf(store), 1)
  await store.close()
}

let compiled: string
let folder: string
let used: Base
let packed: Base
const random = new SeededRandom(SEED)
beforeAll(async () => {
  compiled = await compileStore()
  folder = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-damages-'))
  used = await makeUsed(folder, random)
  packed = await makePacked(folder, used)
})
afterAll(() => {
  for (const each of [compiled, folder]) fs.rmSync(each, { recursive: true, force: true })
})

const times = <T>(count: number, make: () => T): T[] => Array.from({ length: count * FLIPS }, make)
const all = async (base: Base, damages: Damage[]): Promise<string[]> => {
  const outcomes = await outcomesOf(compiled, folder, base, damages)
  expect(outcomes.length).toBe(damages.length)
  expect(outcomes.filter(isFault)).toEqual([])
  return outcomes.map(({ outcome }) => outcome)
}

it(
  'with a bit flipped anywhere serves only what was written, says what is missing, and can be written to',
  async () => {
    const inUsed = await all(
      used,
      times(30, () => anyFlip(random, used)),
    )
    const inPacked = await all(
      packed,
      times(20, () => anyFlip(random, packed)),
    )
    const both = [...inUsed, ...inPacked]
    expect(both).toContain('whole')
    expect(both).toContain('told')
  },
  60_000 * FLIPS,
)

it(
  'with a page that is empty, another one, or of an earlier time does so too',
  async () => {
    // A page of an earlier time fits where the same records lay in it: they are served as they were then.
    const damages = times(15, () => anyPage(random, used))
    // And the two heads.
    const outcomes = await all(used, [...damages, { is: 'swap', page: 0, other: 1 }])
    expect(outcomes.at(-1)).toBe('refused')
  },
  60_000 * FLIPS,
)

it(
  'cut off at any page boundary is refused, or told',
  async () => {
    const cuts = times(8, (): Damage => ({ is: 'cut', page: random.int(1, used.pages - 1) }))
    expect((await all(used, [...cuts, { is: 'cut', page: 2 }])).at(-1)).toBe('refused')
  },
  60_000 * FLIPS,
)

const put = (base: Base): void => fs.copyFileSync(path.join(folder, base.name), file)
const served = async (): Promise<string[]> => {
  const store = await open()
  const lines = await linesOf(store, LANES)
  await close(store)
  return lines
}

it.each([
  ['its number', 0],
  ['what it is', 24],
  ['the size of its pages', 48],
  ['the root', 136],
  ['the page of the root', -1],
  ['the last page', 148],
  ['the transaction', 152],
  ['the transaction by much', 158],
])('whose newer head, or what it names, is damaged goes on from the other, and tells: %s', async (_what, at) => {
  put(used)
  const head = newerHead(file)
  const root = Number(fs.readFileSync(file).readBigUInt64LE(head + 136))
  damage(at < 0 ? root * PAGE : head + at, 1)
  expect((await served()).sort()).toEqual(writtenIn(folder, used).written.sort())
  expect(events).toEqual([{ type: 'damaged', record: 'the file: what the last commit wrote; it may be missing' }])
  // Mended for good.
  events = []
  expect((await served()).sort()).toEqual(writtenIn(folder, used).written.sort())
  expect(events).toEqual([])
})

it('whose older head is damaged is whole, and told', async () => {
  put(used)
  damage(PAGE - newerHead(file) + 24, 1)
  expect((await served()).sort()).toEqual(writtenIn(folder, used).written.sort())
  expect(events).toHaveLength(1)
})

it.each([
  ['names a page that is used', 8],
  ['names a page beyond the end', 12],
  ['says it has more than it has', 1],
])(
  'whose list of free pages %s is used without it, whole, and gets back its space by compaction',
  async (_what, at) => {
    put(used)
    const bytes = fs.readFileSync(file)
    const root = Number(bytes.readBigUInt64LE(newerHead(file) + 88))
    const leaf = root * PAGE
    // Behind head and key of a node lie the number of pages and their numbers.
    const counts = [...new Array(bytes.readUInt16LE(leaf + 20) >>> 1).keys()].map(
      (i) => leaf + 24 + bytes.readUInt16LE(leaf + 24 + 2 * i) + 16,
    )
    const count = counts.find((each) => bytes.readBigUInt64LE(each) > 0n)!
    if (at === 8) bytes.writeBigUInt64LE(BigInt(root), count + at)
    else bytes[count + at]! ^= 0x40
    fs.writeFileSync(file, bytes)
    expect((await served()).sort()).toEqual(writtenIn(folder, used).written.sort())
    expect(events).toHaveLength(1)
    expect(events[0]).toMatchObject({ record: expect.stringMatching(/free .*its free space is lost until/) })
    events = []
    expect((await served()).sort()).toEqual(writtenIn(folder, used).written.sort())
    expect(events).toEqual([])
    const { before, after } = await lmdbTools.compact(dir)
    expect(after).toBeLessThan(before)
    expect((await served()).sort()).toEqual(writtenIn(folder, used).written.sort())
  },
)

it('both of whose heads are damaged is refused', async () => {
  put(used)
  damage(24, 1)
  damage(PAGE + 24, 1)
  await expect(open()).rejects.toMatchObject({ code: 'store_corrupt' })
})

it('with one head only, of the time before anything was written, is refused and not begun anew', async () => {
  put(packed)
  const bytes = fs.readFileSync(file)
  const empty = emptyHead()
  for (const slot of [0, 1]) {
    const copy = Buffer.from(bytes)
    copy.set(empty.subarray(slot * PAGE, slot * PAGE + PAGE), slot * PAGE)
    copy[(1 - slot) * PAGE + 24]! ^= 1
    fs.writeFileSync(file, copy)
    await expect(open()).rejects.toMatchObject({ code: 'store_corrupt' })
  }
})

function damage(at: number, mask: number): void {
  const bytes = fs.readFileSync(file)
  bytes[at]! ^= mask
  fs.writeFileSync(file, bytes)
}

/** The heads of a file into which nothing was written yet. */
function emptyHead(): Buffer {
  const heads = Buffer.from(fs.readFileSync(path.join(folder, packed.name)).subarray(0, 2 * PAGE))
  for (const slot of [0, 1]) {
    for (const tree of [48, 96]) {
      heads.fill(0, slot * PAGE + tree + 6, slot * PAGE + tree + 40)
      heads.fill(0xff, slot * PAGE + tree + 40, slot * PAGE + tree + 48)
    }
    heads.writeBigUInt64LE(1n, slot * PAGE + 144)
    heads.writeBigUInt64LE(0n, slot * PAGE + 152)
  }
  return heads
}

/** Where the newer of the two heads begins. */
function newerHead(file: string): number {
  const bytes = fs.readFileSync(file)
  return bytes.readBigUInt64LE(152) > bytes.readBigUInt64LE(PAGE + 152) ? 0 : PAGE
}
