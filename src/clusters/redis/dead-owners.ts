import type { RedisClusterOptions } from '../redis.ts'
import * as scripts from './scripts.ts'

/** Entries looked at in one step. */
const SLICE = 500
/** Pause after Redis did not answer, in ms. */
const AGAIN_MS = 1000

/**
 * Forgets who served which Client Identifier on nodes that are gone. Such entries count for nothing; but of clients that never come
 * back they would stay.
 */
export class DeadOwners {
  readonly #o: RedisClusterOptions
  #sweeping = false
  #again = false
  #closed = false

  constructor(options: RedisClusterOptions) {
    this.#o = options
  }

  /** A node is gone, or was gone before this one led. */
  sweep(): void {
    this.#again = true
    if (this.#sweeping || this.#closed) return
    this.#sweeping = true
    this.#run().then(
      () => {
        this.#sweeping = false
      },
      (error: unknown) => {
        this.#sweeping = false
        this.#o.onError('owners', error)
        this.#o.clock.after(AGAIN_MS, () => this.sweep())
      },
    )
  }

  close(): void {
    this.#closed = true
  }

  async #run(): Promise<void> {
    const { redis, prefix } = this.#o
    while (this.#again && !this.#closed) {
      this.#again = false
      let cursor = '0'
      do {
        const keys = [`${prefix}owners`, `${prefix}incarnations`]
        cursor = String(await redis.eval(scripts.forgetOwners, 2, ...keys, cursor, SLICE))
      } while (cursor !== '0' && !this.#closed)
    }
  }
}
