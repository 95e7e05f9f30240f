/** What two stores on one Redis owe each other: lanes appended to by both, keepers, changes, fencing. */
import { afterAll, afterEach, beforeEach, describe, expect, it } from 'vitest'
import type { Change, Chunk, Lane, SharedWatcher } from '../../src/store.ts'
import type { RedisStore } from '../../src/stores/redis/store.ts'
import { hasRedis, RedisProcess } from '../support/redis-process.ts'
import { openStore } from './redis-harness.ts'
import { body, target, waitingTexts } from './store-contract.ts'

class Watcher implements SharedWatcher {
  readonly changes: Change[] = []
  readonly lostLanes: string[] = []
  missedCount = 0
  fencedCount = 0
  passedCount = 0
  #waiting: (() => void)[] = []

  changed(change: Change): void {
    this.changes.push(change)
    this.#wake()
  }
  missed(): void {
    this.missedCount++
    this.#wake()
  }
  lost(lane: Lane): void {
    this.lostLanes.push(lane.name)
    this.#wake()
  }
  fenced(): void {
    this.fencedCount++
    this.#wake()
  }
  foundDone(): boolean {
    return false
  }
  passedOver(): void {
    this.passedCount++
    this.#wake()
  }
  #wake(): void {
    for (const wake of this.#waiting.splice(0)) wake()
  }
  /** Resolves when the condition holds; it is looked at whenever something happens here. */
  async until(condition: () => boolean): Promise<void> {
    while (!condition()) await new Promise<void>((resolve) => this.#waiting.push(resolve))
  }
}

/** Hears what a lane's keeper is told, in order. */
class Listener {
  readonly told: [number, string][] = []
  readonly #lane: Lane
  #waiting: (() => void)[] = []

