import { SluiceError } from '../errors.ts'
import type { Group } from '../router/destinations.ts'
import type { Chunk, Lane, Store } from '../store.ts'

export interface MailboxContext {
  readonly store: Store
  readonly commits: { scheduleLazily(): void; done(): Promise<void> }
  /** The shared subscription of that key, made when there is none; null: the key is none. */
  groupOf(key: string): Group | null
  /** The message went on: the shared subscription ends if it has no members. */
  groupLeft(group: Group): void
  /** @param done called when the message need not be kept any more */
  receive(message: Buffer, group: Group | null, done: () => void): void
  failed(error: unknown): void
}

/** Beside an entry of a dead node's mailbox that was taken over. */
const MOVED = Buffer.from([0])

/** Name of the lane in which a node finds messages of QoS 1 and 2 for clients without stored sessions. */
export function mailboxOf(nodeId: string): string {
  return `n/${nodeId}`
}

/**
 * What other nodes published for clients whose sessions end with their connections. A message stays in the mailbox until it
 * was handed to them, one of a shared subscription until it was acknowledged: when the node dies, another takes it over.
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

  /**
   * Takes over what a node that is gone had of shared subscriptions, and drops its mailbox: the rest was for connections that
   * are gone with it. Nobody is sent anything before it is durable here, so that what fails or dies in between neither loses a
   * message nor sends it twice.
   *
   *     in its mailbox ──here, and marked there: one group──▶ in this one ──▶ to a member, as any other
   *            ▲                                                  │
   *            └──────────────── not durable ─────────────────────┘
   */
  async inherit(nodeId: string): Promise<void> {
    const { store, commits } = this.#c
    const lane = store.lane(mailboxOf(nodeId))
    await store.shared!.keep(lane)
    for (let next = 1; ; ) {
      const chunk = await store.read(lane, next)
      if (chunk === null) break
      for (let i = 0; i < chunk.count; i++) {
        const extra = chunk.extras === null || chunk.isSettled(i) ? null : chunk.extras[i]!
        if (extra === null || chunk.markOf(i) !== undefined) continue
        store.append(chunk.message(i), [{ lane: this.#lane, tag: 0, extra }])
        store.mark(lane, chunk.firstSeq + i, MOVED)
      }
      // The lane stays until what was in it is here.
      await commits.done()
      next = chunk.firstSeq + chunk.count
    }
    store.dropLane(lane)
    commits.scheduleLazily()
  }

  #take(chunk: Chunk): void {
    for (let i = 0; i < chunk.count; i++) {
      if (chunk.isSettled(i)) continue
      const extra = chunk.extras === null ? null : chunk.extras[i]!
      const done = (): void => {
        this.#c.store.settle(this.#lane, chunk.firstSeq + i)
        this.#c.commits.scheduleLazily()
      }
      try {
        this.#hand(chunk.message(i), extra === null ? null : extra.toString(), done)
      } catch (error) {
        // What is no message is never to be read; those behind it must not wait for it.
        this.#c.failed(error)
        if (error instanceof SluiceError) done()
      }
    }
  }

  #hand(message: Buffer, key: string | null, done: () => void): void {
    const { groupOf, groupLeft, receive } = this.#c
    if (key === null) return receive(message, null, done)
    const group = groupOf(key)
    if (group === null) throw new SluiceError('invariant', `${JSON.stringify(key)} is no shared subscription`)
    try {
      receive(message, group, done)
    } finally {
      groupLeft(group)
    }
  }
}
