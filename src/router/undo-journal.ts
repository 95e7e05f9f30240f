/**
 * What is changed in memory together with a write to the store, so that it can be taken back with it. A key is noted with its
 * value before the first change of a group; when the group fails, that value is given back.
 *
 *     durable ──change──▶ pending ──group durable──▶ durable
 *        ▲                   └────group undone──┐
 *        └──────────────────────────────────────┘
 */
import type { Store } from '../store.ts'

export class UndoJournal<V> {
  readonly #store: Pick<Store, 'watchGroup'>
  readonly #takeBack: (key: string, before: V) => void
  /** Of groups that are not decided, oldest first: values before the group, by key. */
  readonly #undecided: Map<string, V>[] = []
  /** Of the group that is open in the store, where it is watched. */
  #open: Map<string, V> | null = null

  /** @param takeBack makes `before` the value again, in memory only */
  constructor(store: Pick<Store, 'watchGroup'>, takeBack: (key: string, before: V) => void) {
    this.#store = store
    this.#takeBack = takeBack
  }

  /** To be called before a change that is written in the same turn. */
  note(key: string, before: V): void {
    const open = this.#open ?? this.#begin()
    if (!open.has(key)) open.set(key, before)
  }

  #begin(): Map<string, V> {
    const group = new Map<string, V>()
    this.#open = group
    this.#undecided.push(group)
    const closed = (): void => {
      if (this.#open === group) this.#open = null
    }
    const decided = (failure: unknown): void => {
      closed()
      const at = this.#undecided.indexOf(group)
      this.#undecided.splice(at, 1)
      if (failure !== null) for (const [key, before] of group) this.#restore(key, before, at)
    }
    this.#store.watchGroup(closed, decided)
    return group
  }

  /** Groups fail together with those after them, from `at` on: what those changed was made on top of what is taken back. */
  #restore(key: string, before: V, at: number): void {
    const later = this.#undecided.find((group, i) => i >= at && group.has(key))
    if (later === undefined) this.#takeBack(key, before)
    else later.set(key, before)
  }
}
