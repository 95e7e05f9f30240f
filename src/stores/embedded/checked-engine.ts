/** An engine whose records are sealed: what the disk gives back is checked before anybody sees it. */
import type { SluiceError } from '../../errors.ts'
import { fits, unsealed } from './checksum.ts'
import type { Engine, Entry, WriteBatch } from './engine.ts'
import { isBare, isWellFormed } from './keys.ts'

/** What LMDB takes at our page size. */
const KEY_BYTES_MAX = 1978

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
    // An answer without any means the end of the range.
    for (let wanted = limit; ; wanted *= 4) {
      const found = this.#engine.keys(start, end, wanted)
      const whole = found.filter((key) => this.#isKey(key, start))
      if (whole.length > 0 || found.length < wanted) return whole.slice(0, limit)
    }
  }

  entries(start: Buffer, end: Buffer, limit: number): Entry[] {
    for (let wanted = limit; ; wanted *= 4) {
      const found = this.#engine.entries(start, end, wanted)
      const whole: Entry[] = []
      for (const { key, value } of found) {
        const checked = this.#isKey(key, start) ? this.#check(key, value) : undefined
        if (checked !== undefined) whole.push({ key, value: checked })
      }
      if (whole.length > 0 || found.length < wanted) return whole.slice(0, limit)
    }
  }

  /** Those that are known to be damaged are passed over: what they say of themselves may not be so. */
  lastKey(low: Buffer, high: Buffer): Buffer | undefined {
    for (let below = high; ; ) {
      const key = this.#engine.lastKey(low, below)
      if (key === undefined || below.compare(key) < 0) return undefined
      if (this.#isKey(key, low) && !this.isDamaged(key)) return key
      below = before(key)
    }
  }

  /** As `entries`, with the seals, which are not looked at yet (`isWhole`). */
  sealedEntries(start: Buffer, end: Buffer, limit: number): Entry[] {
    return this.#engine.entries(start, end, limit)
  }

  isDamaged(key: Buffer): boolean {
    return this.#reported.size > 0 && this.#reported.has(key.toString('latin1'))
  }

  /** Whether the record is what was written. */
  isWhole(key: Buffer, value: Buffer): boolean {
    if (isWellFormed(key) && (isBare(key) || fits(key, value))) return true
    this.#report(key)
    return false
  }

  async relax(): Promise<void> {
    await this.#engine.relax?.()
  }

  bytesOnDisk(): number {
    return this.#engine.bytesOnDisk()
  }

  /** Whether it is one of ours; a key that changed may stand where it does not belong. */
  #isKey(key: Buffer, from: Buffer): boolean {
    if (isWellFormed(key) && from.compare(key) <= 0) return true
    this.#report(key)
    return false
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

/** No key that an engine takes lies between this and `key`. */
function before(key: Buffer): Buffer {
  const last = key.at(-1)!
  const rest = key.subarray(0, -1)
  return last === 0
    ? rest
    : Buffer.concat([rest, Buffer.from([last - 1]), Buffer.alloc(KEY_BYTES_MAX - key.length, 0xff)])
}
