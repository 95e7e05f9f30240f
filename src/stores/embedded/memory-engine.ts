/** The engine of the memory adapter: the same atomic batches, kept in the process and gone with it. */
import type { Engine, Entry, WriteBatch } from './engine.ts'
import { SortedMap } from './sorted-map.ts'

/**
 * What a memory engine holds. Giving the same one to a second engine reopens it, as tests do.
 */
export class MemoryDisk {
  readonly map = new SortedMap()
}

export class MemoryEngine implements Engine {
  readonly kind = 'memory'
  readonly durable = false
  readonly underWayMax = 2
  readonly overlapBytes = 0
  readonly #map: SortedMap

  constructor(disk: MemoryDisk = new MemoryDisk()) {
    this.#map = disk.map
  }

  async open(): Promise<void> {}
  async close(): Promise<void> {}

  commit(batch: WriteBatch, done: (failure: null) => void): void {
    for (let i = 0; i < batch.keys.length; i++) {
      const key = batch.keys[i]!.toString('latin1')
      const value = batch.values[i]!
      if (value === null) this.#map.delete(key)
      else this.#map.set(key, Buffer.from(value))
    }
    queueMicrotask(() => done(null))
  }

  get(key: Buffer): Buffer | undefined {
    return this.#map.get(key.toString('latin1'))
  }

  keys(start: Buffer, end: Buffer, limit: number): Buffer[] {
    const found: Buffer[] = []
    if (limit <= 0) return found
    this.#map.scan(start.toString('latin1'), end.toString('latin1'), (key) => {
      found.push(Buffer.from(key, 'latin1'))
      return found.length < limit
    })
    return found
  }

  entries(start: Buffer, end: Buffer, limit: number): Entry[] {
    const found: Entry[] = []
    if (limit <= 0) return found
    this.#map.scan(start.toString('latin1'), end.toString('latin1'), (key, value) => {
      found.push({ key: Buffer.from(key, 'latin1'), value })
      return found.length < limit
    })
    return found
  }

  lastKey(low: Buffer, high: Buffer): Buffer | undefined {
    const key = this.#map.floorKey(high.toString('latin1'))
    return key === undefined || key < low.toString('latin1') ? undefined : Buffer.from(key, 'latin1')
  }

  bytesOnDisk(): number {
    return 0
  }
}
