/** Reads lanes: pages for those who ask, and what others appended for those who listen. */

import { announce, overlayMarks } from './answers.ts'
import { CHUNK_BYTES_MAX, CHUNK_ENTRIES_MAX, RedisChunk } from './chunk.ts'
import type { LaneWrites } from './group.ts'
import { decodeEntry } from './group-bytes.ts'
import type { RedisLane } from './lane.ts'
import type { Link, Reply } from './link.ts'
import type { State } from './state.ts'

/** Entries and bytes of bodies in one page; the last body may go beyond. */
const PAGE_ENTRIES = CHUNK_ENTRIES_MAX
const PAGE_BYTES = CHUNK_BYTES_MAX
/** Settled entries between two waiting ones that one chunk may span. */
const HOLE_MAX = 64
/** Lanes compared in one step after a connection was lost. */
const COMPARED = 500

const EMPTY = Buffer.alloc(0)

interface Page {
  /** Highest sequence number the lane has given. */
  last: number
  /** In order; chunks that were in memory already among them. */
  chunks: RedisChunk[]
  /** Nothing waited beyond the page when it was read. */
  complete: boolean
}

export class Reader {
  readonly #state: State
  readonly #link: Link
  /** Lanes of which more was heard while they were being read. */
  readonly #again = new Set<RedisLane>()

  constructor(state: State, link: Link) {
    this.#state = state
    this.#link = link
  }

  async read(lane: RedisLane, fromSeq: number): Promise<RedisChunk | null> {
    let from = Math.max(1, fromSeq)
    for (let chunk = lane.holding(from); chunk !== undefined; chunk = lane.holding(from)) {
      if (chunk.waitsFrom(from)) return this.#handOut(chunk)
      from = chunk.endSeq
    }
    if (this.#state.dropping.has(lane.name)) return null
    if (lane.kept && !lane.fetching && lane.waiting === 0) return null
    for (;;) {
      const page = await this.#page(lane, from)
      if (lane.dropped) return null
      for (const chunk of page.chunks) if (chunk.waitsFrom(from)) return this.#handOut(chunk)
      if (page.complete) return null
      from = page.chunks.at(-1)!.endSeq
    }
  }

  #handOut(chunk: RedisChunk): RedisChunk {
    chunk.handedOut = true
    this.#state.trimCache()
    return chunk
  }