  constructor(lane: Lane) {
    this.#lane = lane
    lane.onCommitted = (chunk) => this.#hear(chunk)
  }
  #hear(chunk: Chunk): void {
    for (let i = 0; i < chunk.count; i++)
      if (!chunk.isSettled(i)) this.told.push([chunk.firstSeq + i, chunk.message(i).toString()])
    for (const wake of this.#waiting.splice(0)) wake()
  }
  async until(count: number): Promise<[number, string][]> {
    while (this.told.length < count) await new Promise<void>((resolve) => this.#waiting.push(resolve))
    return this.told
  }
  stop(): void {
    this.#lane.onCommitted = null
  }
}

describe.skipIf(!hasRedis)('two stores on one Redis', async () => {
  if (!hasRedis) return
  const redis = await RedisProcess.start({ appendfsync: 'no' })
  afterAll(() => redis.stop())

  let a: RedisStore
  let b: RedisStore
  let watcherA: Watcher
  let watcherB: Watcher
  const stores: RedisStore[] = []

  const join = async (node: string): Promise<[RedisStore, Watcher]> => {
    const store = await openStore(redis)
    stores.push(store)
    const watcher = new Watcher()
    const incarnation = await redis.admin.hincrby('sluicemq:incarnations', node, 1)
    await store.shared.join(node, incarnation, watcher)
    return [store, watcher]
  }

  beforeEach(async () => {
    await redis.flush()
    ;[a, watcherA] = await join('a')
    ;[b, watcherB] = await join('b')
  })
  afterEach(async () => {
    for (const store of stores.splice(0)) await store.close().catch(() => {})
  })

  it('a node learns how far a lane goes that another one keeps', async () => {
    const known = b.lane('s/client')
    const lane = a.lane('s/client')
    await a.shared.keep(lane)
    for (const text of ['one', 'two', 'three']) a.append(body(text), [target(lane)])
    await a.commit()
    a.settle(lane, 1)
    await a.commit()
    await b.shared.measure(known)
    expect(known.nextSeq).toBe(4)
    expect(known.waiting).toBe(2)
    // Appended here meanwhile: the answer to that group tells.
    b.append(body('four'), [target(known)])
    await b.shared.measure(known)
    expect(known.nextSeq).toBe(5)
    expect(known.waiting).toBe(3)
  })

  it('tells a keeper what another node appends, in order and without gaps', async () => {
    const lane = a.lane('s/x')
    await a.shared.keep(lane)
    const listener = new Listener(lane)
    const expected: string[] = []
    for (let i = 0; i < 300; i++) {
      const store = i % 3 === 0 ? a : b
      store.append(body(`m${i}`), [target(store.lane('s/x'))])
      expected.push(`m${i}`)
      void store.commit()
    }
    const told = await listener.until(300)
    expect(told.map(([seq]) => seq)).toEqual(Array.from({ length: 300 }, (_, i) => i + 1))
    expect(told.map(([, text]) => text).sort()).toEqual(expected.sort())
  })

  it('says nothing to who does not keep the lane, and knows what waits when it does', async () => {
    const lane = b.lane('s/x')
    const silent = new Listener(lane)
    a.append(body('one'), [target(a.lane('s/x'))])
    await a.commit()
    b.append(body('two'), [target(lane)])
    await b.commit()
    expect(silent.told).toEqual([])
    await b.shared.keep(lane)
    expect([lane.nextSeq, lane.waiting, lane.waitingBytes]).toEqual([3, 2, 6])
    expect(await waitingTexts(b, lane)).toEqual([
      [1, 'one'],
      [2, 'two'],
    ])
    a.append(body('three'), [target(a.lane('s/x'))])
    await a.commit()
    expect(await silent.until(1)).toEqual([[3, 'three']])
  })

  it('hands a lane over: what the old keeper still settles and marks there no longer counts', async () => {
    const atA = a.lane('s/x')
    await a.shared.keep(atA)
    const listener = new Listener(atA)
    for (const text of ['one', 'two', 'three']) a.append(body(text), [target(atA)])
    await a.commit()
    await listener.until(3)
    a.settle(atA, 1)
    await a.commit()
    const atB = b.lane('s/x')
    await b.shared.keep(atB)
    // The notice may come before or after: the settlement must be refused either way.
    a.settle(atA, 2)
    a.mark(atA, 3, body('late'))
    a.append(body('four'), [target(atA)])
    await a.commit()
    await watcherA.until(() => watcherA.lostLanes.length > 0)
    expect(watcherA.lostLanes).toEqual(['s/x'])
    expect(await waitingTexts(b, atB)).toEqual([
      [2, 'two'],
      [3, 'three'],
      [4, 'four'],
    ])
    expect(await b.marks(atB)).toEqual([])
    b.settle(atB, 2)
    await b.commit()
    expect((await waitingTexts(b, atB)).length).toBe(2)
  })

  it('gives a lane up on release', async () => {
    const lane = a.lane('n/a')
    await a.shared.keep(lane)
    a.append(body('one'), [target(lane)])
    await a.shared.release(lane)
    expect(await redis.admin.hlen('sluicemq:keepers')).toBe(0)
    const atB = b.lane('n/a')
    await b.shared.keep(atB)
    expect(await waitingTexts(b, atB)).toEqual([[1, 'one']])
  })

  it('tells every node of every change, in one order, with the value', async () => {
    const record = { clientId: 'c', version: 5, expirySeconds: 9, disconnectedAt: 0, maybeSentBefore: 1, lane: 's/c' }
    const subscription = {
      topicFilter: 'x/+',
      qos: 1 as const,
      noLocal: true,
      retainAsPublished: false,
      retainHandling: 2 as const,
      subscriptionIdentifier: 5,
    }
    a.putSession(record)
    a.putSubscription('c', subscription)
    a.putMeta('interest/a', { n: 1 })
    await a.commit()
    b.putMeta('interest/b', 2)
    await b.commit()
    a.deleteSubscription('c', 'x/+')
    a.deleteSession('c')
    a.deleteMeta('interest/a')
    await a.commit()
    await b.shared.seen(a.shared.newestChange)
    await a.shared.seen(a.shared.newestChange)
    const shape = (changes: Change[]) => changes.map((each) => each.is)
    expect(shape(watcherA.changes)).toHaveLength(7)
    expect(watcherA.changes.map(({ own }) => own)).toEqual([true, true, true, false, true, true, true])
    expect(watcherB.changes.map(({ own }) => own)).toEqual([false, false, false, true, false, false, false])
    expect(watcherA.changes[1]).toEqual({ is: 'subscription', own: true, clientId: 'c', record: subscription })
    expect(watcherA.changes[3]).toEqual({ is: 'meta', own: false, key: 'interest/b', value: 2 })
    expect(a.meta('interest/').get('interest/b')).toBe(2)
    expect(b.meta('interest/').get('interest/a')).toBeUndefined()
    // What another node hears is the value as it is now: the last word on each is the same everywhere.
    expect(watcherB.changes.at(-3)).toEqual({
      is: 'subscriptionDeleted',
      own: false,
      clientId: 'c',
      topicFilter: 'x/+',
    })
    expect(watcherB.changes.at(-2)).toEqual({ is: 'sessionDeleted', own: false, clientId: 'c' })
  })

  it('tells of subscriptions, retained messages and wills of others with all they hold', async () => {
    const will = {
      clientId: 'c',
      message: body('bye'),
      qos: 1 as const,
      retain: false,
      delaySeconds: 3,
      dueAt: 0,
      node: 'a',
    }
    a.putRetained('t', body('kept'))
    a.putWill(will)
    await a.commit()
    await b.shared.seen(a.shared.newestChange)
    expect(watcherB.changes).toEqual([
      { is: 'retained', own: false, topic: 't', message: body('kept') },
      { is: 'will', own: false, record: will },
    ])
  })

  it('reads on where it stood after the connection was lost, and finds what was appended meanwhile', async () => {
    const lane = b.lane('n/b')
    await b.shared.keep(lane)
    const listener = new Listener(lane)
    a.append(body('before'), [target(a.lane('n/b'))])
    await a.commit()
    await listener.until(1)
    for (let round = 0; round < 5; round++) {
      await redis.admin.client('KILL', 'TYPE', 'pubsub')
      a.append(body(`during ${round}`), [target(a.lane('n/b'))])
      a.putMeta(`round/${round}`, round)
      await a.commit()
    }
    expect((await listener.until(6)).map(([seq]) => seq)).toEqual([1, 2, 3, 4, 5, 6])
    await watcherB.until(() => watcherB.changes.length >= 5)
    expect(watcherB.changes.map((each) => (each.is === 'meta' ? each.value : null))).toEqual([0, 1, 2, 3, 4])
  })

  it('refuses everything a node writes that others declared dead, until it joins again', async () => {
    a.append(body('one'), [target(a.lane('s/x'))])
    await a.commit()
    const incarnation = await redis.admin.hincrby('sluicemq:incarnations', 'a', 1)
    a.append(body('two'), [target(a.lane('s/x'))])
    a.putRetained('t', body('two'))
    await expect(a.commit()).rejects.toMatchObject({ code: 'node_fenced' })
    expect(watcherA.fencedCount).toBe(1)
    await expect(a.shared.keep(a.lane('s/x'))).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(await redis.admin.hexists('sluicemq:keepers', 's/x')).toBe(0)
    expect(await redis.admin.xlen('sluicemq:lane:s/x')).toBe(1)
    expect(await redis.admin.hlen('retained')).toBe(0)
    await a.shared.join('a', incarnation, watcherA)
    a.append(body('three'), [target(a.lane('s/x'))])
    await a.commit()
    expect(await redis.admin.xlen('sluicemq:lane:s/x')).toBe(2)
  })

  it('refuses what a node writes while others have taken sessions it did not let go of', async () => {
    await redis.admin.sadd('sluicemq:passed:a', 'x')
    a.append(body('of a client that is elsewhere'), [target(a.lane('s/y'))])
    a.putInboundPacketId('x', 1)
    await expect(a.commit()).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(watcherA.passedCount).toBe(1)
    expect(await redis.admin.exists('sluicemq:lane:s/y', 'sluicemq:inbound:x')).toBe(0)
    await redis.admin.srem('sluicemq:passed:a', 'x')
    await new Promise((resolve) => setTimeout(resolve, 10))
    a.append(body('of others'), [target(a.lane('s/y'))])
    await a.commit()
    expect(await redis.admin.xlen('sluicemq:lane:s/y')).toBe(1)
  })

  it('says that changes were missed when the stream was trimmed beyond its place', async () => {
    const line = (key: string) => ['is', 'meta', 'key', key, 'of', '', 'by', 'another'] as const
    const all = redis.admin.multi()
    for (let i = 0; i < 10; i++) all.xadd('sluicemq:changes', '0-*', ...line(`x/${i}`))
    all.xtrim('sluicemq:changes', 'MAXLEN', 3)
    all.publish('sluicemq:changed', '10')
    await all.exec()
    await watcherA.until(() => watcherA.changes.length === 3)
    expect(watcherA.missedCount).toBe(1)
    b.putMeta('y', 1)
    await b.commit()
    await a.shared.seen(b.shared.newestChange)
    expect(watcherA.missedCount).toBe(1)
  })

  it('leaves no key when everything has ended', async () => {
    const lane = a.lane('s/x')
    await a.shared.keep(lane)
    a.putSession({ clientId: 'x', version: 4, expirySeconds: 1, disconnectedAt: 0, maybeSentBefore: 1, lane: 's/x' })
    a.putInboundPacketId('x', 3)
    const large = Buffer.alloc(1000, 'x')
    for (let i = 0; i < 50; i++) b.append(large, [target(b.lane('s/x')), target(b.lane('s/y'))])
    await b.commit()
    await a.commit()
    a.mark(lane, 3, body('m'))
    await a.commit()
    a.deleteSession('x')
    a.dropLane(lane)
    b.dropLane(b.lane('s/y'))
    await Promise.all([a.commit(), b.commit()])
    for (let i = 0; i < 500 && (await redis.admin.exists('sluicemq:doomed')) === 1; i++)
      await new Promise((resolve) => setImmediate(resolve))
    for (const store of stores.splice(0)) await store.close()
    expect((await redis.admin.keys('*')).sort()).toEqual(['sluicemq:changes', 'sluicemq:incarnations'])
  })
})
