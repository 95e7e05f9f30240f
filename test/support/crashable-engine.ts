import type { Engine, Entry, WriteBatch } from '../../src/stores/embedded/engine.ts'

/** An engine that can stop in the middle of everything: what it has not been given by then never happened. */
export class CrashableEngine implements Engine {
  readonly kind: Engine['kind']
  readonly durable: boolean
  readonly underWayMax: number
  readonly overlapBytes: number
  readonly #inner: Engine
  #crashed = false

  constructor(inner: Engine) {
    this.#inner = inner
    this.kind = inner.kind
    this.durable = inner.durable
    this.underWayMax = inner.underWayMax
    this.overlapBytes = inner.overlapBytes
  }

  /** From now on nothing is written and nobody is told. */
  async crash(): Promise<void> {
    this.#crashed = true
    await this.#inner.close()
  }

  open(): Promise<void> {
    return this.#inner.open()
  }
  async close(): Promise<void> {
    if (!this.#crashed) await this.#inner.close()
  }
  commit(batch: WriteBatch, done: Parameters<Engine['commit']>[1]): void {
    if (!this.#crashed) this.#inner.commit(batch, done)
  }
  get(key: Buffer): Buffer | undefined {
    return this.#crashed ? undefined : this.#inner.get(key)
  }
  keys(start: Buffer, end: Buffer, limit: number): Buffer[] {
    return this.#crashed ? [] : this.#inner.keys(start, end, limit)
  }
  entries(start: Buffer, end: Buffer, limit: number): Entry[] {
    return this.#crashed ? [] : this.#inner.entries(start, end, limit)
  }
  lastKey(low: Buffer, high: Buffer): Buffer | undefined {
    return this.#crashed ? undefined : this.#inner.lastKey(low, high)
  }
  bytesOnDisk(): number {
    return 0
  }
}
