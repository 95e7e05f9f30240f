/** What a heap keeps: a key to order by, and a place for the heap to remember where the item sits. */
export interface HeapItem {
  /** Smallest first. Must not change while the item is in a heap. */
  key: number
  /** Owned by the heap; -1: in none. An item is in one heap at most. */
  heapIndex: number
}

/** Binary min-heap that can also remove from the middle, so that what is over leaves nothing behind. */
export class Heap<T extends HeapItem> {
  #items: T[] = []

  get size(): number {
    return this.#items.length
  }

  peek(): T | undefined {
    return this.#items[0]
  }

  push(item: T): void {
    this.#items.push(item)
    this.#up(item, this.#items.length - 1)
  }

  pop(): T | undefined {
    const top = this.#items[0]
    if (top !== undefined) this.remove(top)
    return top
  }

  /** Items that are in no heap are ignored. */
  remove(item: T): void {
    const at = item.heapIndex
    if (at < 0) return
    item.heapIndex = -1
    const last = this.#items.pop()!
    if (last === item) return
    if (last.key < item.key) this.#up(last, at)
    else this.#down(last, at)
  }

  clear(): void {
    for (const item of this.#items) item.heapIndex = -1
    this.#items = []
  }

  #up(item: T, from: number): void {
    const items = this.#items
    let at = from
    while (at > 0) {
      const above = (at - 1) >> 1
      const parent = items[above]!
      if (parent.key <= item.key) break
      items[at] = parent
      parent.heapIndex = at
      at = above
    }
    items[at] = item
    item.heapIndex = at
  }

  #down(item: T, from: number): void {
    const items = this.#items
    let at = from
    for (;;) {
      let below = 2 * at + 1
      if (below >= items.length) break
      if (below + 1 < items.length && items[below + 1]!.key < items[below]!.key) below++
      const child = items[below]!
      if (child.key >= item.key) break
      items[at] = child
      child.heapIndex = at
      at = below
    }
    items[at] = item
    item.heapIndex = at
  }
}
