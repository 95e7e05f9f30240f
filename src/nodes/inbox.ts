import type { Clock } from '../base/clock.ts'
import type { Elsewhere } from '../router/destinations.ts'
import { admit } from '../router/entering.ts'
import type { Match } from '../router/match.ts'
import { Publication } from '../router/publication.ts'
import { ELSEWHERE } from '../router/sharing.ts'
import type { Chunk, Lane, LaneTarget, Store } from '../store.ts'
import type { DropCause } from '../telemetry/events.ts'

/** The lane in which messages for work queues wait for the node that keeps the queues. */
const INBOX = 'qi'

/**
 * Where messages for work queues go on nodes that do not keep the queues: rules, limits, priorities and duplicates are the
 * keeper's business, so the message is put down as it is, durably, and the keeper moves it on.
 */
export class Inbox implements Elsewhere {
  readonly nodeId = ''
  readonly mailbox: Lane
  readonly target: LaneTarget
  readonly #store: Store
  readonly #commits: { schedule(): void }
  #publication = 0

  constructor(store: Store, commits: { schedule(): void }) {
    this.#store = store
    this.#commits = commits
    this.mailbox = store.lane(INBOX)
    this.target = { lane: this.mailbox, tag: 0, extra: null }
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

export interface InboxReaderContext {
  readonly store: Store
  readonly clock: Clock
  readonly commits: { schedule(): void }
  readonly router: { match(topic: Buffer, start: number, end: number): Match }
  readonly counters: { bridged: number }
  dropped(session: null, cause: DropCause, count: number): void
  failed(error: unknown): void
}

/**
 * Moves what other nodes put into the inbox on into the queues, as the rules say. Each move is one group: the entries in the
 * queues and the settlement here, so that a crash neither loses nor doubles a message.
 */
export class InboxReader {
  readonly #c: InboxReaderContext
  readonly #lane: Lane
  #next = 1
  #draining = false
  #again = false
  #closed = false

  constructor(context: InboxReaderContext) {
    this.#c = context
    this.#lane = context.store.lane(INBOX)
  }

  /** This node keeps the queues from now on. */
  async open(): Promise<void> {
    this.#closed = false
    this.#next = 1
    this.#lane.onCommitted = () => this.#wake()
    await this.#c.store.shared!.keep(this.#lane)
    this.#wake()
  }

  close(): void {
    this.#closed = true
    this.#lane.onCommitted = null
  }

  #wake(): void {
    this.#again = true
    if (this.#draining) return
    this.#draining = true
    this.#drain()
      .catch((error: unknown) => this.#c.failed(error))
      .finally(() => {
        this.#draining = false
      })
  }

  async #drain(): Promise<void> {
    while (this.#again && !this.#closed) {
      this.#again = false
      for (;;) {
        const chunk = await this.#c.store.read(this.#lane, this.#next)
        if (chunk === null || this.#closed) break
        await this.#move(chunk)
      }
    }
  }

  async #move(chunk: Chunk): Promise<void> {
    for (let i = Math.max(0, this.#next - chunk.firstSeq); i < chunk.count; i++) {
      const seq = chunk.firstSeq + i
      if (!chunk.isSettled(i)) {
        for (;;) {
          const full = this.#enter(chunk.messages[i]!, seq)
          if (full === null) break
          await full
          if (this.#closed) return
        }
      }
      this.#next = seq + 1
    }
    this.#next = Math.max(this.#next, chunk.firstSeq + chunk.count)
  }

  /** Null: done. A queue that wants its publishers to wait has us wait. */
  #enter(message: Buffer, seq: number): Promise<unknown> | null {
    const { store, clock, router, counters, commits } = this.#c
    const publication = new Publication()
    publication.load(message, clock.now())
    const match = router.match(publication.topicBuf, publication.topicStart, publication.topicEnd)
    const entering = admit(match.bridges, publication, ELSEWHERE)
    if (entering !== null && entering.refusal === null && entering.heldBy !== null) {
      const { heldBy } = entering
      return new Promise((resolve) => heldBy.whenRoom(resolve))
    }
    const lanes = match.lanes(publication.qos, publication.retain)
    const targets = entering === null ? lanes.targets.slice(0, lanes.queueTargets) : entering.verbatim()
    if (targets.length > 0) store.append(message, targets)
    if (entering === null) counters.bridged += lanes.queues
    else entering.finish(this.#c)
    store.settle(this.#lane, seq)
    commits.schedule()
    return null
  }
}
