/**
 * Damaged files: bits that flipped and ends that are missing, page by page, in processes of their own. The store reports, or
 * is as it was; it never serves what was not written, and never takes the process with it.
 */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterAll, afterEach, beforeAll, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { Store } from '../../src/store.ts'
import type { StoreEvent } from '../../src/stores/embedded/state.ts'
import { openDatabase } from '../../src/stores/lmdb/database.ts'
import { DATA_FILE } from '../../src/stores/lmdb/engine.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { lmdbTools } from '../../src/stores/lmdb-tools.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { body, collect, target, waitingTexts } from './store-contract.ts'
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
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-damage-'))
  file = path.join(dir, DATA_FILE)
  events = []
})
afterEach(async () => {
  for (const store of stores.splice(0)) await store.close().catch(() => {})
  fs.rmSync(dir, { recursive: true, force: true })
})

async function open(options: { compact?: { bytesMin: number; freeShare: number } } = {}): Promise<Store> {
  const store = lmdbStore({ dir, clock: systemClock, onEvent: (event) => void events.push(event), ...options })
  await store.open()
  stores.push(store)
  return store
}

async function close(store: Store): Promise<void> {
  stores.splice(stores.indexOf(store), 1)
  await store.close()
}

async function edit(change: (db: ReturnType<typeof openDatabase>) => void): Promise<void> {
  const db = openDatabase(file)
  db.transactionSync(() => {
    change(db)
  })
  await db.close()
}

const session = (clientId: string) => ({
  clientId,
  version: 5,
  expirySeconds: 100,
  disconnectedAt: 1,
  maybeSentBefore: 0,
  lane: `s/${clientId}`,
})
const subscription = (topicFilter: string) => ({
  topicFilter,
  qos: 1 as const,
  noLocal: false,
  retainAsPublished: false,
  retainHandling: 0 as const,
  subscriptionIdentifier: 0,
})

/** Three groups in one lane, shared bodies in two, sessions, retained messages. */
async function fill(): Promise<void> {
  const store = await open()
  const both = [target(store.lane('s/a')), target(store.lane('s/b'))]
  for (let group = 0; group < 3; group++) {
    for (let i = 0; i < 10; i++)
      store.append(body(`work ${group}.${i} ${'x'.repeat(100)}`), [target(store.lane('q/work'))])
    store.append(body(`shared ${group}`), both)
    await store.commit()
  }
  for (const clientId of ['a', 'b', 'c']) {
    store.putSession(session(clientId))
    store.putSubscription(clientId, subscription(`${clientId}/#`))
    store.putRetained(`r/${clientId}`, Buffer.alloc(5000, clientId))
  }
  await close(store)
}

/** Flips one bit of the value of the first record whose key starts so. */
const flip = (prefix: Buffer): Promise<void> =>
  edit((db) => {
    for (const { key, value } of db.getRange({ start: prefix, limit: 1 })) {
      const copy = Buffer.from(value)
      copy[copy.length >> 1]! ^= 4
      db.putSync(Buffer.from(key), copy)
    }
  })

describe('a damaged record', () => {
  beforeEach(fill)

  it('of a lane is passed over and told; what is before and after it is there', async () => {
    // The second chunk of the lane that was made first.
    await edit((db) => {
      const [, second] = [...db.getRange({ start: Buffer.from([3]), end: Buffer.from([4]), limit: 2 })]
      const copy = Buffer.from(second!.value)
      copy[40]! ^= 1
      db.putSync(Buffer.from(second!.key), copy)
    })
    const store = await open()
    const texts = (await waitingTexts(store, store.lane('q/work'))).map(([seq]) => seq)
    expect(texts).toEqual([...new Array(30).keys()].map((i) => i + 1).filter((seq) => seq <= 10 || seq > 20))
    expect(events).toEqual([{ type: 'damaged', record: '10 messages of lane number 1, from number 11 on' }])
    store.append(body('new'), [target(store.lane('q/work'))])
    await store.commit()
    expect((await waitingTexts(store, store.lane('q/work'))).at(-1)).toEqual([31, 'new'])
  })

  it('of bodies that lanes share is passed over in each of them', async () => {
    await flip(Buffer.from([6]))
    const store = await open()
    for (const name of ['s/a', 's/b'])
      expect((await waitingTexts(store, store.lane(name))).map(([, text]) => text)).toEqual(['shared 1', 'shared 2'])
    expect(events[0]).toEqual({ type: 'damaged', record: 'messages that several lanes share, segment 1' })
  })

  it('of a session leaves that session out, with its subscriptions, and no other', async () => {
    await flip(Buffer.from('\u0008b'))
    const store = await open()
    const found = await collect(store.sessions())
    expect(
      found.map(({ session, subscriptions }) => [session.clientId, subscriptions.map((s) => s.topicFilter)]),
    ).toEqual([
      ['a', ['a/#']],
      ['c', ['c/#']],
    ])
    expect(events).toEqual([{ type: 'damaged', record: 'the record of session "b"' }])
  })

  it('of a retained message leaves out that message', async () => {
    await flip(Buffer.from('\u0009r/b'))
    const store = await open()
    expect((await collect(store.retained())).map(({ topic }) => topic)).toEqual(['r/a', 'r/c'])
    expect(events).toEqual([{ type: 'damaged', record: 'the retained message of "r/b"' }])
  })

  it('is told where a key is not the one it was written under', async () => {
    await edit((db) => {
      const value = Buffer.from(db.get(Buffer.from('\u0009r/b'))!)
      db.removeSync(Buffer.from('\u0009r/b'))
      db.putSync(Buffer.from('\u0009r/x'), value)
    })
    const store = await open()
    expect((await collect(store.retained())).map(({ topic }) => topic)).toEqual(['r/a', 'r/c'])
  })

  it('is found by a check, named, and taken out by a repair', async () => {
    expect((await lmdbTools.check(dir, false)).problems).toEqual([])
    await flip(Buffer.from([6]))
    await flip(Buffer.from('\u0009r/b'))
    const { problems } = await lmdbTools.check(dir, false)
    expect(problems.sort()).toEqual([
      '1 messages of lane number 2, from number 1 on: segments are missing: 1',
      '1 messages of lane number 3, from number 1 on: segments are missing: 1',
      'messages that several lanes share, segment 1: its checksum is wrong',
      'the retained message of "r/b": its checksum is wrong',
    ])
    await lmdbTools.check(dir, true)
    expect(await lmdbTools.check(dir, false)).toMatchObject({ problems: [], waiting: 34 })
    const store = await open()
    expect(store.stats().waiting).toBe(34)
    expect((await waitingTexts(store, store.lane('s/a'))).map(([, text]) => text)).toEqual(['shared 1', 'shared 2'])
    expect(events).toEqual([])
  })
})

