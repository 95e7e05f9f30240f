/** What the LMDB store makes of files of older and newer formats, and of files that were damaged. */
import fs from 'node:fs'
import os from 'node:os'
import path from 'node:path'
import { gunzipSync } from 'node:zlib'
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { systemClock } from '../../src/base/clock.ts'
import type { Store } from '../../src/store.ts'
import type { StoreEvent } from '../../src/stores/embedded/state.ts'
import { openDatabase } from '../../src/stores/lmdb/database.ts'
import { DATA_FILE } from '../../src/stores/lmdb/engine.ts'
import { lmdbStore } from '../../src/stores/lmdb.ts'
import { body, collect, target, waitingTexts } from './store-contract.ts'

const fixture = gunzipSync(fs.readFileSync(path.join(import.meta.dirname, 'fixtures/format-1.mdb.gz')))

let dir: string
let file: string
let events: StoreEvent[]
const stores: Store[] = []

beforeEach(() => {
  dir = fs.mkdtempSync(path.join(os.tmpdir(), 'sluicemq-format-'))
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

/** Changes the raw records of a closed store. */
async function edit(change: (db: ReturnType<typeof openDatabase>) => void): Promise<void> {
  const db = openDatabase(file)
  db.transactionSync(() => {
    change(db)
  })
  await db.close()
}

const long = 'long '.repeat(120)
const usual = { noLocal: false, retainAsPublished: false, retainHandling: 0, subscriptionIdentifier: 0 }

/** What the fixture holds; see the script in its commit's message for how it was made. */
async function expectFixture(store: Store): Promise<void> {
  const texts = async (name: string) =>
    (await waitingTexts(store, store.lane(name))).map(([seq, text]) => `${seq} ${text}`)
  const shared = [...new Array(20).keys()].map((i) => `${i + 1} shared ${i + 1}`)
  expect(await texts('s/alice')).toEqual(shared.filter((_, i) => i !== 2 && i !== 3))
  expect(await texts('s/bob')).toEqual(shared)
  expect(await texts('q/work')).toEqual([2, 3, 5, 6, 8, 9].map((i) => `${i} alone ${i}`))
  expect(await texts('s/gone')).toEqual([])
  expect(store.stats().waiting).toBe(18 + 20 + 6)
  expect(store.lane('q/work').waitingBytes).toBe(6 * 'alone 2'.length)
  const chunk = (await store.read(store.lane('q/work'), 1))!
  expect(chunk.tags[4]).toBe(5)
  expect(chunk.extras![4]!.toString()).toBe('extra 5')
  expect(await store.marks(store.lane('q/work'))).toEqual([{ seq: 5, bytes: Buffer.from('leased') }])
  expect(await store.marks(store.lane('s/bob'))).toEqual([{ seq: 1, bytes: Buffer.from([1]) }])
  expect(await collect(store.sessions())).toEqual([
    {
      session: {
        clientId: 'alice',
        version: 5,
        expirySeconds: 4294967295,
        disconnectedAt: 1760000000000,
        maybeSentBefore: 7,
        userName: 'Ålice',
        lane: 's/alice',
      },
      subscriptions: [
        { topicFilter: 'a/+/b', qos: 1, ...usual },
        {
          topicFilter: 'x/'.repeat(300),
          qos: 2,
          noLocal: true,
          retainAsPublished: true,
          retainHandling: 2,
          subscriptionIdentifier: 268435455,
        },
      ],
      inboundPacketIds: [17, 65535],
    },
    {
      session: {
        clientId: 'bob',
        version: 4,
        expirySeconds: 604800,
        disconnectedAt: 0,
        maybeSentBefore: 0,
        lane: 's/bob\u00002',
      },
      subscriptions: [],
      inboundPacketIds: [],
    },
    {
      session: {
        clientId: long,
        version: 4,
        expirySeconds: 60,
        disconnectedAt: 5,
        maybeSentBefore: 0,
        lane: `s/${long}`,
      },
      subscriptions: [{ topicFilter: '#', qos: 0, ...usual }],
      inboundPacketIds: [],
    },
  ])
  expect(await collect(store.retained())).toEqual([
    { topic: 'r/1', message: Buffer.from('one') },
    { topic: 'r/2', message: Buffer.alloc(6000, 'two') },
  ])
  expect(await collect(store.wills())).toEqual([
    { clientId: 'alice', message: Buffer.from('will'), qos: 2, retain: true, delaySeconds: 5, dueAt: 0, node: 'local' },
  ])
  expect(store.meta('')).toEqual(new Map([['secret', { nested: [1, 2, 3] }]]))
}

const format = async (of: string): Promise<string> => {
  const db = openDatabase(of)
  const found = db.get(Buffer.from('\u0000format'))!.toString()
  await db.close()
  return found
}

describe('a store of format 1', () => {
  beforeEach(() => fs.writeFileSync(file, fixture))

  it('becomes one of today with everything in it, and is kept beside it', async () => {
    const store = await open()
    expect(events).toEqual([{ type: 'migrated', from: 1, to: 2, keptAs: 'sluicemq.format-1.mdb' }])
    await expectFixture(store)
    store.settle(store.lane('s/alice'), 1)
    store.append(body('new'), [target(store.lane('s/alice'))])
    await close(store)
    events = []
    const again = await open()
    expect(events).toEqual([])
    expect(again.lane('s/alice').waiting).toBe(18)
    expect(again.stats().waiting).toBe(18 + 20 + 6)
    await close(again)
    expect(await format(file)).toBe('2')
    expect(await format(path.join(dir, 'sluicemq.format-1.mdb'))).toBe('1')
    expect(fs.readdirSync(dir).filter((name) => !name.endsWith('-lock'))).toEqual(['sluicemq.format-1.mdb', DATA_FILE])
  })

  it('can be gone back to: the file that was kept migrates again', async () => {
    await close(await open())
    fs.renameSync(path.join(dir, 'sluicemq.format-1.mdb'), file)
    await expectFixture(await open())
  })

  it('is migrated from the start when a migration was interrupted, whatever that left behind', async () => {
    fs.writeFileSync(`${file}.new`, Buffer.alloc(100_000, 'half a file'))
    fs.writeFileSync(`${file}.new-lock`, 'x')
    // The file had its second name already, its replacement not yet its own.
    fs.linkSync(file, path.join(dir, 'sluicemq.format-1.mdb'))
    await expectFixture(await open())
    expect(fs.readdirSync(dir).filter((name) => name.includes('new'))).toEqual([])
    expect(fs.readdirSync(dir).filter((name) => name.includes('format'))).toEqual(['sluicemq.format-1.mdb'])
  })

  it('does not overwrite the file that another migration kept', async () => {
    fs.writeFileSync(path.join(dir, 'sluicemq.format-1.mdb'), 'kept by somebody')
    await expectFixture(await open())
    expect(fs.readFileSync(path.join(dir, 'sluicemq.format-1.mdb'), 'utf8')).toBe('kept by somebody')
    expect(await format(path.join(dir, 'sluicemq.format-1-2.mdb'))).toBe('1')
  })

  it('stays as it was when it cannot be read to the end', async () => {
    await edit((db) => db.put(Buffer.from('\u0008alice\u0000\u0000'), Buffer.from('no JSON')))
    await expect(open()).rejects.toMatchObject({ code: 'store_corrupt' })
    expect(await format(file)).toBe('1')
    expect(fs.readdirSync(dir).filter((name) => !name.endsWith('-lock'))).toEqual([DATA_FILE])
  })
})

describe('a store of another format', () => {
  it('is refused when it is newer, and not touched', async () => {
    await close(await open())
    await edit((db) => db.put(Buffer.from('\u0000format'), Buffer.from('3')))
    await expect(open()).rejects.toMatchObject({ code: 'store_version' })
    await expect(open()).rejects.toThrow('has format 3; this version knows formats up to 2')
    expect(await format(file)).toBe('3')
  })

  it('is refused when its format is no number', async () => {
    await close(await open())
    await edit((db) => db.put(Buffer.from('\u0000format'), Buffer.from('two')))
    await expect(open()).rejects.toMatchObject({ code: 'store_corrupt' })
  })
})
