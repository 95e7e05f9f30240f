/** How the contract opens the Redis store: one server for a file, emptied for every test. */
import { createHash } from 'node:crypto'
import { systemClock } from '../../src/base/clock.ts'
import { systemRandom } from '../../src/base/random.ts'
import { connectRedis, type RedisClient, type RedisSettings } from '../../src/base/redis-connection.ts'
import { group } from '../../src/stores/redis/scripts.ts'
import { RedisStore, type RedisStoreOptions } from '../../src/stores/redis/store.ts'
import type { RedisProcess } from '../support/redis-process.ts'
import type { Faults, Left, StoreHarness, StoreOptions } from './store-harness.ts'

const groupHash = createHash('sha1').update(group).digest('hex')

type Call = (...args: unknown[]) => Promise<unknown>

/** Stands before a connection's commands and makes those that commit fail or wait, in their order. */
export class RedisFaults implements Faults {
  #failures = 0
  #held: Promise<void> | null = null
  #letGo: () => void = () => {}
  #last: Promise<unknown> = Promise.resolve()
  #cut = false
  batches = 0

  failNext(n = 1): void {
    this.#failures += n
  }
  heal(): void {
    this.#failures = 0
  }
  hold(): void {
    this.#held ??= new Promise((resolve) => {
      this.#letGo = resolve
    })
  }
  letGo(): void {
    this.#letGo()
    this.#held = null
  }
  cut(): void {
    this.#cut = true
  }

  connect(settings: RedisSettings, name: string): RedisClient {
    const client = connectRedis(settings, name)
    const call = client.callBuffer.bind(client) as unknown as Call
    const through: Call = (...args) => {
      if (args[1] !== groupHash) return call(...args)
      this.batches++
      const failing = this.#failures > 0
      if (failing) this.#failures--
      const before = this.#last
      const outcome = (async () => {
        await before.catch(() => {})
        await this.#held
        if (this.#cut) return new Promise(() => {})
        if (failing) throw Object.assign(new Error('ERR a fault of the test'), { name: 'ReplyError' })
        return call(...args)
      })()
      this.#last = outcome
      return outcome
    }
    client.callBuffer = through as never
    return client
  }
}

export function redisHarness(redis: RedisProcess): () => Promise<StoreHarness> {
  return async () => {
    await redis.flush()
    const clients: RedisClient[] = []
    return {
      canCrash: true,
      exact: false,
      open: (options = {}) => open(redis, options, clients),
      // Those of stores that were left as a crash leaves them.
      remove: async () => {
        for (const client of clients) client.disconnect()
      },
    }
  }
}

/** An open store on the server. */
export async function openStore(redis: { url: string }, options: Partial<RedisStoreOptions> = {}): Promise<RedisStore> {
  const store = new RedisStore({
    redis: { url: redis.url },
    clock: systemClock,
    random: systemRandom,
    codec: null,
    ...options,
  })
  await store.open()
  return store
}

async function open(redis: RedisProcess, { cacheBytes, clock, onEvent }: StoreOptions, clients: RedisClient[]) {
  const faults = new RedisFaults()
  const store = await openStore(redis, {
    connect: (settings, name) => {
      const client = faults.connect(settings, name)
      clients.push(client)
      return client
    },
    sharedFrom: 1,
    ...(cacheBytes !== undefined && { cacheBytes }),
    ...(clock && { clock }),
    ...(onEvent && { onEvent: (event) => event.type === 'lane-removed' && onEvent(event) }),
  })
  return { store, faults, inspect: () => inspect(redis, store) }
}

/** Counts what is in Redis. */
async function inspect(redis: RedisProcess, store: RedisStore): Promise<Left> {
  const { admin } = redis
  const keys = await admin.keys('*')
  const sum = async (prefix: RegExp, count: (key: string) => Promise<number>): Promise<number> => {
    let total = 0
    for (const key of keys) if (prefix.test(key)) total += await count(key)
    return total
  }
  return {
    lanes: await admin.hlen('sluicemq:lanes'),
    chunks: await sum(/^sluicemq:(lane|queue):/, (key) => admin.xlen(key)),
    settled: 0,
    marks: await sum(/^sluicemq:marks:/, (key) => admin.hlen(key)),
    segments: await sum(/^sluicemq:body:/, async () => 1),
    refs: 0,
    doomed: await admin.llen('sluicemq:doomed'),
    session:
      (await admin.hlen('sluicemq:sessions')) +
      (await sum(/^client:/, (key) => admin.hlen(key))) +
      (await sum(/^sluicemq:inbound:/, (key) => admin.scard(key))),
    residentSegments: 0,
    ...store.cached(),
  }
}
