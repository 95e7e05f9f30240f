import { ownMemory } from '../base/own-memory.ts'
import type { Store } from '../store.ts'
import { RetainedIndex } from './retained.ts'
import { UndoJournal } from './undo-journal.ts'

/**
 * Changes retained messages in memory and in the store. The index shows what was published last; when its group of writes
 * fails, what was durable before is shown again, as it is on disk. Who looks in between sees the pending one, as
 * whoever is subscribed was sent it: a subscriber may hear of a message that is then refused to its publisher.
 */
export class RetainedJournal {
  readonly index = new RetainedIndex()
  readonly #store: Store
  readonly #undo: UndoJournal<Buffer | undefined>

  constructor(store: Store) {
    this.#store = store
    this.#undo = new UndoJournal(store, (topic, before) => {
      if (before === undefined) this.index.delete(topic)
      else this.index.set(topic, before)
    })
  }

  /** Replaces the message of the topic. The store gets the buffer, the index a copy where it is a part of a larger one. */
  put(topic: string, message: Buffer): void {
    this.#undo.note(topic, this.index.get(topic))
    this.#store.putRetained(topic, message)
    this.index.set(topic, ownMemory(message))
  }

  /** False when there was none. */
  delete(topic: string): boolean {
    const before = this.index.get(topic)
    if (before === undefined) return false
    this.#undo.note(topic, before)
    this.#store.deleteRetained(topic)
    this.index.delete(topic)
    return true
  }
}
