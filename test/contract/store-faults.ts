/** An engine that fails or holds back commits on demand, over a real one. */
import { SluiceError } from '../../src/errors.ts'
import type { Engine, Entry, WriteBatch } from '../../src/stores/embedded/engine.ts'

export class FaultyEngine implements Engine {
  readonly kind
  readonly durable
  readonly underWayMax
  /** 0: two groups are under way whenever they can be, which is where most can go wrong. */
  overlapBytes = 0
  readonly #engine: Engine
  /** Commits still to be refused. */
  #failures = 0
  #waiting: { batch: WriteBatch; done: (failure: SluiceError | null) => void; failed: boolean }[] = []
  #working = false
  #cut = false
  #held: (() => void)[] | null = null
  /** Batches given so far, failed ones included. */
  batches = 0
  /** Writes in the last batch. */
  lastBatch: WriteBatch | null = null

  constructor(engine: Engine) {
    this.#engine = engine
    this.kind = engine.kind
    this.durable = engine.durable
    this.underWayMax = engine.underWayMax
  }

  /** Refuses the next `n` commits, and, as engines must, those given before the refusal was delivered. */
  failNext(n = 1): void {
    this.#failures += n
  }

  /** Refuses nothing more. */
  heal(): void {
    this.#failures = 0
  }

  /** Nothing reaches the engine any more and nothing is answered: the store over it is as good as dead. */
  cut(): void {
    this.#cut = true
  }

  /** Commits reach the engine only after `letGo`. */
  hold(): void {
    this.#held ??= []
  }

  letGo(): void {
    const held = this.#held ?? []
    this.#held = null
    for (const go of held) go()
  }

  commit(batch: WriteBatch, done: (failure: SluiceError | null) => void): void {
    if (this.#cut) return
    this.batches++
    this.lastBatch = batch
    const failed = this.#failures > 0
    if (failed) this.#failures--
    this.#waiting.push({ batch, done, failed })
    if (!this.#working) void this.#work()
  }

  /** Gives the batches to the engine one after another; a refusal takes those that have come in meanwhile with it. */
  async #work(): Promise<void> {
    this.#working = true
    while (this.#waiting.length > 0) {
      const { batch, failed } = this.#waiting[0]!
      const held = this.#held
      if (held !== null) await new Promise<void>((go) => held.push(go))
      await null
      const failure = failed
        ? new SluiceError('store_unavailable', 'A fault of the test.')
        : await new Promise<SluiceError | null>((resolve) => this.#engine.commit(batch, resolve))
      const answered = failure === null ? this.#waiting.splice(0, 1) : this.#waiting.splice(0)
      for (const { done } of answered) done(failure)
    }
    this.#working = false
  }

  get broken(): SluiceError | null {
    return this.#engine.broken ?? null
  }
  open(): Promise<void> {
    return this.#engine.open()
  }
  close(): Promise<void> {
    return this.#engine.close()
  }
  get(key: Buffer): Buffer | undefined {
    return this.#engine.get(key)
  }
  keys(start: Buffer, end: Buffer, limit: number): Buffer[] {
    return this.#engine.keys(start, end, limit)
  }
  entries(start: Buffer, end: Buffer, limit: number): Entry[] {
    return this.#engine.entries(start, end, limit)
  }
  lastKey(low: Buffer, high: Buffer): Buffer | undefined {
    return this.#engine.lastKey(low, high)
  }
  bytesOnDisk(): number {
    return this.#engine.bytesOnDisk()
  }
}
