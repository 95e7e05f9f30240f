import type { DoorFields } from '../door.ts'

/**
 * `new`: leased, on its way out. `lying`: outside, for whoever comes. `taken`: a worker has it. `void`: a worker has it, but the place was
 * removed, so that nobody can say any more that it is done. `ending`: its fate is known, and is being written.
 *
 *     new ─▶ lying ─▶ taken ─▶ ending ─▶ (gone)
 *              │        └─▶ void ─▲
 *              └──────────────────┘
 */
export type LaidState = 'new' | 'lying' | 'taken' | 'void' | 'ending'

/** One message of a queue at its door. Times are monotonic ms. */
export class Laid {
  readonly receipt: string
  /** 1 = first. */
  readonly attempt: number
  /** Null once it was laid out. */
  fields: DoorFields | null
  state: LaidState = 'new'
  /** End of the queue's lease: later than that of the worker, so that the door decides who was in time. */
  heldUntil: number
  /** Since when it is at the door. */
  readonly since: number
  /** Who has it. */
  worker = ''
  takenAt = 0
  /** How long the worker may be silent, in ms. */
  termMs = 0
  /** When the time of the worker that has it ends at the earliest, as far as an earlier keeper granted it. */
  grantedUntil = 0
  /** Of its fields; 0: not known to this process. */
  readonly bytes: number
  /** It has been handed from worker to worker more often than it has attempts. */
  worn = false
  /** Seen in the hands of a worker by the report of this number. */
  seenIn = 0
  /** An extension of the queue's lease is under way. */
  extending = false
  #id = ''
  #ms = 0
  #n = 0

  constructor(receipt: string, attempt: number, fields: DoorFields | null, heldUntil: number, since: number) {
    this.receipt = receipt
    this.attempt = attempt
    this.fields = fields
    this.bytes = (fields ?? []).reduce((sum, value) => sum + value.length, 0)
    this.heldUntil = heldUntil
    this.since = since
  }

  /** Of the place outside; empty before it was laid. */
  get id(): string {
    return this.#id
  }

  laid(id: string): void {
    const [ms, n] = partsOf(id)
    this.#id = id
    this.#ms = ms
    this.#n = n
    this.state = 'lying'
    this.fields = null
  }

  /** Whether it lies behind this place. */
  isAfter(id: string): boolean {
    const [ms, n] = partsOf(id)
    return this.#ms > ms || (this.#ms === ms && this.#n > n)
  }

  /** A worker has it since then; a word of the worker counts as taking it anew. */
  taken(worker: string, takenAt: number, leaseMs: number): void {
    if (this.state === 'lying') this.state = 'taken'
    if (this.worker === '') this.termMs = Math.max(leaseMs, this.grantedUntil - takenAt)
    else if (this.worker !== worker) this.termMs = leaseMs
    this.worker = worker
    this.takenAt = takenAt
  }

  /** When the worker's time is over. */
  get deadline(): number {
    return this.takenAt + this.termMs
  }
}

function partsOf(id: string): [number, number] {
  const dash = id.indexOf('-')
  return [Number(id.slice(0, dash)), Number(id.slice(dash + 1))]
}
