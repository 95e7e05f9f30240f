import type { Chunk, Lane } from '../store.ts'
import type { DeadLetter } from './dead-letter.ts'
import type { Entry } from './entry.ts'
import type { LeaseBook } from './lease-book.ts'
import { decodeFailures } from './marks.ts'
import type { QueueParts } from './settings.ts'
import { decodeTerms, encodeTerms } from './terms.ts'

export interface UndertakerHooks {
  /** The message's id in this queue. */
  idOf(seq: number): string
  onBuried(entry: Entry): void
  onError(error: unknown): void
}

/** Pause before the next try when the store fails. */
const RETRY_MS = 1000

/**
 * Moves messages that used up their attempts to the dead-letter queue, one after the other. The dead letter and a mark
 * that says so here are one group; only when it is durable the message is settled here. So it is never lost, and a
 * crash in between does not make two of it.
 *
 *     dying ──append there, mark here──▶ buried ──durable──▶ settled
 *       ▲                                  │
 *       └────────── not durable ───────────┘
 */
export class Undertaker {
  readonly #parts: QueueParts
  readonly #lane: Lane
  readonly #book: LeaseBook
  readonly #hooks: UndertakerHooks
  #waiting: Entry[] = []
  #running: Promise<void> | null = null

  constructor(parts: QueueParts, lane: Lane, book: LeaseBook, hooks: UndertakerHooks) {
    this.#parts = parts
    this.#lane = lane
    this.#book = book
    this.#hooks = hooks
  }

  /** Takes a condemned entry; its mark brings it here again if the process dies first. */
  take(entry: Entry): void {
    this.#waiting.push(entry)
    this.#running ??= this.#run()
  }

  /** Resolves when everything taken so far has been settled here, in an open or closed group, or has met an error. */
  async done(): Promise<void> {
    await this.#running
  }

  async #run(): Promise<void> {
    // Entries condemned in one turn, e.g. by a lease of many messages that ran out, are moved together.
    await null
    const entries = this.#waiting
    this.#waiting = []
    const appended: Entry[] = []
    try {
      await this.#appendAll(entries, appended)
    } catch (error) {
      this.#retry(entries.slice(appended.length), error)
    }
    try {
      await this.#parts.commit()
      for (const entry of appended) {
        this.#book.buried(entry)
        this.#hooks.onBuried(entry)
      }
    } catch (error) {
      this.#retry(appended, error)
    }
    this.#running = this.#waiting.length > 0 ? this.#run() : null
  }

  async #appendAll(entries: readonly Entry[], appended: Entry[]): Promise<void> {
    let chunk: Chunk | null = null
    for (const entry of entries) {
      if (chunk === null || entry.seq < chunk.firstSeq || entry.seq >= chunk.firstSeq + chunk.count)
        chunk = await this.#parts.store.read(this.#lane, entry.seq)
      if (chunk !== null) this.#append(entry, chunk, entry.seq - chunk.firstSeq)
      appended.push(entry)
    }
  }

  #retry(entries: readonly Entry[], error: unknown): void {
    // What was to be their mark is taken back; `onError` has it written anew.
    for (const entry of entries) entry.state = 'dying'
    this.#hooks.onError(error)
    this.#parts.clock.after(RETRY_MS, () => {
      for (const entry of entries) this.take(entry)
    })
  }

  #append(entry: Entry, chunk: Chunk, index: number): void {
    const { name, store, clock } = this.#parts
    if (index < 0 || index >= chunk.count || chunk.isSettled(index)) return
    const message = chunk.message(index)
    const terms = decodeTerms(chunk.extras?.[index] ?? null)
    const earlier = terms.deadLetter
    const id = terms.id ?? earlier?.id ?? this.#hooks.idOf(entry.seq)
    const letter: DeadLetter = {
      // A dead letter that fails again keeps the name it had first.
      queue: earlier?.queue ?? name,
      id,
      attempts: (earlier?.attempts ?? 0) + entry.attempt,
      at: clock.now(),
      failures: [...(earlier?.failures ?? []), ...decodeFailures(entry.history)],
    }
    if (terms.priority !== undefined) letter.priority = terms.priority
    // Dead letters wait for people: their time is not over, and they have no priority.
    const { expiresAt: _, deliverAt: __, priority: ___, ...kept } = terms
    const extra = encodeTerms({ ...kept, id, deadLetter: letter })
    const targets = [{ lane: this.#parts.deadLane(), tag: 0, extra }]
    // The mark first: it can be taken back when the letter cannot be written, a letter cannot.
    this.#book.markBuried(entry)
    try {
      store.append(message, targets)
    } catch (error) {
      this.#book.unbury(entry)
      throw error
    }
  }
}
