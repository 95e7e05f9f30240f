/**
 * Retained messages that are not durable yet. The index shows what was published last; when its group of writes fails, what
 * was durable before is shown again, as it is on disk.
 *
 *     durable ──put, delete──▶ pending ──group durable──▶ durable
 *        ▲                        └────group undone──┐
 *        └───────────────────────────────────────────┘
 *
 * Whoever looks in between sees the pending one, as whoever is subscribed was sent it: a subscriber may hear of a message
 * that is then refused to its publisher; nobody hears of it any more afterwards.
 */
import { ownMemory } from '../base/own-memory.ts'
import type { Store } from '../store.ts'
import { RetainedIndex } from './retained.ts'

/** What one group changed: the messages that were there before, by topic. */
type Before = Map<string, Buffer | undefined>

export class RetainedJournal {
  readonly index = new RetainedIndex()
  readonly #store: Store
  /** Of groups that are not decided, oldest first. */
  readonly #undecided: Before[] = []
  /** Of the open group, where it is known to the store. */
  #open: Before | null = null

  constructor(store: Store) {
    this.#store = store
  }

  /** Replaces the message of the topic. The store gets the buffer, the index a copy where it is a part of a larger one. */
  put(topic: string, message: Buffer): void {
    this.#note(topic, this.index.get(topic))
    this.index.set(topic, ownMemory(message))
    this.#store.putRetained(topic, message)
  }

  /** False when there was none. */
  delete(topic: string): boolean {
    const before = this.index.get(topic)
    if (before === undefined) return false
    this.#note(topic, before)
    this.index.delete(topic)
    this.#store.deleteRetained(topic)
    return true
  }

  #note(topic: string, before: Buffer | undefined): void {
    const open = this.#open ?? this.#begin()
    if (!open.has(topic)) open.set(topic, before)
  }

  #begin(): Before {
    const group: Before = new Map()
    this.#open = group
    this.#undecided.push(group)
    const closed = (): void => {
      if (this.#open === group) this.#open = null
    }
    const decided = (failure: unknown): void => {
      closed()
      this.#undecided.splice(this.#undecided.indexOf(group), 1)
      if (failure !== null) for (const [topic, before] of group) this.#restore(topic, before)
    }
    this.#store.watchGroup(closed, decided)
    return group
  }

  /** Groups fail together with those after them: what those changed was made on top of what is taken back here. */
  #restore(topic: string, before: Buffer | undefined): void {
    for (const later of this.#undecided) {
      if (!later.has(topic)) continue
      later.set(topic, before)
      return
    }
    if (before === undefined) this.index.delete(topic)
    else this.index.set(topic, before)
  }
}
