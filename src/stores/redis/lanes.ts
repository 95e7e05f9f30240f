/** What is written into lanes goes into the open group, and shows at once in what is in memory of them. */
import { SluiceError } from '../../errors.ts'
import type { Lane, LaneTarget } from '../../store.ts'
import type { SharedBody } from './chunk.ts'
import type { Commits } from './commits.ts'
import { UNKNOWN } from './group.ts'
import type { RedisLane } from './lane.ts'
import type { Link } from './link.ts'
import type { Reader } from './reader.ts'
import type { State } from './state.ts'

/** Names of lanes asked about in one step. */
const SLICE = 1000

export class Lanes {
  readonly #state: State
  readonly #commits: Commits
  readonly #link: Link
  readonly #reader: Reader
  /** Bytes from which on a body for several lanes is written once. */
  readonly #sharedFrom: number

  constructor(state: State, commits: Commits, link: Link, reader: Reader, sharedFrom: number) {
    this.#state = state
    this.#commits = commits
    this.#link = link
    this.#reader = reader
    this.#sharedFrom = sharedFrom
  }

  append(message: Buffer, targets: readonly LaneTarget[]): void {
    if (targets.length === 0) return
    const group = this.#commits.open
    const all = group.writesOfAll(targets)
    const shared = targets.length > 1 && message.length >= this.#sharedFrom ? this.#share(message) : null
    for (let i = 0; i < all.length; i++) {
      const writes = all[i]!
      const lane = writes.lane
      if (lane.dropped) throw new SluiceError('invariant', `Lane ${lane.name} was dropped.`)
      const { tag, extra } = targets[i]!
      const queue = lane.name.startsWith('q/')
      if (shared !== null && !queue) shared.refs++
      writes.push(message, tag, extra, queue ? null : shared)
      lane.pendingEntries++
      lane.pendingBytes += message.length
    }
    group.bytes += message.length
    group.grows = true
    this.#commits.pendingBytes += message.length
  }

  #share(message: Buffer): SharedBody {
    const body = { id: this.#state.newBodyId(), message, refs: 0 }
    this.#commits.open.bodies.push(body)
    return body
  }

  settle(handle: Lane, seq: number): void {
    const lane = handle as RedisLane
    if (lane.dropped || seq < 1 || seq >= lane.nextSeq) return
    const group = this.#commits.open
    const chunk = lane.holding(seq)
    if (chunk === undefined) {
      // Given by a group under way, or not in memory: the script finds out whether it waits.
      const early = seq > lane.last
      if (early) {
        if (lane.early?.has(seq) === true) return
        lane.early ??= new Set()
        lane.early.add(seq)
        lane.settledEntries++
      }
      group.writesOf(lane).settle(seq, UNKNOWN, '', early)
      return
    }
    const i = seq - chunk.firstSeq
    const bytes = chunk.settle(i)
    if (bytes < 0) return
    group.writesOf(lane).settle(seq, bytes, chunk.shared?.[i] ?? '', true)
    lane.settledEntries++
    lane.settledBytes += bytes
    if (chunk.unsettled === 0) this.#state.letGo(chunk)
  }

  mark(handle: Lane, seq: number, bytes: Buffer | null): void {
    const lane = handle as RedisLane
    if (lane.dropped || seq < 1 || seq >= lane.nextSeq || lane.early?.has(seq) === true) return
    const chunk = lane.holding(seq)
    const i = chunk === undefined ? 0 : seq - chunk.firstSeq
    if (chunk?.isSettled(i) === true) return
    const group = this.#commits.open
    const writes = group.writesOf(lane)
    writes.marks ??= new Map()
    const first = writes.marks.get(seq)
    writes.marks.set(seq, { bytes, before: first === undefined ? chunk?.markOf(i) : first.before, chunk })
    if (bytes !== null) group.grows = true
    if (chunk === undefined) return
    if (bytes === null) chunk.marks?.delete(i)
    else {
      chunk.marks ??= new Map()
      chunk.marks.set(i, bytes)
    }
  }

  drop(handle: Lane): void {
    const lane = handle as RedisLane
    if (lane.dropped) return
    const group = this.#commits.open
    const writes = group.writesOf(lane)
    lane.dropped = true
    lane.onCommitted = null
    lane.open = null
    this.#state.lanes.delete(lane.name)
    this.#state.laneNames.delete(lane.name)
    this.#state.letGoOfLane(lane)
    group.bytes -= writes.bytes
    this.#commits.pendingBytes -= writes.bytes
    writes.drop()
    this.#state.dropped(lane.name, 1)
    group.touched = true
  }

  async marks(handle: Lane): Promise<{ seq: number; bytes: Buffer }[]> {
    const lane = handle as RedisLane
    if (lane.dropped) return []
    const old = this.#state.dropping.has(lane.name)
    const key = this.#state.keys.marks(lane.name)
    const { answer: stored, writes } = await lane.during(
      async (): Promise<Record<string, Buffer>> =>
        old
          ? {}
          : this.#link.ask(
              (client) => client.hgetallBuffer(key),
              Number.POSITIVE_INFINITY,
              () => this.#state.synced,
            ),
    )
    const found = new Map<number, Buffer | null>()
    for (const [seq, bytes] of Object.entries(stored)) found.set(Number(seq), bytes)
    for (const { marks, settled } of writes) {
      for (const [seq, { bytes }] of marks ?? []) found.set(seq, bytes)
      for (const seq of settled) found.delete(seq)
    }
    const marks: { seq: number; bytes: Buffer }[] = []
    for (const [seq, bytes] of found) if (bytes !== null) marks.push({ seq, bytes })
    return marks.sort((a, b) => a.seq - b.seq)
  }

  /** What waits in each lane is known from the start, as with the embedded store. */
  async load(): Promise<void> {
    let cursor = '0'
    do {
      const [next, flat] = await this.#link.ask((client) =>
        client.hscan(this.#state.keys.lanes, cursor, 'COUNT', SLICE),
      )
      cursor = next
      const names = flat.filter((_, i) => i % 2 === 0)
      const figures = await this.#reader.figures(names)
      for (const [i, name] of names.entries()) {
        const lane = this.#state.lane(name)
        lane.last = figures[i]!.last
        lane.told = lane.last
        lane.entries = figures[i]!.entries
        lane.bytes = Number(flat[2 * i + 1])
        this.#state.laneNames.add(name)
      }
    } while (cursor !== '0')
  }
}