  /** Tells the lane's listener of what lies between what it was told of and now. */
  catchUp(lane: RedisLane): void {
    if (lane.fetching) {
      this.#again.add(lane)
      return
    }
    lane.fetching = true
    this.#fetch(lane).then(
      () => this.#fetched(lane),
      () => {
        // The connection was lost: `compare` looks again when it is back.
        lane.fetching = false
        this.#again.delete(lane)
      },
    )
  }

  #fetched(lane: RedisLane): void {
    lane.fetching = false
    if (this.#again.delete(lane)) this.catchUp(lane)
  }

  async #fetch(lane: RedisLane): Promise<void> {
    for (;;) {
      this.#again.delete(lane)
      const page = await this.#page(lane, lane.told + 1)
      if (lane.dropped || !lane.kept) return
      for (const chunk of page.chunks) {
        lane.told = Math.max(lane.told, chunk.endSeq - 1)
        lane.last = Math.max(lane.last, lane.told)
        announce(chunk)
      }
      this.#state.trimCache()
      if (!page.complete) continue
      lane.told = Math.max(lane.told, page.last)
      if (!this.#again.has(lane)) return
    }
  }

  /** After a lost connection: which of the lanes kept here got entries meanwhile. */
  async compare(): Promise<void> {
    const kept = [...this.#state.lanes.values()].filter((lane) => lane.kept && lane.onCommitted !== null)
    for (let i = 0; i < kept.length; i += COMPARED) {
      const some = kept.slice(i, i + COMPARED)
      const figures = await this.figures(some.map(({ name }) => name))
      for (const [k, lane] of some.entries()) if (figures[k]!.last > lane.told) this.catchUp(lane)
    }
  }

  /** @param arrived see `Link.evaluate` */
  async figures(
    names: readonly string[],
    arrived?: (place: number) => void,
  ): Promise<{ last: number; entries: number }[]> {
    if (names.length === 0) return []
    const { keys } = this.#state
    const args = [keys.prefix, ...names]
    const reply = (await this.#link.ask(() => this.#link.once('figures', keys.lanes, args, arrived))) as Reply[]
    return names.map((_, i) => ({ last: Number(String(reply[2 * i])), entries: Number(String(reply[2 * i + 1])) }))
  }

  async #page(lane: RedisLane, from: number): Promise<Page> {
    const { keys } = this.#state
    const args = [keys.prefix, lane.name, from, PAGE_ENTRIES, PAGE_BYTES]
    let place = 0
    // Whoever reads goes on when the page is there, and asks for it only once.
    const asked = await lane.during(() =>
      this.#link.ask(
        () =>
          this.#link.once('read', keys.lane(lane.name), args, (arrived) => {
            place = arrived
          }),
        Number.POSITIVE_INFINITY,
        () => this.#state.synced,
      ),
    )
    const reply = asked.answer as [Buffer, number[], Buffer[], Buffer[], Buffer[], number, number, Buffer]
    const [last, runs, entries, marks, shared, complete, waiting, waitingBytes] = reply
    // The answer to a group that came after this one may have been heard before it.
    lane.count(waiting, Number(String(waitingBytes)), place)
    // What others appended may be settled as soon as it was read.
    lane.last = Math.max(lane.last, Number(String(last)))
    const bodies = new Map<string, Buffer>()
    for (let i = 0; i < shared.length; i += 2) bodies.set(shared[i]!.toString(), shared[i + 1]!)
    const markOf = new Map<number, Buffer>()
    for (let i = 0; i < marks.length; i += 2) markOf.set(Number(marks[i]!.toString()), marks[i + 1]!)
    const chunks = this.#chunks(lane, runs, entries, bodies)
    for (const chunk of chunks.fresh) this.#complete(chunk, markOf, asked.writes)
    return { last: Number(last.toString()), chunks: chunks.all, complete: complete === 1 }
  }

  #chunks(
    lane: RedisLane,
    runs: readonly number[],
    entries: readonly Buffer[],
    bodies: ReadonlyMap<string, Buffer>,
  ): { all: RedisChunk[]; fresh: RedisChunk[] } {
    const all: RedisChunk[] = []
    const fresh: RedisChunk[] = []
    let part: Stretch | null = null
    const close = (): void => {
      if (part === null) return
      const chunk = part.chunk(lane)
      all.push(chunk)
      fresh.push(chunk)
      part = null
    }
    // Before it no chunk in memory lies: asked once for many entries.
    let freeUntil = 0
    let run = 0
    for (let i = 0, ofRun = 0; i < entries.length; i++, ofRun++) {
      if (ofRun === runs[run + 1]) {
        run += 2
        ofRun = 0
      }
      const seq = runs[run]! + ofRun
      const held = seq < freeUntil ? undefined : lane.holding(seq)
      if (held !== undefined) {
        close()
        if (all.at(-1) !== held) all.push(held)
        continue
      }
      // One may lie in the hole before this entry: no two chunks hold the same number.
      if (part !== null && (seq > part.endSeq + HOLE_MAX || (seq >= freeUntil && lane.nextHeld(part.endSeq) < seq)))
        close()
      if (seq >= freeUntil) freeUntil = lane.nextHeld(seq)
      part ??= new Stretch(seq)
      part.add(seq, entries[i]!, bodies)
    }
    close()
    return { all, fresh }
  }

  /** Brings a chunk that was read up to what is written. */
  #complete(chunk: RedisChunk, markOf: ReadonlyMap<number, Buffer>, writes: readonly LaneWrites[]): void {
    const { lane } = chunk
    for (let i = 0; i < chunk.count && markOf.size > 0; i++) {
      const bytes = markOf.get(chunk.firstSeq + i)
      if (bytes === undefined) continue
      chunk.marks ??= new Map()
      chunk.marks.set(i, bytes)
    }
    for (const { settled, marks } of writes) {
      overlayMarks(chunk, marks)
      for (const seq of settled) if (seq >= chunk.firstSeq && seq < chunk.endSeq) chunk.settle(seq - chunk.firstSeq)
    }
    if (lane.kept && chunk.unsettled > 0) this.#state.keepChunk(chunk)
  }
}

/** A chunk in the making. */
class Stretch {
  readonly #firstSeq: number
  readonly #messages: Buffer[] = []
  readonly #tags: number[] = []
  readonly #extras: (Buffer | null)[] = []
  readonly #shared: (string | null)[] = []
  readonly #holes: number[] = []
  #hasExtras = false
  #hasShared = false

  constructor(firstSeq: number) {
    this.#firstSeq = firstSeq
  }

  get endSeq(): number {
    return this.#firstSeq + this.#messages.length
  }

  add(seq: number, value: Buffer, bodies: ReadonlyMap<string, Buffer>): void {
    while (this.endSeq < seq) {
      this.#holes.push(this.#messages.length)
      this.#push(0, null, EMPTY, null)
    }
    const { tag, extra, message, shared } = decodeEntry(value, bodies)
    this.#push(tag, extra, message, shared)
  }

  #push(tag: number, extra: Buffer | null, message: Buffer, shared: string | null): void {
    this.#tags.push(tag)
    this.#extras.push(extra)
    this.#messages.push(message)
    this.#shared.push(shared)
    this.#hasExtras ||= extra !== null
    this.#hasShared ||= shared !== null
  }

  chunk(lane: RedisLane): RedisChunk {
    const extras = this.#hasExtras ? this.#extras : null
    const shared = this.#hasShared ? this.#shared : null
    const chunk = new RedisChunk(lane, this.#firstSeq, this.#messages, this.#tags, extras, shared)
    for (const i of this.#holes) chunk.settle(i)
    return chunk
  }
}
