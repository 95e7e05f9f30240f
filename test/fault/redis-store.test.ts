/**
 * The Redis store while Redis and the way to it fail: what was confirmed is there once, what was refused is not there, and
 * it goes on by itself.
 */
import { afterEach, beforeEach, describe, expect, it } from 'vitest'
import { group } from '../../src/stores/redis/scripts.ts'
import type { RedisStoreEvent } from '../../src/stores/redis/state.ts'
import type { RedisStore, RedisStoreOptions } from '../../src/stores/redis/store.ts'
import { openStore } from '../contract/redis-harness.ts'
import { body, target, waitingTexts } from '../contract/store-contract.ts'
import { hasRedis, RedisProcess, type RedisProcessOptions, RedisProxy } from '../support/redis-process.ts'

const pause = (ms: number): Promise<void> => new Promise((resolve) => setTimeout(resolve, ms))

describe.skipIf(!hasRedis)('the Redis store', () => {
  let redis: RedisProcess
  let proxy: RedisProxy
  let store: RedisStore
  let events: RedisStoreEvent[]
  const stores: RedisStore[] = []

  const start = async (options: RedisProcessOptions = {}): Promise<void> => {
    redis = await RedisProcess.start(options)
    proxy = await RedisProxy.start(redis.port)
  }
  const open = async (options: Partial<RedisStoreOptions> = {}): Promise<RedisStore> => {
    events = []
    const opened = await openStore(proxy, {
      commitTimeoutMs: 1000,
      answerTimeoutMs: 300,
      sharedFrom: 10,
      onEvent: (event) => events.push(event),
      ...options,
    })
    stores.push(opened)
    return opened
  }
  const told = (type: RedisStoreEvent['type']): RedisStoreEvent[] => events.filter((event) => event.type === type)

  beforeEach(() => {
    stores.length = 0
  })
  afterEach(async () => {
    proxy.dropAnswers = false
    proxy.thaw()
    for (const each of stores) await each.close().catch(() => {})
    await proxy.stop()
    await redis.stop()
  })

  /** Writes to two lanes until told to stop; returns what was confirmed and what was refused. */
  class Writing {
    readonly confirmed: string[] = []
    readonly refused: string[] = []
    #stopped = false
    readonly #done: Promise<void>

    constructor(prefix = 'm') {
      this.#done = this.#run(prefix)
    }

    async #run(prefix: string): Promise<void> {
      const targets = [target(store.lane('s/a')), target(store.lane('s/b'))]
      for (let i = 0; !this.#stopped; i++) {
        const texts = [0, 1, 2].map((k) => `${prefix}${i}.${k} of a body that is shared`)
        for (const text of texts) store.append(body(text), targets)
        await store.commit().then(
          () => this.confirmed.push(...texts),
          () => this.refused.push(...texts),
        )
        // A turn of its own, and as a client does after a refusal: later.
        await pause(this.refused.length > 0 ? 5 : 0)
      }
    }

    /** Goes on until something more was confirmed. */
    async more(count = 1): Promise<void> {
      const wanted = this.confirmed.length + count
      while (this.confirmed.length < wanted) await pause(5)
    }

    async stop(): Promise<void> {
      this.#stopped = true
      await this.#done
    }
  }

  /** What Redis holds, seen by a store that knows nothing. */
  const held = async (lane: string): Promise<string[]> => {
    await store.commit()
    const other = await openStore(redis)
    const texts = (await waitingTexts(other, other.lane(lane))).map(([, text]) => text)
    await other.close()
    return texts
  }

  const expectExactly = async (writing: Writing): Promise<void> => {
    for (const lane of ['s/a', 's/b']) {
      expect(await held(lane)).toEqual(writing.confirmed)
      expect((await waitingTexts(store, store.lane(lane))).map(([, text]) => text)).toEqual(writing.confirmed)
      expect(store.lane(lane).waiting).toBe(writing.confirmed.length)
    }
    const bodies = await redis.admin.keys('sluicemq:body:*')
    expect(bodies.length).toBe(writing.confirmed.length)
  }

  it('keeps exactly what it confirmed when Redis is killed (-9) and starts again, again and again', async () => {
    await start({ appendfsync: 'always' })
    store = await open({ commitTimeoutMs: 5000 })
    const writing = new Writing()
    for (let round = 0; round < 4; round++) {
      await writing.more(30)
      await redis.kill('SIGKILL')
      await redis.start()
    }
    await writing.more(30)
    await writing.stop()
    expect(told('back').length).toBeGreaterThanOrEqual(4)
    expect(told('rolled-back')).toEqual([])
    await expectExactly(writing)
  })

  it('keeps exactly what it confirmed while its connections are cut under it', async () => {
    await start({ appendfsync: 'no' })
    store = await open({ commitTimeoutMs: 5000 })
    const writing = new Writing()
    for (let round = 0; round < 25; round++) {
      await writing.more(3)
      if (round % 2 === 0) proxy.cut()
      else await redis.admin.client('KILL', 'TYPE', 'normal', 'SKIPME', 'yes')
    }
    await writing.more(3)
    await writing.stop()
    expect(writing.refused).toEqual([])
    await expectExactly(writing)
  })

  it('learns after a lost answer that a group was applied, and does not apply it twice', async () => {
    await start({ appendfsync: 'no' })
    store = await open({ commitTimeoutMs: 5000 })
    store.append(body('first'), [target(store.lane('s/a'))])
    await store.commit()
    for (let round = 0; round < 3; round++) {
      proxy.dropAnswers = true
      store.append(body(`unanswered ${round}`), [target(store.lane('s/a'))])
      const committed = store.commit()
      while ((await redis.admin.xlen('sluicemq:lane:s/a')) < round + 2) await pause(5)
      proxy.dropAnswers = false
      proxy.cut()
      await committed
    }
    expect(await held('s/a')).toEqual(['first', 'unanswered 0', 'unanswered 1', 'unanswered 2'])
  })

  it('takes back what it had refused and finds applied', async () => {
    await start({ appendfsync: 'no' })
    store = await open()
    const lane = store.lane('s/a')
    store.append(body('kept'), [target(lane)])
    await store.commit()
    proxy.dropAnswers = true
    store.append(body('refused, but applied'), [target(lane)])
    await expect(store.commit()).rejects.toMatchObject({ code: 'store_unavailable', kind: 'dependency' })
    expect(await redis.admin.xlen('sluicemq:lane:s/a')).toBe(2)
    proxy.dropAnswers = false
    while (told('taken-back').length === 0) await pause(5)
    expect(told('taken-back')).toEqual([{ type: 'taken-back', entries: 1 }])
    store.append(body('later'), [target(lane)])
    await store.commit()
    expect(await held('s/a')).toEqual(['kept', 'later'])
    expect([lane.waiting, lane.waitingBytes]).toEqual([2, 9])
  })

  it('shows nobody what it had refused, found applied and is about to take back', async () => {
    await start({ appendfsync: 'no' })
    store = await open()
    const lane = store.lane('s/a')
    store.append(body('kept'), [target(lane)])
    await store.commit()
    for (let round = 0; round < 3; round++) {
      proxy.dropAnswers = true
      store.append(body('refused, but applied'), [target(lane)])
      await expect(store.commit()).rejects.toMatchObject({ code: 'store_unavailable' })
      expect(await redis.admin.xlen('sluicemq:lane:s/a')).toBe(2)
      const reading = store.read(lane, 2 + round)
      proxy.dropAnswers = false
      expect(await reading).toBeNull()
      while (told('taken-back').length <= round) await pause(5)
    }
    expect(lane.waiting).toBe(1)
  })

  it('takes back a Packet Identifier although the commit that should do so gets lost as well', async () => {
    await start({ appendfsync: 'no' })
    store = await open()
    const lane = store.lane('s/a')
    const held = (): Promise<string[]> => redis.admin.smembers('sluicemq:inbound:c')
    store.append(body('kept'), [target(lane)])
    await store.commit()
    proxy.dropAnswers = true
    store.append(body('refused, but applied'), [target(lane)])
    store.putInboundPacketId('c', 7)
    await expect(store.commit()).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(await held()).toEqual(['7'])
    // What takes it back is sent as soon as this is told, and gets no further.
    const event = events.push.bind(events)
    events.push = (...more) => {
      if (more.some(({ type }) => type === 'taken-back')) proxy.freeze()
      return event(...more)
    }
    proxy.dropAnswers = false
    while (told('taken-back').length === 0) await pause(5)
    // Long enough for it to be given up.
    await pause(1500)
    expect(await held()).toEqual(['7'])
    proxy.cut()
    proxy.thaw()
    while ((await redis.admin.xlen('sluicemq:lane:s/a')) > 1) await pause(5)
    expect(await held()).toEqual([])
  })

  it('is not overtaken by what was still on its way when it gave up', async () => {
    await start({ appendfsync: 'no' })
    store = await open()
    const lane = store.lane('s/a')
    store.append(body('kept'), [target(lane)])
    await store.commit()
    proxy.freeze()
    store.append(body('on its way'), [target(lane)])
    await expect(store.commit()).rejects.toMatchObject({ code: 'store_unavailable' })
    proxy.thaw()
    while (told('back').length === 0) await pause(5)
    // A group of an earlier connection that arrives only now: it has the number that comes next.
    const [key] = await redis.admin.keys('sluicemq:writer:*')
    const [n, s] = await redis.admin.hmget(key!, 'n', 's')
    const late = ['sluicemq:', '', key!.split(':')[2]!, '', '', Number(n) + 1, 1, 1000, Buffer.alloc(12), Number(s) - 1]
    await expect(redis.admin.eval(group, 1, key!, ...late)).rejects.toThrow('GROUP_STALE')
    store.append(body('later'), [target(lane)])
    await store.commit()
    expect(await held('s/a')).toEqual(['kept', 'later'])
  })

  it('refuses within its time while Redis stands still, at once while it stays away, and goes on by itself', async () => {
    await start({ appendfsync: 'no' })
    store = await open()
    store.append(body('kept'), [target(store.lane('s/a'))])
    await store.commit()
    redis.freeze()
    const at = performance.now()
    store.append(body('refused'), [target(store.lane('s/a'))])
    await expect(store.commit()).rejects.toMatchObject({ code: 'store_unavailable' })
    expect(performance.now() - at).toBeLessThan(4000)
    while (told('away').length === 0) await pause(10)
    await pause(1100)
    store.append(body('refused at once'), [target(store.lane('s/a'))])
    let refusal: unknown = null
    store.commit().catch((error: unknown) => {
      refusal = error
    })
    // Counted in turns of the event loop: no timer and no answer is waited for.
    for (let turns = 0; refusal === null && turns < 20; turns++) await new Promise((resolve) => setImmediate(resolve))
    expect(refusal).toMatchObject({ code: 'store_unavailable' })
    redis.thaw()
    while (told('back').length === 0) await pause(10)
    store.append(body('later'), [target(store.lane('s/a'))])
    await store.commit()
    expect(await held('s/a')).toEqual(['kept', 'later'])
  })

  it('writes settlements that it could not write when Redis is back', async () => {
    await start({ appendfsync: 'no' })
    store = await open()
    const lane = store.lane('q/a')
    for (let i = 0; i < 10; i++) store.append(body(`m${i}`), [target(lane)])
    await store.commit()
    proxy.freeze()
    for (const seq of [1, 2, 3]) store.settle(lane, seq)
    await expect(store.commit()).rejects.toThrow()
    expect(lane.waiting).toBe(7)
    proxy.thaw()
    while (told('back').length === 0) await pause(5)
    await pause(10)
    expect(await held('q/a')).toEqual([3, 4, 5, 6, 7, 8, 9].map((i) => `m${i}`))
    expect(lane.waiting).toBe(7)
  })

  it('says store_full when Redis has no memory, and lets those through who empty their queues', async () => {
    await start({ appendfsync: 'no', args: ['--maxmemory-policy', 'noeviction'] })
    store = await open()
    const lane = store.lane('q/a')
    const large = Buffer.alloc(20_000, 'x')
    for (let i = 0; i < 100; i++) store.append(large, [target(lane)])
    await store.commit()
    await redis.admin.config('SET', 'maxmemory', '1mb')
    store.append(large, [target(lane)])
    store.settle(lane, 1)
    await expect(store.commit()).rejects.toMatchObject({ code: 'store_full' })
    await pause(20)
    for (let seq = 2; seq <= 60; seq++) store.settle(lane, seq)
    await store.commit()
    expect(await redis.admin.xlen('sluicemq:queue:a')).toBe(40)
    await redis.admin.config('SET', 'maxmemory', '0')
    store.append(large, [target(lane)])
    await store.commit()
    expect(lane.waiting).toBe(41)
  })

  it('notices that Redis has forgotten what it had confirmed', async () => {
    await start({ appendfsync: 'no' })
    store = await open({ commitTimeoutMs: 5000 })
    store.append(body('lost'), [target(store.lane('s/a'))])
    await store.commit()
    await redis.kill('SIGKILL')
    await redis.start()
    while (told('rolled-back').length === 0) await pause(5)
    store.append(body('later'), [target(store.lane('s/a'))])
    await store.commit()
    expect(await held('s/a')).toEqual(['later'])
  })

  it('waits for replicas when told to, and refuses when there are not enough', async () => {
    await start({ appendfsync: 'no' })
    const replica = await RedisProcess.start({
      appendfsync: 'no',
      args: ['--replicaof', '127.0.0.1', String(redis.port)],
    })
    try {
      while (!/state=online/.test(await redis.admin.info('replication'))) await pause(20)
      store = await open({ replicas: { count: 1, aof: false }, commitTimeoutMs: 1500 })
      store.append(body('copied'), [target(store.lane('s/a'))])
      await store.commit()
      expect(await replica.admin.xlen('sluicemq:lane:s/a')).toBe(1)
      await replica.kill()
      store.append(body('not copied'), [target(store.lane('s/a'))])
      await expect(store.commit()).rejects.toMatchObject({ code: 'store_unavailable' })
      await replica.start()
      while (told('taken-back').length === 0) await pause(20)
      store.append(body('later'), [target(store.lane('s/a'))])
      await store.commit()
      expect(await held('s/a')).toEqual(['copied', 'later'])
    } finally {
      await replica.stop()
    }
  })
})
