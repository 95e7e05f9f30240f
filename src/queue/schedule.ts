import type { Clock } from '../base/clock.ts'
import type { Chunk, Lane, LaneTarget, Store } from '../store.ts'
import { Heap, type HeapItem } from './heap.ts'
import { keepLane } from './keep-lane.ts'
import { LeaseTimer } from './lease-timer.ts'
import { decodeTerms, deliverAtOf, type EntryTerms } from './terms.ts'

/** Messages of one lane are due within this time. Only those of lanes whose time is near are kept in mind. */
const BUCKET_MS = 600_000
/** Pause before the next try when the store fails. */
const RETRY_MS = 1000
/** Timers reach no further; it is looked again then. */
const LOOK_MS_MAX = 86_400_000
/** Messages moved with one commit. */
const MOVED_MAX = 1000
/** The mark of a message that is in the queue already; only its settlement here is missing. */
const MOVED = Buffer.from([1])
const PREFIX = 'qs/'

/** A message whose time is near. */
class Planned implements HeapItem {
  key: number
  heapIndex = -1
  readonly bucket: Bucket
  readonly seq: number
  constructor(bucket: Bucket, seq: number, key: number) {
    this.bucket = bucket
    this.seq = seq
    this.key = key
  }
}

/** The messages that are due between `number × BUCKET_MS` and the next. */
interface Bucket {
  readonly number: number
  readonly lane: Lane
  /** Resolves when the lane is this node's. */
  readonly kept: Promise<void>
  /** `far`: only counted. `near`: every message is in the heap. */
  state: 'far' | 'reading' | 'near'
  /** Everything before it has been read. */
  end: number
  /** Messages in the heap or on their way into the queue. */
  planned: number
}

export interface ScheduleParts {
  readonly queue: string
  readonly store: Store
  readonly clock: Clock
  commit(): Promise<void>
  /** Where a message goes when its time has come. */
  targets(terms: EntryTerms): readonly LaneTarget[]
  onError(error: unknown): void
}

/**
 * Messages that nobody gets before a time. They wait in lanes by the time they are due, and move into the queue when it has
 * come: the entry there and a mark here are one group, and only when that is durable the entry here is settled. Memory
 * holds a few words for each message due within 20 minutes, nothing for the others.
 *
 *     far ──its 10 minutes come near──▶ near ──due──▶ in the queue, marked here ──durable──▶ settled
 */
export class Schedule {
  readonly #parts: ScheduleParts
  readonly #buckets = new Map<number, Bucket>()
  readonly #due = new Heap<Planned>()
  readonly #timer: LeaseTimer
  #look: (() => void) | null = null
  #lookAt = Number.POSITIVE_INFINITY
  #moving = false
  #closed = false

