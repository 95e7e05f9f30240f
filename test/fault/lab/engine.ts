/**
 * A storage engine on a disk that outlives it: commits are delayed, refused or cut off by a crash, as the lab's rules say.
 *
 *     given ──(delay)──▶ fate ─┬─ pass ─────────▶ on disk ──▶ done(null)
 *                              ├─ refuse ───────▶ done(failure), with every batch given before that
 *                              ├─ crash before ─▶ the process is gone, nothing on disk
 *                              └─ crash after ──▶ on disk, the process is gone and never hears of it
 */
import { SluiceError } from '../../../src/errors.ts'
import type { Engine, Entry, WriteBatch } from '../../../src/stores/embedded/engine.ts'
import { type MemoryDisk, MemoryEngine } from '../../../src/stores/embedded/memory-engine.ts'

export type Fate = 'pass' | 'refuse' | 'crash before' | 'crash after'

export interface EngineRules {
  /** Asked for each batch when its turn comes. */
  fate(batch: WriteBatch): Fate
  /** Called before `fate`: the batch waits until `go` is called. */
  delay(go: () => void): void
  /** Called before each read; may throw. */
  read(): void
  /** The process ends here. */
  crash(): void
}

/** A disk that does what it is told. */
export const soundDisk: EngineRules = { fate: () => 'pass', delay: (go) => go(), read: () => {}, crash: () => {} }

export class LabEngine implements Engine {
  readonly kind = 'memory'
  readonly durable = true
  readonly underWayMax = 2
  readonly overlapBytes = 0
  readonly #inner: MemoryEngine
  readonly #rules: EngineRules
  #waiting: { batch: WriteBatch; done: (failure: SluiceError | null) => void }[] = []
  #working = false
  #dead = false
  /** Batches that reached the disk or were refused. */
  finished = 0

  constructor(disk: MemoryDisk, rules: EngineRules) {
    this.#inner = new MemoryEngine(disk)
    this.#rules = rules
  }

  /** Nothing reaches the disk any more, and nobody is answered. */
  cut(): void {
    this.#dead = true
  }

  get idle(): boolean {
    return this.#dead || this.#waiting.length === 0
  }

  async open(): Promise<void> {}
  async close(): Promise<void> {
    this.#dead = true
  }

  commit(batch: WriteBatch, done: (failure: SluiceError | null) => void): void {
    if (this.#dead) return
    this.#waiting.push({ batch, done })
    if (!this.#working) this.#work()
  }

  #work(): void {
    this.#working = true
    this.#rules.delay(() => queueMicrotask(() => this.#decide()))
  }

  #decide(): void {
    if (this.#dead) return
    const { batch, done } = this.#waiting[0]!
    const fate = this.#rules.fate(batch)
    if (fate === 'crash before') return this.#rules.crash()
    if (fate === 'refuse') return this.#refuse()
    this.#inner.commit(batch, () => {})
    if (fate === 'crash after') return this.#rules.crash()
    this.#waiting.shift()
    this.finished++
    done(null)
    this.#next()
  }

  #refuse(): void {
    const refused = this.#waiting.splice(0)
    this.finished += refused.length
    for (const { done } of refused) done(new SluiceError('store_unavailable', 'the lab broke the store'))
    this.#next()
  }

  #next(): void {
    if (this.#waiting.length > 0) this.#work()
    else this.#working = false
  }

  #read(): void {
    if (!this.#dead) this.#rules.read()
  }

  get(key: Buffer): Buffer | undefined {
    this.#read()
    return this.#inner.get(key)
  }
  keys(start: Buffer, end: Buffer, limit: number): Buffer[] {
    this.#read()
    return this.#inner.keys(start, end, limit)
  }
  entries(start: Buffer, end: Buffer, limit: number): Entry[] {
    this.#read()
    return this.#inner.entries(start, end, limit)
  }
  lastKey(low: Buffer, high: Buffer): Buffer | undefined {
    this.#read()
    return this.#inner.lastKey(low, high)
  }
  bytesOnDisk(): number {
    return this.#inner.bytesOnDisk()
  }
}