describe('a file', () => {
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
        times(60, () => anyFlip(random, used)),
      )
      const inPacked = await all(
        packed,
        times(40, () => anyFlip(random, packed)),
      )
      expect(new Set([...inUsed, ...inPacked])).toEqual(new Set(['whole', 'told', 'refused']))
    },
    60_000 * FLIPS,
  )

  it(
    'with a page that is empty, another one, or of an earlier time does so too',
    async () => {
      // A page of an earlier time fits where the same records lay in it: they are served as they were then.
      const outcomes = await all(
        used,
        times(30, () => anyPage(random, used)),
      )
      expect(outcomes).toContain('refused')
    },
    60_000 * FLIPS,
  )

  it(
    'cut off at any page boundary is refused, or told',
    async () => {
      const cuts = times(15, (): Damage => ({ is: 'cut', page: random.int(1, used.pages - 1) }))
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
})

/** Where the newer of the two heads begins. */
function newerHead(file: string): number {
  const bytes = fs.readFileSync(file)
  return bytes.readBigUInt64LE(152) > bytes.readBigUInt64LE(PAGE + 152) ? 0 : PAGE
}

describe('the space of a store', () => {
  it(
    'stays what the fullest moment took, through a year of churn; compaction gives back the rest',
    async () => {
      const store = await open()
      const lanes = [...new Array(20).keys()].map((i) => `s/${i}`)
      const targets = lanes.map((name) => [target(store.lane(name))])
      const all = lanes.map((name) => target(store.lane(name)))
      const settledUpTo = lanes.map(() => 0)
      const sizes: number[] = []
      const random = new SeededRandom(SEED)
      for (let day = 0; day < 60; day++) {
        for (let group = 0; group < 4; group++) {
          for (let i = 0; i < 500; i++) store.append(body('x'.repeat(random.int(20, 400))), targets[i % lanes.length]!)
          for (let i = 0; i < 20; i++) store.append(body('y'.repeat(200)), all)
          for (let i = 0; i < 50; i++)
            store.putRetained(`r/${random.int(0, 300)}`, body('z'.repeat(random.int(10, 300))))
          for (let i = 0; i < 10; i++) store.deleteRetained(`r/${random.int(0, 300)}`)
          const clientId = `c${random.int(0, 300)}`
          if (random.chance(0.5)) store.putSession(session(clientId))
          else store.deleteSession(clientId)
          await store.commit()
          // One subscriber in three is away, each for some days; what waited is then taken at once.
          for (const [i, name] of lanes.entries()) {
            if ((day + i * 7) % 21 < 7) continue
            const { nextSeq } = store.lane(name)
            for (let seq = settledUpTo[i]! + 1; seq < nextSeq; seq++) store.settle(store.lane(name), seq)
            settledUpTo[i] = nextSeq - 1
          }
        }
        await store.commit()
        sizes.push(store.stats().bytesOnDisk)
      }
      const early = Math.max(...sizes.slice(0, 30))
      expect(sizes.at(-1)!, `${sizes}`).toBeLessThanOrEqual(early * 1.25)
      for (const [i, name] of lanes.entries())
        for (let seq = settledUpTo[i]! + 1; seq < store.lane(name).nextSeq; seq++) store.settle(store.lane(name), seq)
      await close(store)
      events = []
      const compacted = await open({ compact: { bytesMin: 1_000_000, freeShare: 0.5 } })
      expect(events).toEqual([{ type: 'compacted', beforeBytes: expect.any(Number), afterBytes: expect.any(Number) }])
      expect(compacted.stats().bytesOnDisk).toBeLessThan(sizes.at(-1)! / 5)
      const retained = (await collect(compacted.retained())).length
      await close(compacted)
      events = []
      const again = await open({ compact: { bytesMin: 1_000_000, freeShare: 0.5 } })
      expect(events).toEqual([])
      expect((await collect(again.retained())).length).toBe(retained)
    },
    60_000 * FLIPS,
  )
})
