import type { Random } from '../base/random.ts'
import type { Store } from '../store.ts'
import { defaultQueueSettings, type QueueSettings } from './settings.ts'

/** What the store keeps of a queue beside its messages. */
export interface QueueRecord {
  /** Drawn once when the queue is made: the first part of its message ids. */
  epoch: string
  paused?: boolean
  /** Consumer groups that were made while it ran. */
  groups?: string[]
  /** Settings that were given while it ran; they take the place of those in the config file. */
  settings?: QueueSettings
}

const PREFIX = 'queue/'

/** The durable facts about queues, as small named records of the store. Changes are durable with the next commit. */
export class QueueRecords {
  readonly #store: Store
  readonly #random: Random
  #known: Map<string, QueueRecord> | null = null
  #mine = false
  /** Queues whose record the store may not have. */
  readonly #takenBack = new Set<string>()

  constructor(store: Store, random: Random) {
    this.#store = store
    this.#random = random
  }

  /** The record of the queue, made when absent. */
  of(name: string): QueueRecord {
    const known = this.all.get(name)
    if (known !== undefined) return known
    return this.change(name, {})
  }

  /** Every record there is, by the name of its queue. */
  get all(): ReadonlyMap<string, QueueRecord> {
    // As long as another node may keep the queues, it may change them at any time.
    if (this.#store.shared !== null && !this.#mine) return this.#load()
    this.#known ??= this.#load()
    return this.#known
  }

  /** This node keeps the queues from now on: nobody else changes them any more. */
  take(): void {
    this.#known = null
    this.#mine = true
  }

  change(name: string, change: Partial<QueueRecord>): QueueRecord {
    const known = this.#map()
    const record = { ...(known.get(name) ?? { epoch: this.#random.id(8) }), ...change }
    known.set(name, record)
    this.#write(name, record)
    return record
  }

  /** The name. Writes the record again if a commit took it back: ids that were given must not change. */
  assured(name: string): string {
    const record = this.#takenBack.has(name) ? this.#map().get(name) : undefined
    if (record !== undefined) this.#write(name, record)
    return name
  }

  #write(name: string, record: QueueRecord): void {
    this.#store.putMeta(PREFIX + name, record)
    this.#takenBack.delete(name)
    const decided = (failure: unknown): void => {
      if (failure !== null) this.#takenBack.add(name)
    }
    this.#store.watchGroup(() => {}, decided)
  }

  remove(name: string): void {
    if (this.#map().delete(name)) this.#store.deleteMeta(PREFIX + name)
  }

  #map(): Map<string, QueueRecord> {
    this.#known ??= this.#load()
    return this.#known
  }

  #load(): Map<string, QueueRecord> {
    const records = new Map<string, QueueRecord>()
    for (const [key, value] of this.#store.meta(PREFIX)) {
      const record = value as Partial<QueueRecord>
      if (typeof record?.epoch !== 'string') continue
      // An earlier version knew fewer settings.
      if (record.settings !== undefined) record.settings = { ...defaultQueueSettings, ...record.settings }
      records.set(key.slice(PREFIX.length), record as QueueRecord)
    }
    return records
  }
}
