/** What a large store does not look at when it opens is looked at later, while it is used: each leaf of the file, past LMDB. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import { type Engine, type LookedAt, WriteBatch } from '../../src/stores/embedded/engine.ts'
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
async function walk(between: () => Promise<void> = async () => {}): Promise<{ leaves: number; faults: string[] }> {
  const faults: string[] = []
  let leaves = 0
  for (let from: Buffer | null = Buffer.alloc(0); from !== null; ) {
    const seen: LookedAt | null = engine.lookAt(from)
    if (seen === null) continue
    leaves++
    if (seen.fault !== null) faults.push(seen.fault)
    from = seen.next
    await between()
  }
  return { leaves, faults }
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
  let found = { leaves: 0, faults: [] as string[] }
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
    return { fault, next: part + 1 === faults.length ? null : Buffer.alloc(part + 1) }
  }
  const after = (_ms: number, fn: () => void): (() => void) => {
    timers.push(fn)
    return () => void timers.splice(timers.indexOf(fn), 1)
  }
  const clock = { ...systemClock, monotonic: () => now, after }
  const examination = new Examination({ lookAt, wholeAtOpen: false } as unknown as Engine, {
    clock,
    onEvent: (event) => void events.push(event),
  })
  return { examination, looks, events, timers, tick: () => timers.shift()?.() }
}

test('a little is looked at at once, in turns, until the end', () => {
  const { examination, looks, timers, tick } = parts(Array.from({ length: 7 }, () => [null]))
  examination.start()
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
  examination.start()
  for (let i = 0; i < 8; i++) tick()
  expect(looks).toEqual([0, 1, 1, 2, 2, 2, 3])
  expect(events).toEqual([{ type: 'damaged', record: 'the file: lasting' }])
})

test('it stops when the store closes, and does not begin where all was looked at before', () => {
  const { examination, looks, timers } = parts([[null], [null]])
  examination.start()
  examination.stop()
  expect(timers).toEqual([])
  const whole = { lookAt: () => null, wholeAtOpen: true } as unknown as Engine
  const other = new Examination(whole, { clock: systemClock, onEvent: () => {} })
  other.start()
  expect(other.running).toBe(false)
  expect(looks).toEqual([])
})
