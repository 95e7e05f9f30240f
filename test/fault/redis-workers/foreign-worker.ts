import { Redis } from 'ioredis'
import type { SeededRandom } from '../../support/seeded-random.ts'
import type { Holdings } from './holdings.ts'

const STREAM = 'sluicemq:work:work'

interface Entry {
  readonly entry: string
  readonly id: string
  readonly payload: string
}

/** A worker that knows Redis and nothing else. It dies, dawdles and refuses, as its seed will have it. */
export class ForeignWorker {
  /** Works what is left, and does nothing else. */
  calm = false
  readonly #port: number
  readonly #random: SeededRandom
  readonly #holdings: Holdings
  readonly #leaseMs: number
  readonly #name: string
  #lives = 0
  #redis: Redis | null = null
  #running = true
  #done: Promise<void> = Promise.resolve()

  constructor(name: string, port: number, leaseMs: number, random: SeededRandom, holdings: Holdings) {
    this.#name = name
    this.#port = port
    this.#leaseMs = leaseMs
    this.#random = random
    this.#holdings = holdings
  }

  start(): void {
    this.#done = this.#live()
  }

  /** Without a word, with whatever it holds; another one of another name takes its place. */
  die(): void {
    this.#redis?.disconnect()
  }

  async close(): Promise<void> {
    this.#running = false
    this.die()
    await this.#done
  }

  async #live(): Promise<void> {
    while (this.#running) {
      const redis = new Redis(this.#port, '127.0.0.1', { maxRetriesPerRequest: 0, retryStrategy: () => null })
      redis.on('error', () => {})
      this.#redis = redis
      const name = `${this.#name}.${++this.#lives}`
      try {
        while (this.#running) await this.#work(redis, name)
      } catch {
        // Redis is down, the stream is not there, or this life was ended.
        await pause(50)
      }
      redis.disconnect()
    }
  }

  async #work(redis: Redis, name: string): Promise<void> {
    const random = this.#random
    const args = ['workers', name, 'COUNT', this.calm ? 100 : random.int(1, 20), 'BLOCK', 500, 'STREAMS', STREAM, '>']
    const found = (await redis.call('XREADGROUP', 'GROUP', ...args)) as [string, [string, string[]][]][] | null
    const entries = (found?.[0]?.[1] ?? []).map(([entry, flat]) => {
      const message = { id: flat[flat.indexOf('id') + 1]!, payload: flat[flat.indexOf('payload') + 1]! }
      this.#holdings.taken(message.id, message.payload, name)
      return { entry, ...message }
    })
    if (entries.length === 0) return
    const mood = this.calm ? 100 : random.int(1, 100)
    if (mood <= 3) throw new Error('dies with what it has')
    if (mood <= 6) await pause(this.#leaseMs * 1.5)
    else if (!this.calm) await pause(random.int(0, 30))
    await Promise.all(entries.map((each) => this.#end(redis, name, each)))
  }

  async #end(redis: Redis, name: string, { entry, id, payload }: Entry): Promise<void> {
    const fate = this.calm ? 100 : this.#random.int(1, 100)
    if (fate <= 4) {
      this.#holdings.givenBack(id, name)
      const more = ['answer', fate === 1 ? 'reject' : 'nack', 'consumer', name, 'delayMs', 20]
      await redis.xadd('sluicemq:answers:work', '*', 'id', entry, ...more)
      return
    }
    if (fate <= 8) {
      const claimed = (await redis.call('XCLAIM', STREAM, 'workers', name, 0, entry, 'JUSTID')) as string[]
      if (claimed.length > 0) this.#holdings.renewed(id, name)
    }
    this.#holdings.saysSo(payload)
    this.#holdings.saysDone(id, name, await redis.xack(STREAM, 'workers', entry))
  }
}

function pause(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
