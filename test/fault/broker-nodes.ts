/** Several broker processes over one Redis that stays, killed and started as if they were one. */
import { BrokerProcess } from '../support/broker-process.ts'
import { RedisProcess } from '../support/redis-process.ts'
import type { SeededRandom } from '../support/seeded-random.ts'
import type { Broker } from './cast.ts'

/** A node that is silent for this long is declared dead, in ms. */
const NODE_TIMEOUT_MS = 2000
/** How often all nodes are killed at once. */
const ALL_CHANCE = 0.3

/** What is killed and started: a broker, or all nodes of one. */
export interface Mortal extends Broker {
  readonly stderr: string
  start(): Promise<void>
  kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<unknown>
  /** Ends it for good and removes its files. */
  stop(): Promise<void>
}

export class BrokerNodes implements Mortal {
  readonly #redis: RedisProcess
  readonly #nodes: BrokerProcess[] = []
  readonly #random: SeededRandom
  #down: BrokerProcess[] = []

  private constructor(redis: RedisProcess, random: SeededRandom) {
    this.#redis = redis
    this.#random = random
  }

  static async begin(count: number, config: object, random: SeededRandom): Promise<BrokerNodes> {
    const redis = await RedisProcess.start()
    const nodes = new BrokerNodes(redis, random)
    const shared = { ...config, redisUrl: redis.url, nodes: { timeoutMs: NODE_TIMEOUT_MS, surrenderTimeoutMs: 1000 } }
    try {
      for (let i = 0; i < count; i++)
        nodes.#nodes.push(
          await BrokerProcess.start({ config: shared, store: 'redis', supervised: true, readyTimeoutMs: 60_000 }),
        )
    } catch (error) {
      await nodes.stop()
      throw error
    }
    return nodes
  }

  /** A node that runs, if any does: each connection goes to another. */
  get #any(): BrokerProcess {
    const up = this.#nodes.filter((node) => node.running && !this.#down.includes(node))
    return this.#random.pick(up.length > 0 ? up : this.#nodes)
  }
  get mqtt(): { host: string; port: number } {
    return this.#any.mqtt
  }
  get ws(): string {
    return this.#any.ws
  }
  get http(): string {
    return this.#any.http
  }
  get stderr(): string {
    return this.#nodes.map(({ stderr }) => stderr).join('\n')
  }

  /** Kills one, or all at once. */
  async kill(signal: 'SIGKILL' | 'SIGTERM'): Promise<void> {
    const victims = this.#random.chance(ALL_CHANCE) ? [...this.#nodes] : [this.#random.pick(this.#nodes)]
    this.#down = victims
    await Promise.all(victims.map((node) => node.kill(signal)))
  }

  /**
   * Starts those that are down: at once, or when the others have done without them for a while. Whoever ended because it had been
   * declared dead is started too, as a supervisor would.
   */
  async start(): Promise<void> {
    if (this.#random.chance(0.5)) await sleep(this.#random.int(0, 1.5 * NODE_TIMEOUT_MS))
    this.#down = []
    await Promise.all(this.#nodes.map((node) => (node.running ? null : node.start())))
  }

  async stop(): Promise<void> {
    await Promise.all(this.#nodes.map((node) => node.stop()))
    await this.#redis.stop()
  }
}

function sleep(ms: number): Promise<void> {
  return new Promise((resolve) => setTimeout(resolve, ms))
}
