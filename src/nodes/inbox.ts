import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Destination, Elsewhere } from '../router/destinations.ts'
import { admit } from '../router/entering.ts'
import { Match } from '../router/match.ts'
import { originOf } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import type { TopicTree } from '../router/topic-tree.ts'
import type { Chunk, Lane, LaneTarget, Store } from '../store.ts'
import type { DropCause } from '../telemetry/events.ts'

/** The lane in which messages for work queues wait for the node that keeps the queues. */
const INBOX = 'qi'
/** Pause after Redis did not answer, in ms. */
const RETRY_MS = 500
/** Topics whose rules are remembered. */
const MATCHES_MAX = 10_000

/**
 * Where messages for work queues go when there are several nodes: rules, limits, priorities and duplicates are the business
 * of the node that keeps the queues, so the message is put down as it is, durably, and the keeper moves it on. The keeper's own
 * publishers go this way too: one line for all nodes, so that a publisher that moves to another node keeps its order.
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
  readonly commits: { schedule(): void; done(): Promise<void> }
  /** Where the rules lead. */
  readonly tree: TopicTree<Destination>
  readonly counters: { bridged: number }
  dropped(session: null, cause: DropCause, count: number): void
  failed(error: unknown): void
}

/** The mark of the last entry of a batch: it and all before it are in the queues. */
const MOVED = Buffer.from('m')

/**
 * Moves what other nodes put into the inbox on into the queues, as the rules say, batch by batch. One group holds a batch's entries
 * in the queues and a mark at its last entry here; what was moved is settled once that is durable. So a crash neither
 * loses nor doubles a message, and neither does a failed commit: it takes entries and mark back, and the batch is moved again.
 */
export class InboxReader {
  readonly #c: InboxReaderContext
  readonly #lane: Lane
  readonly #matches = new Map<string, Match>()
  #next = 1
  /** Entries up to this one are in the queues. */
  #moved = 0
  #draining = false
  #again = false
  #closed = false
  /** Settles when everything that is known of has been moved. */
  #idle: Promise<void> = Promise.resolve()

  constructor(context: InboxReaderContext) {
    this.#c = context
    this.#lane = context.store.lane(INBOX)
  }

  /** This node keeps the queues from now on. Resolves when what had been waiting is in the queues. */
  async open(): Promise<void> {
    this.#closed = false
    this.#next = 1
    this.#lane.onCommitted = () => this.#wake()
    await this.#c.store.shared!.keep(this.#lane)
    this.#moved = (await this.#c.store.marks(this.#lane)).at(-1)?.seq ?? 0
    this.#wake()
    await this.#idle
  }

  close(): void {
    this.#closed = true
    this.#lane.onCommitted = null
  }

  #wake(): void {
    this.#again = true
    if (this.#draining) return
    this.#draining = true
    this.#idle = this.#drain()
      .catch((error: unknown) => {
        if (this.#closed) return
        if (!(error instanceof SluiceError)) this.#c.failed(error)
        this.#c.clock.after(RETRY_MS, () => this.#wake())
      })
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
    const { store } = this.#c
    const batch: number[] = []
    for (let seq = Math.max(this.#next, chunk.firstSeq); seq < chunk.firstSeq + chunk.count; ) {
      const i = seq - chunk.firstSeq
      if (chunk.isSettled(i)) {
        seq++
      } else if (seq <= this.#moved) {
        store.settle(this.#lane, seq++)
        this.#c.commits.schedule()
      } else {
        const full = this.#enter(chunk.messages[i]!)
        if (full === null) {
          batch.push(seq++)
        } else {
          await this.#finish(batch.splice(0))
          await full
          if (this.#closed) return
        }
      }
    }
    await this.#finish(batch)
    this.#next = Math.max(this.#next, chunk.firstSeq + chunk.count)
  }

  /** Rejects when nothing of the batch is in the queues. */
  async #finish(batch: readonly number[]): Promise<void> {
    const last = batch.at(-1)
    if (last === undefined) return
    const { store, commits } = this.#c
    store.mark(this.#lane, last, MOVED)
    await commits.done()
    this.#moved = last
    this.#next = last + 1
    for (const seq of batch) store.settle(this.#lane, seq)
    commits.schedule()
  }

  #match(topic: string): Match {
    const { tree } = this.#c
    const known = this.#matches.get(topic)
    if (known?.generation === tree.generation) return known
    const found: Destination[] = []
    tree.match(topic, (destination) => {
      found.push(destination)
    })
    const match = new Match(topic, tree.generation, 0, false, found)
    if (this.#matches.size >= MATCHES_MAX) this.#matches.clear()
    this.#matches.set(topic, match)
    return match
  }

  /** Null: done. A queue that wants its publishers to wait has us wait. */
  #enter(message: Buffer): Promise<unknown> | null {
    const { store, clock, counters } = this.#c
    const publication = new Publication()
    publication.load(message, clock.now())
    const match = this.#match(publication.topic)
    // Rules ask who published it.
    const entering = admit(match.bridges, publication, { session: null, origin: originOf(message) })
    if (entering !== null && entering.refusal === null && entering.heldBy !== null) {
      const { heldBy } = entering
      return new Promise((resolve) => heldBy.whenRoom(resolve))
    }
    const lanes = match.lanes(publication.qos, publication.retain)
    const targets = entering === null ? lanes.targets.slice(0, lanes.queueTargets) : entering.verbatim()
    if (targets.length > 0) store.append(message, targets)
    if (entering === null) counters.bridged += lanes.queues
    else entering.finish(this.#c)
    return null
  }
}
