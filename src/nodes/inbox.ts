import type { Elsewhere } from '../router/destinations.ts'
import type { Lane, LaneTarget, Store } from '../store.ts'

/** The lane in which messages for work queues wait for the node that keeps the queues. */
export const INBOX = 'qi'

/**
 * Where messages for work queues go when there are several nodes: rules, limits, priorities and duplicates are the business
 * of the node that keeps the queues, so the message is put down as it is, durably, and the keeper moves it on. The keeper's own
 * publishers go this way too: one line for all nodes, so that a publisher that moves to another node keeps its order.
 *
 * The tag of an entry is how the packet was numbered, where a rule asks for that (`packetTag`), else 0.
 */
export class Inbox implements Elsewhere {
  readonly nodeId = ''
  readonly mailbox: Lane
  readonly target: LaneTarget
  readonly #store: Store
  readonly #commits: { schedule(): void; time(): number }
  #publication = 0

  constructor(store: Store, commits: { schedule(): void; time(): number }) {
    this.#store = store
    this.#commits = commits
    this.mailbox = store.lane(INBOX)
    this.target = { lane: this.mailbox, tag: 0, extra: null }
  }

  get time(): number {
    return this.#commits.time()
  }

  takes(publication: number): boolean {
    if (this.#publication === publication) return false
    this.#publication = publication
    return true
  }

  /** QoS 0: nobody is told that it is kept, but it is. */
  live(message: Buffer): void {
    this.#store.append(message, [this.target])
    this.#commits.schedule()
  }
}