  constructor(parts: ScheduleParts) {
    this.#parts = parts
    this.#timer = new LeaseTimer(parts.clock, this.#due, () => {
      void this.#move()
      return false
    })
  }

  /** The queues of which the store holds scheduled messages. */
  static queues(store: Store): Set<string> {
    return new Set(store.laneNames(PREFIX).map((name) => name.slice(name.indexOf('/', PREFIX.length) + 1)))
  }

  /** Messages that wait for their time. */
  get waiting(): number {
    if (this.#buckets.size === 0) return 0
    let total = 0
    for (const { lane } of this.#buckets.values()) total += lane.waiting
    return total
  }

  async open(): Promise<void> {
    const { store, queue } = this.#parts
    for (const name of store.laneNames(PREFIX)) {
      const slash = name.indexOf('/', PREFIX.length)
      if (name.slice(slash + 1) !== queue) continue
      const bucket = this.#bucket(Number(name.slice(PREFIX.length, slash)))
      await bucket.kept
      for (const { seq } of await store.marks(bucket.lane)) store.settle(bucket.lane, seq)
    }
    await this.#approach()
  }

  close(): void {
    this.#closed = true
    this.#timer.stop()
    this.#look?.()
    for (const { lane } of this.#buckets.values()) lane.onCommitted = null
  }

  /** The lane for a message that is due then, wall clock ms. */
  laneFor(deliverAt: number): Lane {
    const bucket = this.#bucket(Math.floor(deliverAt / BUCKET_MS))
    if (bucket.state === 'far' && !this.#closed) this.#lookBy(this.#nearAt(bucket))
    return bucket.lane
  }

  #bucket(number: number): Bucket {
    const known = this.#buckets.get(number)
    if (known !== undefined) return known
    const lane = this.#parts.store.lane(`${PREFIX}${number}/${this.#parts.queue}`)
    const kept = keepLane(this.#parts.store, lane)
    const bucket: Bucket = { number, lane, kept, state: 'far', end: 1, planned: 0 }
    lane.onCommitted = (chunk) => {
      if (bucket.state === 'near') this.#plan(bucket, chunk)
    }
    this.#buckets.set(number, bucket)
    return bucket
  }

  /** When the bucket's messages have to be known, wall clock ms. */
  #nearAt({ number }: Bucket): number {
    return (number - 1) * BUCKET_MS
  }

  #lookBy(at: number): void {
    if (at >= this.#lookAt) return
    this.#look?.()
    this.#lookAt = at
    const ms = Math.min(LOOK_MS_MAX, Math.max(0, at - this.#parts.clock.now()))
    this.#look = this.#parts.clock.after(ms, () => void this.#approach())
  }

  /** Reads the buckets that have come near. */
  async #approach(): Promise<void> {
    this.#look = null
    this.#lookAt = Number.POSITIVE_INFINITY
    for (const bucket of this.#buckets.values()) {
      if (this.#closed) return
      if (bucket.state !== 'far') continue
      if (this.#nearAt(bucket) > this.#parts.clock.now()) {
        this.#lookBy(this.#nearAt(bucket))
        continue
      }
      bucket.state = 'reading'
      try {
        await this.#read(bucket)
      } catch (error) {
        bucket.state = 'far'
        this.#parts.onError(error)
        this.#lookBy(this.#parts.clock.now() + RETRY_MS)
      }
    }
  }

  async #read(bucket: Bucket): Promise<void> {
    await bucket.kept
    for (;;) {
      const chunk = await this.#parts.store.read(bucket.lane, bucket.end)
      if (chunk !== null) {
        this.#plan(bucket, chunk)
        continue
      }
      // Nothing may be committed between a read that saw nothing and listening.
      if (bucket.end >= bucket.lane.nextSeq || bucket.lane.waiting === bucket.planned) break
      await this.#parts.commit()
    }
    bucket.state = 'near'
  }

  #plan(bucket: Bucket, chunk: Chunk): void {
    const { clock } = this.#parts
    const shift = clock.monotonic() - clock.now()
    for (let i = Math.max(0, bucket.end - chunk.firstSeq); i < chunk.count; i++) {
      if (chunk.isSettled(i) || chunk.markOf(i) !== undefined) continue
      const seq = chunk.firstSeq + i
      // Less than a millisecond apart: of those due at one time the first that came goes first.
      const order = (seq % 1_000_000) / 1_000_000 - 1
      this.#due.push(new Planned(bucket, seq, deliverAtOf(chunk.extras?.[i] ?? null) + shift + order))
      bucket.planned++
    }
    bucket.end = Math.max(bucket.end, chunk.firstSeq + chunk.count)
    this.#timer.arm()
  }

  /** Moves what is due into the queue. */
  async #move(): Promise<void> {
    if (this.#moving) return
    this.#moving = true
    for (let batch = this.#take(); batch.length > 0 && !this.#closed; batch = this.#take()) {
      try {
        await this.#moveBatch(batch)
      } catch (error) {
        this.#parts.onError(error)
        for (const planned of batch) {
          planned.key = this.#parts.clock.monotonic() + RETRY_MS
          this.#due.push(planned)
        }
      }
    }
    this.#moving = false
    if (!this.#closed) this.#timer.arm()
  }

  /** Messages that are due. */
  #take(): Planned[] {
    const batch: Planned[] = []
    const now = this.#parts.clock.monotonic()
    for (let next = this.#due.peek(); next !== undefined && next.key <= now; next = this.#due.peek()) {
      if (batch.length >= MOVED_MAX) break
      batch.push(this.#due.pop()!)
    }
    return batch
  }

  async #moveBatch(batch: readonly Planned[]): Promise<void> {
    const { store, commit, onError } = this.#parts
    const found: (Chunk | null)[] = []
    for (const { bucket, seq } of batch) found.push(await store.read(bucket.lane, seq))
    for (const [i, { bucket, seq }] of batch.entries()) this.#append(bucket, seq, found[i]!)
    await commit()
    for (const { bucket, seq } of batch) {
      store.settle(bucket.lane, seq)
      bucket.planned--
    }
    this.#dropEmpty()
    commit().catch(onError)
  }

  #append(bucket: Bucket, seq: number, chunk: Chunk | null): void {
    const index = chunk === null ? -1 : seq - chunk.firstSeq
    if (chunk === null || index < 0 || chunk.isSettled(index)) return
    const { deliverAt: _, ...terms } = decodeTerms(chunk.extras?.[index] ?? null)
    this.#parts.store.append(chunk.message(index), this.#parts.targets(terms))
    this.#parts.store.mark(bucket.lane, seq, MOVED)
  }

  /** Lanes whose time is over, by the clocks of all nodes that may write there. */
  #dropEmpty(): void {
    const current = Math.floor(this.#parts.clock.now() / BUCKET_MS)
    for (const bucket of this.#buckets.values()) {
      const over = bucket.state === 'near' && bucket.number < current - 1
      if (!over || bucket.planned > 0 || bucket.lane.waiting > 0) continue
      this.#buckets.delete(bucket.number)
      this.#parts.store.dropLane(bucket.lane)
    }
  }
}
