import { SluiceError } from '../../errors.ts'
import type { RedisClusterOptions } from '../redis.ts'
import * as scripts from './scripts.ts'

/** Pause before a claim that got no answer is made again, in ms. */
const CLAIM_AGAIN_MS = 50

/** Who serves which Client Identifier. */
export class Owners {
  readonly #o: RedisClusterOptions
  readonly #incarnation: () => number
  readonly #isThere: (nodeId: string) => boolean

  /** @param isThere whether another node is a member */
  constructor(options: RedisClusterOptions, incarnation: () => number, isThere: (nodeId: string) => boolean) {
    this.#o = options
    this.#incarnation = incarnation
    this.#isThere = isThere
  }

  /** @param surrender asks another node to let go of it; a rejection with `not_authorized` is its last word */
  async claim(clientId: string, surrender: (nodeId: string) => Promise<unknown>): Promise<void> {
    let owner = await this.#claim(clientId, '')
    while (owner !== null) {
      const surrendered = surrender(nodeOf(owner)).then(() => true, passOver)
      const late = this.#wait(this.#o.surrenderTimeoutMs).then(() => false)
      // A node that is alive and does not surrender in time is passed over: what it writes of this session later is refused. One
      // that did may have the client again by now, and is asked again.
      owner = await this.#claim(clientId, (await Promise.race([surrendered, late])) ? '' : owner)
    }
  }

  async claimVacant(clientId: string): Promise<boolean> {
    return (await this.#claim(clientId, '')) === null
  }

  async ownerOf(clientId: string): Promise<string | null> {
    try {
      const owner = await this.#o.redis.hget(this.#key('owners'), clientId)
      const nodeId = owner === null ? null : nodeOf(owner)
      return nodeId === this.#o.nodeId || (nodeId !== null && this.#isThere(nodeId)) ? nodeId : null
    } catch (error) {
      throw new SluiceError('store_unavailable', 'Redis does not answer', { cause: error })
    }
  }

  async release(clientId: string): Promise<void> {
    const { redis, nodeId } = this.#o
    const keys = [this.#key('owners'), this.#passed(nodeId)]
    await redis.eval(scripts.release, 2, ...keys, clientId, nodeId, this.#incarnation())
  }

  passedOver(): Promise<string[]> {
    return this.#o.redis.smembers(this.#passed(this.#o.nodeId))
  }

  async concede(clientIds: readonly string[]): Promise<void> {
    if (clientIds.length > 0) await this.#o.redis.srem(this.#passed(this.#o.nodeId), ...clientIds)
  }

  /** Asks as long as Redis is away, up to a limit: the answer to the same question is the same. */
  async #claim(clientId: string, passedOver: string): Promise<string | null> {
    const { redis, clock, patienceMs, nodeId } = this.#o
    const keys = [this.#key('owners'), this.#key('incarnations'), this.#passed(nodeOf(passedOver))]
    const until = clock.monotonic() + patienceMs
    for (;;) {
      try {
        const owner = await redis.eval(scripts.claim, 3, ...keys, clientId, nodeId, this.#incarnation(), passedOver)
        return owner === null ? null : String(owner)
      } catch (error) {
        const fenced = error instanceof Error && error.message.includes('NODE_FENCED')
        if (fenced) throw new SluiceError('node_fenced', 'this node was declared dead and has not joined again yet')
        if (clock.monotonic() >= until || !passes(error))
          throw new SluiceError('store_unavailable', 'Redis does not answer', { cause: error })
        await this.#wait(CLAIM_AGAIN_MS)
      }
    }
  }

  #wait(ms: number): Promise<void> {
    return new Promise((resolve) => this.#o.clock.after(ms, resolve))
  }

  /** Key of what others took from a node. */
  #passed(nodeId: string): string {
    return this.#key(`passed:${nodeId}`)
  }

  #key(name: string): string {
    return this.#o.prefix + name
  }
}

/** Asking again may help: the connection was lost, or Redis says that it cannot just now. */
function passes(error: unknown): boolean {
  if (!(error instanceof Error) || error.name !== 'ReplyError') return true
  return /^(LOADING|READONLY|CLUSTERDOWN|MASTERDOWN|TRYAGAIN|BUSY|NOREPLICAS|UNBLOCKED)/.test(error.message)
}

/** A node that does not answer is passed over; one that says no is heard. */
function passOver(error: unknown): false {
  if (error instanceof SluiceError && error.code === 'not_authorized') throw error
  return false
}

/** Of "node incarnation". */
function nodeOf(owner: string): string {
  return owner.slice(0, owner.lastIndexOf(' '))
}
