/** An engine whose records are sealed: what the disk gives back is checked before anybody sees it. */
import type { SluiceError } from '../../errors.ts'
import { fits, unsealed } from './checksum.ts'
import type { Engine, Entry, WriteBatch } from './engine.ts'
import { isBare } from './keys.ts'

/** Keys of damaged records that are remembered, so that each is reported once. */
const REPORTED_MAX = 10_000

export class CheckedEngine implements Engine {
  readonly kind
  readonly durable
  readonly underWayMax
  readonly overlapBytes
  readonly #engine: Engine
  readonly #onDamage: (key: Buffer) => void
  readonly #reported = new Set<string>()

  /** @param onDamage hears of each damaged record once; it is treated as absent from then on */
  constructor(engine: Engine, onDamage: (key: Buffer) => void) {
    this.#engine = engine
    this.#onDamage = onDamage
    this.kind = engine.kind
    this.durable = engine.durable
    this.underWayMax = engine.underWayMax
    this.overlapBytes = engine.overlapBytes
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

  /** Values come sealed. */
  commit(batch: WriteBatch, done: (failure: SluiceError | null) => void): void {
    this.#engine.commit(batch, done)
  }

  get(key: Buffer): Buffer | undefined {
    const value = this.#engine.get(key)
    return value === undefined ? undefined : this.#check(key, value)
  }

  keys(start: Buffer, end: Buffer, limit: number): Buffer[] {
    return this.#engine.keys(start, end, limit)
  }

  entries(start: Buffer, end: Buffer, limit: number): Entry[] {
    let from = start
    for (;;) {
      const found = this.#engine.entries(from, end, limit)
      const last = found.at(-1)
      if (last === undefined) return []
      const whole: Entry[] = []
      for (const { key, value } of found) {
        const checked = this.#check(key, value)
        if (checked !== undefined) whole.push({ key, value: checked })
      }
      // An empty answer means the end of the range.
      if (whole.length > 0) return whole
      from = Buffer.concat([last.key, Buffer.from([0])])
    }
  }

  lastKey(low: Buffer, high: Buffer): Buffer | undefined {
    return this.#engine.lastKey(low, high)
  }

  /** As `entries`, with the seals, which are not looked at yet (`isWhole`). */
  sealedEntries(start: Buffer, end: Buffer, limit: number): Entry[] {
    return this.#engine.entries(start, end, limit)
  }

  /** Whether the record is what was written. */
  isWhole(key: Buffer, value: Buffer): boolean {
    if (fits(key, value)) return true
    this.#report(key)
    return false
  }

  async relax(): Promise<void> {
    await this.#engine.relax?.()
  }

  bytesOnDisk(): number {
    return this.#engine.bytesOnDisk()
  }

  #check(key: Buffer, value: Buffer): Buffer | undefined {
    if (isBare(key)) return value
    const checked = unsealed(key, value)
    if (checked !== undefined) return checked
    this.#report(key)
    return undefined
  }

  #report(key: Buffer): void {
    const name = key.toString('latin1')
    if (!this.#reported.has(name) && this.#reported.size < REPORTED_MAX) {
      this.#reported.add(name)
      this.#onDamage(key)
    }
  }
}
