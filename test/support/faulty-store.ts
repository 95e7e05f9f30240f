/**
 * Store faults on command: a layer between the embedded store and its engine that delays, holds or refuses commits. A
 * refused commit leaves nothing of its group behind, as with a full disk.
 */
import { systemClock } from '../../src/base/clock.ts'
import { SluiceError } from '../../src/errors.ts'
import type { Store } from '../../src/store.ts'
import type { Engine, WriteBatch } from '../../src/stores/embedded/engine.ts'
import { MemoryEngine } from '../../src/stores/embedded/memory-engine.ts'
import { EmbeddedStore } from '../../src/stores/embedded/store.ts'
import { LmdbEngine } from '../../src/stores/lmdb/engine.ts'

export class StoreFaults {
  /** Every commit is refused. */
  failing = false
  /** With what; null: a fault of the test. */
  error: SluiceError | null = null
  /** Every commit takes at least this long. */
  delayMs = 0
  private held: Promise<void> = Promise.resolve()
  private letGo: () => void = () => {}

  heal(): void {
    this.failing = false
    this.error = null
    this.delayMs = 0
    this.release()
  }
  /** No commit gets through until `release`. */
  hold(): void {
    this.held = new Promise((resolve) => {
      this.letGo = resolve
    })
  }
  release(): void {
    this.letGo()
    this.held = Promise.resolve()
  }

  /** What a commit has to go through. */
  async passage(): Promise<void> {
    const { delayMs, held } = this
    if (delayMs > 0) await new Promise((resolve) => setTimeout(resolve, delayMs))
    await held
    if (this.failing) throw this.error ?? new SluiceError('store_unavailable', 'the test broke the store')
  }

  /** An embedded store whose commits go through `passage`. */
  store(kind: 'memory' | 'lmdb', dir: string): Store {
    const engine = kind === 'memory' ? new MemoryEngine() : new LmdbEngine(dir)
    return new EmbeddedStore(new FaultyEngine(engine, this), { clock: systemClock })
  }
}

class FaultyEngine implements Engine {
  private readonly inner: Engine
  private readonly faults: StoreFaults
  private last: Promise<void> = Promise.resolve()
  private refusals = 0

  constructor(inner: Engine, faults: StoreFaults) {
    this.inner = inner
    this.faults = faults
  }
  get underWayMax() {
    return this.inner.underWayMax
  }
  get overlapBytes() {
    return this.inner.overlapBytes
  }
  get broken() {
    return this.inner.broken
  }
  get kind() {
    return this.inner.kind
  }
  get durable() {
    return this.inner.durable
  }
  /** One after the other; a refusal takes those with it that were given before it was known. */
  commit(batch: WriteBatch, done: (failure: SluiceError | null) => void): void {
    const given = this.refusals
    const pass = async () => {
      const refusal = await this.faults.passage().catch((error: SluiceError) => error)
      if (given === this.refusals && !refusal)
        return new Promise<void>((go) => this.inner.commit(batch, afterwards(go)))
      await new Promise((resolve) => setImmediate(resolve))
      this.refusals++
      done(refusal ?? new SluiceError('store_unavailable', 'the test broke the store before'))
    }
    const afterwards = (go: () => void) => (failure: SluiceError | null) => {
      done(failure)
      go()
    }
    this.last = this.last.then(pass)
  }
  open(): Promise<void> {
    return this.inner.open()
  }
  close(): Promise<void> {
    return this.inner.close()
  }
  get(key: Buffer) {
    return this.inner.get(key)
  }
  keys(start: Buffer, end: Buffer, limit: number) {
    return this.inner.keys(start, end, limit)
  }
  entries(start: Buffer, end: Buffer, limit: number) {
    return this.inner.entries(start, end, limit)
  }
  lastKey(low: Buffer, high: Buffer) {
    return this.inner.lastKey(low, high)
  }
  bytesOnDisk(): number {
    return this.inner.bytesOnDisk()
  }
}
