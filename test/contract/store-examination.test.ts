/** What a large store does not look at when it opens is looked at later, while it is used: each leaf of the file, past LMDB. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { CheckedEngine } from '../../src/stores/embedded/checked-engine.ts'
import { fits, sealed } from '../../src/stores/embedded/checksum.ts'
import { type Engine, type Entry, type LookedAt, WriteBatch } from '../../src/stores/embedded/engine.ts'
import { Examination } from '../../src/stores/embedded/examination.ts'
import type { StoreEvent } from '../../src/stores/embedded/state.ts'
import { DATA_FILE, LmdbEngine } from '../../src/stores/lmdb/engine.ts'

const PAGE = 4096
const RECORDS = 3000

let dir: string
let engine: LmdbEngine
beforeEach(async () => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-leaves-'))
  engine = new LmdbEngine(dir)
  await engine.open()
  await write(0, RECORDS)
})
afterEach(async () => {
  await engine.close()
  fs.rmSync(dir, { recursive: true, force: true })
})

const keyOf = (i: number): Buffer => Buffer.from(`\u0001key ${String(i).padStart(6, '0')}`)

function write(from: number, to: number): Promise<void> {
  const batch = new WriteBatch(false)
  // Some lie in pages of their own.
  for (let i = from; i < to; i++) batch.put(keyOf(i), Buffer.alloc(i % 50 === 0 ? 9000 : 100, i % 251))
  return new Promise((resolve, reject) => engine.commit(batch, (failure) => (failure ? reject(failure) : resolve())))
}

/** Looks at all leaves, one after the other. */
async function walk(
  between: () => Promise<void> = async () => {},
): Promise<{ leaves: number; faults: string[]; records: Entry[] }> {
  const records: Entry[] = []
  const faults: string[] = []
  let leaves = 0
  for (let from: Buffer | null = Buffer.alloc(0); from !== null; ) {
    const seen: LookedAt | null = engine.lookAt(from)
    if (seen === null) continue
    leaves++
    if (seen.fault !== null) faults.push(seen.fault)
    records.push(...seen.records)
    from = seen.next
    await between()
  }
  return { leaves, faults, records }
}

const LEAF = 2

/** Numbers of the pages that are, or were, leaves. */
function leafPages(): number[] {
  const bytes = fs.readFileSync(path.join(dir, DATA_FILE))
  const pages: number[] = []
  for (let at = 2 * PAGE; at < bytes.length; at += PAGE)
    if ((bytes.readUInt16LE(at + 18) & 0x0f) === LEAF) pages.push(at / PAGE)
  return pages
}

function damage(page: number, at: number): void {
  const fd = fs.openSync(path.join(dir, DATA_FILE), 'r+')
  fs.writeSync(fd, Buffer.alloc(8, 0xee), 0, 8, page * PAGE + at)
  fs.closeSync(fd)
}

test('every leaf is looked at, and nothing is found where nothing is wrong', async () => {
  const { leaves, faults } = await walk()
  expect(faults).toEqual([])
  // 3000 records of 120 bytes fill about a hundred pages.
  expect(leaves).toBeGreaterThan(80)
  expect(leaves).toBeLessThan(250)
})

test('nothing is found either while every page is written anew meanwhile', async () => {
  let round = 0
  const { leaves, faults } = await walk(() => write((round++ * 37) % RECORDS, ((round * 37) % RECORDS) + 200))
  expect(faults).toEqual([])
  expect(leaves).toBeGreaterThan(80)
})

test.each([
  ['its number', 0],
  ['its kind', 16],
  ['where its nodes lie', 24],
])('a damaged leaf is named, and those after it are looked at: %s', async (_what, at) => {
  const { leaves } = await walk()
  let found = { leaves: 0, faults: [] as string[], records: [] as Entry[] }
  // Some are no longer used: the first that is.
  for (const page of leafPages()) {
    damage(page, at)
    found = await walk()
    if (found.faults.length > 0) break
  }
  expect(found.faults).toHaveLength(1)
  expect(found.faults[0]).toMatch(/^page \d+ is not what it should be$/)
  expect(found.leaves).toBe(leaves)
})

test('who goes from key to key through leaves that lead back comes to an end', async () => {
  const file = path.join(dir, DATA_FILE)
  const bytes = fs.readFileSync(file)
  const fd = fs.openSync(file, 'r+')
  for (const page of leafPages()) {
    // The first node and the last change places.
    const last = page * PAGE + 24 + bytes.readUInt16LE(page * PAGE + 20) - 2
    fs.writeSync(fd, bytes, last, 2, page * PAGE + 24)
    fs.writeSync(fd, bytes, page * PAGE + 24, 2, last)
  }
  fs.closeSync(fd)
  // As after opening a file that is too large to be looked at first.
  engine.wholeAtOpen = false
  let seen = 0
  let slice: Buffer[]
  for (let from = Buffer.from([1]); ; from = Buffer.concat([slice.at(-1)!, Buffer.alloc(1)])) {
    slice = engine.keys(from, Buffer.from([2]), 7)
    if (slice.length === 0 || seen > RECORDS) break
    seen += slice.length
  }
  expect(seen).toBeGreaterThan(0)
  expect(seen).toBeLessThanOrEqual(RECORDS)
})

test('every record is read on the way, once, with what lies in pages of its own', async () => {
  const { records } = await walk()
  const all = engine.entries(Buffer.from([1]), Buffer.from([2]), Number.MAX_SAFE_INTEGER)
  const own = records.filter(({ key }) => key[0] === 1)
  expect(own.length).toBe(RECORDS)
  expect(own.map(({ key, value }) => key.equals(all.shift()!.key) && value.length)).toEqual(
    Array.from({ length: RECORDS }, (_, i) => (i % 50 === 0 ? 9000 : 100)),
  )
})

