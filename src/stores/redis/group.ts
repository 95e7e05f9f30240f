/** Everything written between two commits: what `group-bytes.ts` encodes and the script `group` applies. */
import type { Change, LaneTarget } from '../../store.ts'
import type { RedisChunk, SharedBody } from './chunk.ts'
import type { RedisLane } from './lane.ts'

/** Size of a body that is not known: the script looks. */
export const UNKNOWN = 0xffffffff

export interface Mark {
  bytes: Buffer | null
  /** The mark before, to go back to. */
  readonly before: Buffer | undefined
  readonly chunk: RedisChunk | undefined
}

/** What one group writes into one lane. */
export class LaneWrites {
  readonly lane: RedisLane
  messages: Buffer[] = []
  tags: number[] = []
  extras: (Buffer | null)[] | null = null
  shared: (SharedBody | null)[] | null = null
  /** Bytes of the bodies appended. */
  bytes = 0
  settled: number[] = []
  /** Parallel to `settled`: bytes of the body or UNKNOWN, id of the shared body or ''. */
  settledSizes: number[] = []
  settledShared: string[] = []
  /** Of the settled ones, those that the lane's numbers count already, and their bytes. */
  countedEntries = 0
  countedBytes = 0
  marks: Map<number, Mark> | null = null
  drops = false
  /** Marks that were taken back in memory, of a group that may be stored all the same. */
  doubted: Map<number, Mark> | null = null

  constructor(lane: RedisLane) {
    this.lane = lane
  }

  push(message: Buffer, tag: number, extra: Buffer | null, shared: SharedBody | null): void {
    const i = this.messages.length
    if (extra !== null && this.extras === null) this.extras = new Array<Buffer | null>(i).fill(null)
    if (shared !== null && this.shared === null) this.shared = new Array<SharedBody | null>(i).fill(null)
    this.messages.push(message)
    this.tags.push(tag)
    this.extras?.push(extra)
    this.shared?.push(shared)
    this.bytes += message.length
  }

  /** @param counted the lane's numbers have it as settled already */
  settle(seq: number, bytes: number, shared: string, counted: boolean): void {
    this.settled.push(seq)
    this.settledSizes.push(bytes)
    this.settledShared.push(shared)
    if (!counted) return
    this.countedEntries++
    if (bytes !== UNKNOWN) this.countedBytes += bytes
  }

  /** An entry that was settled before its number was given has one: its size counts from now on. */
  nowKnown(seq: number, bytes: number, shared: string): boolean {
    const i = this.settled.indexOf(seq)
    if (i < 0 || this.settledSizes[i] !== UNKNOWN) return false
    this.settledSizes[i] = bytes
    this.settledShared[i] = shared
    this.countedBytes += bytes
    return true
  }

  /** The lane goes: nothing else of what was written matters. */
  drop(): void {
    for (const body of this.shared ?? []) if (body !== null) body.refs--
    this.messages = []
    this.tags = []
    this.extras = null
    this.shared = null
    this.bytes = 0
    this.settled = []
    this.settledSizes = []
    this.settledShared = []
    this.marks = null
    this.drops = true
  }

  /** Leaves the appends and marks out: what a failed group keeps. */
  onlySettlements(): LaneWrites {
    const rest = new LaneWrites(this.lane)
    rest.settled = this.settled
    rest.settledSizes = this.settledSizes
    rest.settledShared = this.settledShared
    rest.countedEntries = this.countedEntries
    rest.countedBytes = this.countedBytes
    rest.drops = this.drops
    return rest
  }

  /** Leaves out settlements of other numbers, which count as `early` ones do: without bytes. */
  keepOnly(holds: (seq: number) => boolean): void {
    if (this.settled.every(holds)) return
    const { settled, settledSizes, settledShared } = this
    const left = settled.map((_, i) => i).filter((i) => holds(settled[i]!))
    this.countedEntries -= settled.length - left.length
    this.settled = left.map((i) => settled[i]!)
    this.settledSizes = left.map((i) => settledSizes[i]!)
    this.settledShared = left.map((i) => settledShared[i]!)
  }
}

/** One write to a table: `op` as in the script. */
export interface TableWrite {
  readonly op: string
  readonly key: string
  readonly more: string
  readonly value: string | Buffer
  readonly other: string
}

export class Group {
  readonly lanes: LaneWrites[] = []
  readonly bodies: SharedBody[] = []
  readonly tables: TableWrite[] = []
  /** What the table writes change, for the watcher. */
  readonly changes: Change[] = []
  readonly metaPut: Map<string, unknown> = new Map()
  /** Body bytes appended. */
  bytes = 0
  touched = false
  closeWanted = false
  /** Holds only what failed groups left to be written. */
  repairs = false
  /** Writes more than settlements. */
  grows = false
  /** Monotonic ms. */
  closedAt = 0
  /** Its number, once it was sent. */
  number = 0
  sent = false
  encoded: Buffer | null = null
  readonly watchers: { readonly closed: () => void; readonly decided: (failure: unknown) => void }[] = []
  readonly done: Promise<void>
  resolve!: () => void
  reject!: (error: unknown) => void
  #lastTargets: readonly LaneTarget[] | null = null
  #lastWrites: LaneWrites[] = []

  constructor() {
    this.done = new Promise<void>((resolve, reject) => {
      this.resolve = resolve
      this.reject = reject
    })
    // Whoever called commit() sees the rejection; a group nobody waits for must not end the process.
    this.done.catch(() => {})
  }

  writesOf(lane: RedisLane): LaneWrites {
    let writes = lane.open
    if (writes === null) {
      writes = new LaneWrites(lane)
      lane.open = writes
      lane.addWrites(writes)
      this.lanes.push(writes)
      this.touched = true
    }
    return writes
  }

  /** The writes of all targets; the same array gives the same answer without looking. */
  writesOfAll(targets: readonly LaneTarget[]): readonly LaneWrites[] {
    if (this.#lastTargets === targets) return this.#lastWrites
    this.#lastTargets = targets
    this.#lastWrites = targets.map(({ lane }) => this.writesOf(lane as RedisLane))
    return this.#lastWrites
  }

  write(op: string, key: string, value: string | Buffer, more = '', other = ''): void {
    this.tables.push({ op, key, more, value, other })
    this.touched = true
    this.grows = true
  }

  /** Writes nothing but what makes room: such a write is not refused for want of memory. */
  takeOut(op: string, key: string, value: string | Buffer): void {
    this.tables.push({ op, key, more: '', value, other: '' })
    this.touched = true
  }

  change(change: Change): void {
    this.changes.push(change)
  }
}
