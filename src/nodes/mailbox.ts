import type { Group } from '../router/destinations.ts'
import type { Chunk, Lane, Store } from '../store.ts'

export interface MailboxContext {
  readonly store: Store
  readonly commits: { scheduleLazily(): void; done(): Promise<void> }
  /** The shared subscription of that key; null: there is none here. */
  groupOf(key: string): Group | null
  /** @param done called when the message need not be kept any more; null: nobody asks */
  receive(message: Buffer, group: Group | null, done: (() => void) | null): void
}

/** Beside an entry of a dead node's mailbox that was passed on. */
const MOVED = Buffer.from([0])

/** Name of the lane in which a node finds messages of QoS 1 and 2 for clients without stored sessions. */
export function mailboxOf(nodeId: string): string {
  return `n/${nodeId}`
}

/**
 * What other nodes published for clients whose sessions end with their connections. A message stays in the mailbox until it
 * was handed to them, one of a shared subscription until it was acknowledged: when the node dies, others pass it on.
 */
export class Mailbox {
  readonly #c: MailboxContext
  readonly #lane: Lane

  constructor(context: MailboxContext, nodeId: string) {
    this.#c = context
    this.#lane = context.store.lane(mailboxOf(nodeId))
  }

  /** Hears from now on. */
  async open(): Promise<void> {
    this.#lane.onCommitted = (chunk) => this.#take(chunk)
    await this.#c.store.shared!.keep(this.#lane)
  }

  #take(chunk: Chunk): void {
    const { store } = this.#c
    for (let i = 0; i < chunk.count; i++) {
      if (chunk.isSettled(i)) continue
      const seq = chunk.firstSeq + i
      const extra = chunk.extras === null ? null : chunk.extras[i]!
      const group = extra === null ? null : this.#c.groupOf(extra.toString())
      this.#c.receive(chunk.message(i), group, () => {
        store.settle(this.#lane, seq)
        this.#c.commits.scheduleLazily()
      })
    }
  }
}

/**
 * Passes on what a node that is gone had of shared subscriptions, and drops its mailbox: the rest was for connections
 * that are gone with it.
 */
export async function emptyMailbox(c: MailboxContext, nodeId: string): Promise<void> {
  const { store } = c
  const lane = store.lane(mailboxOf(nodeId))
  await store.shared!.keep(lane)
  let next = 1
  for (;;) {
    const chunk = await store.read(lane, next)
    if (chunk === null) break
    for (let i = 0; i < chunk.count; i++) {
      const extra = chunk.extras === null || chunk.isSettled(i) ? null : chunk.extras[i]!
      const group = extra === null || chunk.markOf(i) !== undefined ? null : c.groupOf(extra.toString())
      if (group === null) continue
      c.receive(chunk.message(i), group, null)
      store.mark(lane, chunk.firstSeq + i, MOVED)
    }
    // The lane stays until what was in it is elsewhere.
    await c.commits.done()
    next = chunk.firstSeq + chunk.count
  }
  store.dropLane(lane)
  c.commits.scheduleLazily()
}