test('a leaf of large records is looked at in parts', async () => {
  const batch = new WriteBatch(false)
  for (let i = 0; i < 10; i++) batch.put(Buffer.from(`\u0002large ${i}`), Buffer.alloc(200_000, i))
  await new Promise<void>((resolve, reject) => engine.commit(batch, (error) => (error ? reject(error) : resolve())))
  const parts: number[] = []
  for (let from: Buffer | null = Buffer.from([2]); from !== null; ) {
    const seen: LookedAt = engine.lookAt(from)!
    parts.push(seen.records.length)
    from = seen.next
  }
  expect(parts).toEqual([2, 2, 2, 2, 2])
})

test('records are whole however often they are written meanwhile', async () => {
  const put = async (round: number): Promise<void> => {
    const batch = new WriteBatch(false)
    for (let i = round % 7; i < RECORDS; i += 7) {
      const key = Buffer.from(`\u0003seal ${i}`)
      batch.put(key, sealed(key, Buffer.alloc((i + round) % 40 === 0 ? 6000 : 50, round)))
    }
    await new Promise<void>((resolve, reject) => engine.commit(batch, (error) => (error ? reject(error) : resolve())))
  }
  for (let round = 0; round < 7; round++) await put(round)
  let round = 7
  const { records } = await walk(() => put(round++))
  const own = records.filter(({ key }) => key[0] === 3)
  expect(own.length).toBe(RECORDS)
  expect(own.filter(({ key, value }) => !fits(key, value))).toEqual([])
})

test('a record that is not what was written is told without anybody reading it', async () => {
  const key = Buffer.from('\u0009topic')
  const batch = new WriteBatch(true)
  batch.put(key, Buffer.from('a retained message'))
  await new Promise<void>((resolve, reject) => engine.commit(batch, (error) => (error ? reject(error) : resolve())))
  const file = path.join(dir, DATA_FILE)
  const at = fs.readFileSync(file).indexOf('a retained message')
  const fd = fs.openSync(file, 'r+')
  fs.writeSync(fd, 'A', at)
  fs.closeSync(fd)
  const told: string[] = []
  const checked = new CheckedEngine(engine, (damagedKey) => void told.push(damagedKey.toString()))
  const timers: (() => void)[] = []
  const after = (_ms: number, fn: () => void): (() => void) => {
    timers.push(fn)
    return () => {}
  }
  const clock = { ...systemClock, after }
  const state = { clock, onEvent: () => {} }
  const examination = new Examination(engine, state, (each, value) => {
    if (each[0] === 9) checked.isWhole(each, value)
  })
  examination.start(false)
  for (let timer = timers.shift(); timer !== undefined; timer = timers.shift()) timer()
  expect(told).toEqual(['\u0009topic'])
})

/** An engine of parts, some with faults, and a clock that is moved by hand. */
function parts(faults: (string | null)[][]) {
  const looks: number[] = []
  const events: StoreEvent[] = []
  const timers: (() => void)[] = []
  let now = 0
  const lookAt = (from: Buffer): LookedAt | null => {
    const part = from.length
    looks.push(part)
    now += 0.4
    const fault = faults[part]!.length > 1 ? faults[part]!.shift()! : faults[part]![0]!
    if (fault === 'busy') return null
    return { fault, next: part + 1 === faults.length ? null : Buffer.alloc(part + 1), records: [] }
  }
  const after = (_ms: number, fn: () => void): (() => void) => {
    timers.push(fn)
    return () => void timers.splice(timers.indexOf(fn), 1)
  }
  const clock = { ...systemClock, monotonic: () => now, after }
  const examination = new Examination(
    { lookAt, wholeAtOpen: false } as unknown as Engine,
    {
      clock,
      onEvent: (event) => void events.push(event),
    },
    () => {},
  )
  return { examination, looks, events, timers, tick: () => timers.shift()?.() }
}

test('a little is looked at at once, in turns, until the end', () => {
  const { examination, looks, timers, tick } = parts(Array.from({ length: 7 }, () => [null]))
  examination.start(false)
  tick()
  expect(looks).toEqual([0, 1, 2])
  tick()
  tick()
  expect(looks).toEqual([0, 1, 2, 3, 4, 5, 6])
  expect(timers).toEqual([])
  expect(examination.running).toBe(false)
})

test('what is wrong is told when it still is at a second look; what changes too fast is looked at again', () => {
  const { examination, looks, events, tick } = parts([[null], ['passing', null], ['busy', 'lasting'], [null]])
  examination.start(false)
  for (let i = 0; i < 8; i++) tick()
  expect(looks).toEqual([0, 1, 1, 2, 2, 2, 3])
  expect(events).toEqual([{ type: 'damaged', record: 'the file: lasting' }])
})

test('it stops when the store closes, and does not begin where all was looked at before', () => {
  const { examination, looks, timers } = parts([[null], [null]])
  examination.start(false)
  examination.stop()
  expect(timers).toEqual([])
  const whole = { lookAt: () => null, wholeAtOpen: true } as unknown as Engine
  const other = new Examination(whole, { clock: systemClock, onEvent: () => {} }, () => {})
  other.start(true)
  expect(other.running).toBe(false)
  // Its pages are as they should be; what they hold is yet to be looked at.
  other.start(false)
  expect(other.running).toBe(true)
  other.stop()
  expect(looks).toEqual([])
})
