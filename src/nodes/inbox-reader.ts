import type { Clock } from '../base/clock.ts'
import { SluiceError } from '../errors.ts'
import type { Destination } from '../router/destinations.ts'
import { admit } from '../router/entering.ts'
import { Match } from '../router/match.ts'
import { originOf } from '../router/message.ts'
import { numberFrom } from '../router/packet-tag.ts'
import { Publication } from '../router/publication.ts'
import type { TopicTree } from '../router/topic-tree.ts'
import type { Chunk, Lane, Store } from '../store.ts'
import type { DropCause } from '../telemetry/events.ts'
import { INBOX } from './inbox.ts'

/** Pause after Redis did not answer, in ms. */
const RETRY_MS = 500
/** Topics whose rules are remembered. */
const MATCHES_MAX = 10_000
/** The mark of an entry up to which everything is in the queues; only the settlement here is missing. */
const MOVED = Buffer.from([1])

export interface InboxReaderContext {
  readonly store: Store
  readonly clock: Clock
  readonly commits: {
    schedule(): void
    time(): number
    scheduleLazily(): void
    wait(waiter: { committed(): void; notCommitted(error: unknown): void }): void
    done(): Promise<void>
  }
  /** Where the rules lead. */
  readonly tree: TopicTree<Destination>
  readonly counters: { bridged: number }
  dropped(session: null, cause: DropCause, count: number): void
  failed(error: unknown): void
}

/**
 * Moves what nodes put into the inbox on into the queues, as the rules say. The entries in the queues and a mark here, at the
 * last of them, are one group; only when that is durable they are settled here. So a crash neither loses nor doubles a
 * message, and a group that does not become durable is moved again.
 *
 *     waiting ──entries there, mark here──▶ moved ──durable──▶ settled
 *        ▲                                    │
 *        └──────────── not durable ───────────┘
 */
export class InboxReader {
  readonly #c: InboxReaderContext
  readonly #lane: Lane
  readonly #matches = new Map<string, Match>()
  /** False until it is known what a keeper before this one has moved. */
  #resumed = false
  /** The next entry to be moved. */
  #next = 1
  /** Everything up to here is in the queues, durably. */
  #moved = 0
  /** Last entries of moves that are not decided yet, oldest first. */
  readonly #underWay: number[] = []
  /** Last entries of moves that did not become durable. */
  #failed: number[] = []
  #draining = false
  #again = false
  #closed = false
  /** Settles when everything that is known of has been moved. */
  #idle: Promise<void> = Promise.resolve()

  constructor(context: InboxReaderContext) {
    this.#c = context
    this.#lane = context.store.lane(INBOX)
  }

  /** This node keeps the queues from now on. Resolves when what had been waiting is in the queues, or the store has failed. */
  async open(): Promise<void> {
    this.#closed = false
    this.#resumed = false
    this.#lane.onCommitted = () => this.#wake()
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
        // The store tells of its own failures.
        if (!(error instanceof SluiceError)) this.#c.failed(error)
        this.#wakeLater()
      })
      .finally(() => {
        this.#draining = false
      })
  }

  #wakeLater(): void {
    this.#c.clock.after(RETRY_MS, () => {
      if (!this.#closed) this.#wake()
    })
  }

  async #drain(): Promise<void> {
    if (!this.#resumed) await this.#resume()
    while (this.#again && !this.#closed) {
      this.#again = false
      for (;;) {
        if (this.#failed.length > 0) await this.#goBack()
        const chunk = await this.#c.store.read(this.#lane, this.#next)
        if (this.#closed) return
        if (this.#failed.length > 0) continue
        if (chunk === null) break
        await this.#move(chunk)
      }
    }
  }

  /** Takes the lane over and settles what a keeper before this one has moved. */
  async #resume(): Promise<void> {
    const { store } = this.#c
    await store.shared!.keep(this.#lane)
    const moved = (await store.marks(this.#lane)).at(-1)?.seq ?? 0
    for (let from = 1; from <= moved; ) {
      const chunk = await store.read(this.#lane, from)
      if (chunk === null) break
      const end = Math.min(moved + 1, chunk.firstSeq + chunk.count)
      for (let seq = chunk.firstSeq; seq < end; seq++) store.settle(this.#lane, seq)
      from = chunk.firstSeq + chunk.count
    }
    this.#moved = moved
    this.#next = moved + 1
    this.#resumed = true
  }

  /**
   * A group was refused, or nobody knows: the marks go first, so that no keeper takes for moved what is taken back; then all that
   * is not known to be in the queues is moved again. Rejects while the store fails.
   */
  async #goBack(): Promise<void> {
    const { store, commits } = this.#c
    while (this.#underWay.length > 0) await commits.done().catch(() => {})
    for (const seq of this.#failed) store.mark(this.#lane, seq, null)
    await commits.done()
    this.#failed = []
    this.#next = this.#moved + 1
  }

  async #move(chunk: Chunk): Promise<void> {
    const end = chunk.firstSeq + chunk.count
    let begun = this.#next
    for (let seq = Math.max(this.#next, chunk.firstSeq); seq < end; ) {
      const i = seq - chunk.firstSeq
      const full = chunk.isSettled(i) ? null : this.#enter(chunk.message(i), chunk.tags[i]!)
      if (full === null) {
        this.#next = ++seq
        continue
      }
      this.#end(begun)
      await full
      if (this.#closed || this.#failed.length > 0) return
      begun = this.#next
    }
    this.#end(begun)
  }

  /** What was moved since, in this turn, is one move. */
  #end(begun: number): void {
    const { store, commits } = this.#c
    const last = this.#next - 1
    if (last < begun) return
    store.mark(this.#lane, last, MOVED)
    this.#underWay.push(last)
    commits.wait({
      committed: () => {
        this.#underWay.splice(this.#underWay.indexOf(last), 1)
        for (let seq = this.#moved + 1; seq <= last; seq++) store.settle(this.#lane, seq)
        this.#moved = Math.max(this.#moved, last)
        commits.scheduleLazily()
      },
      notCommitted: () => {
        this.#underWay.splice(this.#underWay.indexOf(last), 1)
        this.#failed.push(last)
        if (!this.#closed) this.#wake()
      },
    })
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
  #enter(message: Buffer, tag: number): Promise<unknown> | null {
    const { store, clock, counters } = this.#c
    const publication = new Publication()
    try {
      publication.load(message, clock.now())
    } catch (error) {
      // Not ours, and never to be read: those behind it must not wait for it.
      if (!(error instanceof SluiceError)) throw error
      this.#c.failed(error)
      return null
    }
    numberFrom(tag, publication)
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
