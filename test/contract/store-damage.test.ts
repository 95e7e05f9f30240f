/** Damaged records of a data file: each is passed over and told. And the space that a store takes. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { Store } from '../../src/store.ts'
import type { StoreEvent } from '../../src/stores/embedded/state.ts'
import { openDatabase } from '../../src/stores/lmdb/database.ts'
import { DATA_FILE } from '../../src/stores/lmdb/engine.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { lmdbTools } from '../../src/stores/lmdb-tools.ts'
import { SeededRandom } from '../support/seeded-random.ts'
import { body, collect, target, waitingTexts } from './store-contract.ts'

const SEED = Number(process.env['DAMAGE_SEED'] ?? Date.now() % 1_000_000)
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

describe('the space of a store', () => {
  it('stays what the fullest moment took, through a year of churn; compaction gives back the rest', async () => {
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
        for (let i = 0; i < 50; i++) store.putRetained(`r/${random.int(0, 300)}`, body('z'.repeat(random.int(10, 300))))
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
  }, 60_000)
})
