import type { Chunk, Lane } from '../store.ts'
import { type DeadLetter, decodeDeadLetter, encodeDeadLetter } from './dead-letter.ts'
import type { Entry } from './entry.ts'
import type { LeaseBook } from './lease-book.ts'
import { decodeFailures } from './marks.ts'
import type { QueueParts } from './settings.ts'

export interface UndertakerHooks {
  /** The message's id in this queue. */
  idOf(seq: number): string
  onBuried(reason: string): void
  /** The store cannot be read. What was taken is still dying in the store. */
  onError(error: unknown): void
}

/**
 * Moves messages that used up their attempts to the dead-letter queue, one after the other. Append there and settle
 * here share a group, so a message is always in exactly one of the two queues.
 */
export class Undertaker {
  readonly #parts: QueueParts
  readonly #lane: Lane
  readonly #book: LeaseBook
  readonly #hooks: UndertakerHooks
  #waiting: Entry[] = []
  #running: Promise<void> | null = null
  #generation = 0

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

  /** Resolves when everything taken so far has been moved, in an open or closed group, or has met an error. */
  async done(): Promise<void> {
    await this.#running
  }

  /** Forgets what it was given: the queue reads its state from the store again. */
  reset(): void {
    this.#generation++
    this.#waiting = []
  }

  async #run(): Promise<void> {
    try {
      // Entries condemned in one turn, e.g. by a lease of many messages that ran out, are moved together.
      await null
      let chunk: Chunk | null = null
      for (let entry = this.#waiting.shift(); entry !== undefined; entry = this.#waiting.shift()) {
        const generation = this.#generation
        if (chunk === null || entry.seq < chunk.firstSeq || entry.seq >= chunk.firstSeq + chunk.count)
          chunk = await this.#parts.store.read(this.#lane, entry.seq)
        if (generation === this.#generation) this.#bury(entry, chunk)
      }
    } catch (error) {
      this.#waiting = []
      this.#hooks.onError(error)
    } finally {
      this.#running = null
    }
  }

  #bury(entry: Entry, chunk: Chunk | null): void {
    const { name, store, clock } = this.#parts
    const index = chunk === null ? -1 : entry.seq - chunk.firstSeq
    const message = chunk?.messages[index]
    const failures = decodeFailures(entry.history)
    if (chunk !== null && message !== undefined && !chunk.isSettled(index)) {
      const earlier = decodeDeadLetter(chunk.extras?.[index] ?? null)
      const letter: DeadLetter = {
        // A dead letter that fails again keeps the name it had first.
        queue: earlier?.queue ?? name,
        id: earlier?.id ?? this.#hooks.idOf(entry.seq),
        attempts: (earlier?.attempts ?? 0) + entry.attempt,
        at: clock.now(),
        failures: [...(earlier?.failures ?? []), ...failures],
      }
      store.append(message, [{ lane: this.#parts.deadLane(), tag: 0, extra: encodeDeadLetter(letter) }])
      this.#hooks.onBuried(failures.at(-1)?.reason ?? '')
    }
    this.#book.buried(entry)
  }
}
