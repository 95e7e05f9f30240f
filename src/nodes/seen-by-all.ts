import type { Clock } from '../base/clock.ts'
import type { Cluster } from '../cluster.ts'
import { SluiceError } from '../errors.ts'
import type { Store } from '../store.ts'

/** The question whether a node has heard of a change; it is answered when it has. */
export const SEEN = 'seen'

/** Pause before a node that could not be asked is asked again, in ms. */
const AGAIN_MS = 100

export interface SeenByAllContext {
  readonly store: Store
  readonly cluster: Cluster
  readonly clock: Clock
  /** The other nodes, by name. */
  readonly remotes: ReadonlyMap<string, unknown>
}

/**
 * Who waits until every other node has heard of what this one committed. Then whatever is published anywhere is matched with
 * it. All who ask in one turn are one question to each node.
 */
export class SeenByAll {
  readonly #c: SeenByAllContext
  #waiting: { resolve(): void; reject(error: unknown): void }[] = []

  constructor(context: SeenByAllContext) {
    this.#c = context
  }

  /** Resolves when every other node has heard of what this one committed so far. */
  wait(): Promise<void> {
    return new Promise((resolve, reject) => {
      if (this.#waiting.push({ resolve, reject }) === 1) setImmediate(() => void this.#ask())
    })
  }

  async #ask(): Promise<void> {
    const waiting = this.#waiting
    this.#waiting = []
    const { shared } = this.#c.store
    const change = shared!.newestChange
    try {
      const others = [...this.#c.remotes.keys()].map((nodeId) => this.#seenBy(nodeId, change))
      await Promise.all([...others, shared!.seen(change)])
      for (const { resolve } of waiting) resolve()
    } catch (error) {
      for (const { reject } of waiting) reject(error)
    }
  }

  async #seenBy(nodeId: string, change: string): Promise<void> {
    for (;;) {
      try {
        await this.#c.cluster.request(nodeId, SEEN, change)
        return
      } catch (error) {
        // A node that is gone reads everything when it comes back; one that is merely slow is asked again.
        if (!this.#c.remotes.has(nodeId)) return
        if (!(error instanceof SluiceError) || error.code !== 'node_gone') throw error
        // While Redis is away questions fail at once: without a pause nothing else would ever get its turn.
        await new Promise<void>((resolve) => this.#c.clock.after(AGAIN_MS, resolve))
      }
    }
  }
}
