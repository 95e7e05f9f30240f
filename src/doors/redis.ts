/** The doors of work queues as Redis Streams with a consumer group: any Redis client is a worker. */
import { createHash } from 'node:crypto'
import type { Clock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import { breakConnection, type RedisClient } from '../base/redis-connection.ts'
import type { Door, DoorOrder, DoorReport } from '../door.ts'
import { SluiceError } from '../errors.ts'
import { argumentsOf, type Reply, reportOf } from './redis/reply.ts'
import * as scripts from './redis/scripts.ts'

export interface RedisDoorOptions {
  readonly connect: () => RedisClient
  readonly clock: Clock
  readonly random: Random
  /** In front of every key, e.g. `sluicemq:`. */
  readonly prefix: string
  /** Node and incarnation of this process as it leads (`node 3`); empty: there are no other nodes. */
  readonly leader: () => string
  /** A connection that is silent for so long is made anew, in ms. */
  readonly answerTimeoutMs: number
}

const hashOf = (script: string): string => createHash('sha1').update(script).digest('hex')
const hashes = new Map(Object.values(scripts).map((script) => [script, hashOf(script)]))

/** Connects when it is first needed. */
export class RedisDoor implements Door {
  readonly #o: RedisDoorOptions
  #client: RedisClient | null = null
  /** Who does not know it is not the keeper any more. */
  #token = ''

  constructor(options: RedisDoorOptions) {
    this.#o = options
  }

  placeOf(queue: string): string {
    return `${this.#o.prefix}work:${queue}`
  }

  async begin(wanted: boolean): Promise<string[]> {
    this.#token = this.#o.random.id(8)
    return (await this.#run(scripts.begin, [this.#token, wanted ? 1 : 0])) as string[]
  }

  async exchange(orders: readonly DoorOrder[]): Promise<DoorReport[]> {
    const replies = (await this.#run(scripts.exchange, [
      this.#token,
      orders.length,
      ...orders.flatMap(argumentsOf),
    ])) as Reply[]
    return replies.map((reply, i) => reportOf(orders[i]!, reply))
  }

  close(): void {
    this.#client?.disconnect()
    this.#client = null
  }

  async #run(script: string, args: (string | number | Buffer)[]): Promise<unknown> {
    const { prefix, leader, clock, answerTimeoutMs } = this.#o
    this.#client ??= this.#connect()
    const client = this.#client
    const all = [1, `${prefix}doors`, prefix, leader(), ...args]
    const cancel = clock.after(answerTimeoutMs, () => breakConnection(client))
    try {
      return await client.call('EVALSHA', hashes.get(script)!, ...all).catch((error: Error) => {
        if (!error.message.startsWith('NOSCRIPT')) throw error
        return client.call('EVAL', script, ...all)
      })
    } catch (error) {
      const { message } = error as Error
      if (message.includes('NODE_FENCED')) throw new SluiceError('node_fenced', 'another node leads', { cause: error })
      throw new SluiceError('store_unavailable', `Redis does not answer at the doors: ${message}`, { cause: error })
    } finally {
      cancel()
    }
  }

  #connect(): RedisClient {
    const client = this.#o.connect()
    // What a command is answered says it all.
    client.on('error', () => {})
    return client
  }
}
