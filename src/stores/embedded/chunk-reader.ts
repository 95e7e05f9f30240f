/** Finds lanes and chunks: in memory where they are, from the engine otherwise. */
import type { PackedBodies } from '../../base/packed-bodies.ts'
import { StoredChunk } from './chunk.ts'
import { corrupt, decodeChunk, settledBits, settledBytes, settledCount } from './formats.ts'
import { describeKey } from './key-names.ts'
import { chunkKeyBytes, chunkKeyCount, idKey, keySeq, laneRange, MAX_SEQ, nameKey, seqKey, table } from './keys.ts'
import type { EmbeddedLane, LaneLoader } from './lane.ts'
import { countLane } from './lane-keys.ts'
import { laneRecordId, laneRecordSeq } from './lane-record.ts'
import type { Segment } from './segment.ts'
import { entriesIn } from './slices.ts'
import type { State } from './state.ts'

/** A read that has to go to disk also loads what follows, up to these limits. */
const READ_AHEAD_CHUNKS = 32
const READ_AHEAD_BYTES = 128 * 1024

const NOTHING = Buffer.alloc(0)

export class ChunkReader implements LaneLoader {
  readonly #state: State

  constructor(state: State) {
    this.#state = state
  }

  /** The lane's number, without counting what is in it; 0 when nothing of it was ever written. */
  laneId(lane: EmbeddedLane): number {
    return lane.loaded ? lane.id : laneRecordId(this.#record(lane))
  }

  #record(lane: EmbeddedLane): Buffer | undefined {
    const { engine, droppedNames } = this.#state
    // Dropped and made again before the drop was durable: what the disk has is not this lane.
    return droppedNames.has(lane.name) ? undefined : engine.get(nameKey(table.lane, lane.name))
  }

  loadLane(lane: EmbeddedLane): void {
    const { engine } = this.#state
    const record = this.#record(lane)
    if (record === undefined) return
    lane.id = laneRecordId(record)
    lane.seq = laneRecordSeq(record)
    const { entries, bytes, endSeq, settledEnd } = countLane(engine, lane.id)
    lane.seq = Math.max(lane.seq, endSeq)
    lane.waitingEntries = entries
    lane.waitingTotal = bytes
    lane.settledEnd = settledEnd
    const marks = laneRange(table.mark, lane.id)
    const lastMark = engine.lastKey(marks.start, marks.end)
    if (lastMark !== undefined) lane.marksEnd = keySeq(lastMark) + 1
  }

  /** All marks of the lane, those not committed yet included, in order of seq. */
  marks(lane: EmbeddedLane): { seq: number; bytes: Buffer }[] {
    lane.load()
    const found = new Map<number, Buffer | null>()
    const range = laneRange(table.mark, lane.id)
    for (const { key, value } of entriesIn(this.#state.engine, range)) found.set(keySeq(key), value)
    for (const group of this.#state.groups()) {
      for (const [seq, bytes] of group.marks.get(lane) ?? []) found.set(seq, bytes)
    }
    const marks: { seq: number; bytes: Buffer }[] = []
    for (const [seq, bytes] of found) if (bytes !== null) marks.push({ seq, bytes })
    return marks.sort((a, b) => a.seq - b.seq)
  }

  /** The chunk that holds `seq`, committed or not. */
  holding(lane: EmbeddedLane, seq: number): StoredChunk | undefined {
    lane.load()
    const resident = lane.resident.holding(seq)
    if (resident !== undefined) return resident
    if (lane.id === 0 || seq < 1 || seq >= lane.seq) return undefined
    const key = this.#keyHolding(lane, seq)
    return key === undefined ? undefined : this.#load(lane, key, keySeq(key))
  }

  /** The committed chunk with the first unsettled entry at or after `fromSeq`. */
  waitingFrom(lane: EmbeddedLane, fromSeq: number): StoredChunk | null {
    lane.load()
    let from = Math.max(1, fromSeq)
    while (from < lane.seq) {
      const resident = lane.resident.endingAfter(from)
      if (resident === undefined || from < resident.gapFrom) {
        const loaded = this.#loadFrom(lane, from)
        if (loaded !== null) continue
        // Nothing is on disk from here to the resident chunk.
        if (resident === undefined) return null
        resident.gapFrom = Math.min(resident.gapFrom, from)
      } else if (resident.state === 'open' || resident.state === 'underWay') {
        return null
      } else if (resident.waitsFrom(from)) {
        this.#state.cache.touch(resident)
        resident.handedOut = true
        return resident
      } else from = resident.endSeq
    }
    return null
  }

  #keyHolding(lane: EmbeddedLane, seq: number): Buffer | undefined {
    const high = Buffer.concat([seqKey(table.chunk, lane.id, seq), Buffer.alloc(7, 0xff)])
    const key = this.#state.engine.lastKey(idKey(table.chunk, lane.id), high)
    return key !== undefined && seq < keySeq(key) + chunkKeyCount(key) ? key : undefined
  }

  /**
   * Brings the first committed chunk that ends after `from`, and a few that follow it, into memory.
   * Null when the next chunk is resident already or there is none.
   */
  #loadFrom(lane: EmbeddedLane, from: number): StoredChunk | null {
    if (lane.id === 0) return null
    let first: StoredChunk | null = null
    let gapFrom = from
    let bytes = 0
    for (const key of this.#keysFrom(lane, from)) {
      const present = lane.resident.at(keySeq(key))
      if (present !== undefined) {
        present.gapFrom = Math.min(present.gapFrom, gapFrom)
        break
      }
      if (first !== null && bytes + chunkKeyBytes(key) > READ_AHEAD_BYTES) break
      const chunk = this.#load(lane, key, Math.min(gapFrom, keySeq(key)))
      if (chunk === undefined) {
        if (first !== null) break
        // Found to be damaged just now: what it stood before is to be seen without it.
        return this.#loadFrom(lane, from)
      }
      first ??= chunk
      bytes += chunk.bytes
      gapFrom = chunk.endSeq
    }
    return first
  }

  /** The keys of the first chunk that ends after `from` and of some that follow it. */
  #keysFrom(lane: EmbeddedLane, from: number): Buffer[] {
    const end = idKey(table.chunk, lane.id + 1)
    const at = seqKey(table.chunk, lane.id, from)
    // Mostly a chunk begins just there: the one before it was read last.
    const [first] = this.#soundKeys(at, end, 1)
    const holding = first !== undefined && keySeq(first) === from ? first : this.#keyHolding(lane, from)
    const wanted = chunksAhead(holding)
    return holding === first && wanted === 1 ? [holding!] : this.#soundKeys(holding ?? at, end, wanted)
  }

  /** Keys of chunks that are not known to be damaged. An answer without any means the end of the range. */
  #soundKeys(start: Buffer, end: Buffer, limit: number): Buffer[] {
    const { engine } = this.#state
    for (let from = start; ; ) {
      const found = engine.keys(from, end, limit)
      const last = found.at(-1)
      const sound = found.filter((key) => !engine.isDamaged?.(key))
      if (sound.length > 0 || last === undefined) return sound
      from = Buffer.concat([last, Buffer.alloc(1)])
    }
  }

  /** Undefined: it is damaged, and from now on known to be. */
  #load(lane: EmbeddedLane, key: Buffer, gapFrom: number): StoredChunk | undefined {
    const { engine, cache } = this.#state
    const firstSeq = keySeq(key)
    const evicted = lane.takeEvicted(firstSeq)
    if (evicted !== undefined) {
      this.#state.revive(evicted)
      return evicted
    }
    const decoded = this.#decode(lane, key, gapFrom)
    const settled = firstSeq < lane.settledEnd ? engine.get(seqKey(table.settled, lane.id, firstSeq)) : undefined
    if (decoded === undefined && engine.isDamaged?.(key)) {
      lane.waitingEntries -= chunkKeyCount(key) - (settled === undefined ? 0 : settledCount(settled))
      lane.waitingTotal -= chunkKeyBytes(key) - (settled === undefined ? 0 : settledBytes(settled))
      return undefined
    }
    const chunk = decoded ?? unreadable(lane, key, gapFrom)
    if (settled !== undefined && chunk.unsettled > 0) {
      chunk.restoreSettled(settledBits(settled), settledCount(settled), settledBytes(settled))
    }
    if (firstSeq < lane.marksEnd) chunk.marks = this.#marksOf(lane, chunk)
    lane.resident.add(chunk)
    cache.add(chunk)
    return chunk
  }

  /** The chunk without what is settled of it; undefined when the disk does not have it as it was written. */
  #decode(lane: EmbeddedLane, key: Buffer, gapFrom: number): StoredChunk | undefined {
    const { engine, segments } = this.#state
    const count = chunkKeyCount(key)
    const value = engine.get(key)
    if (value === undefined) return undefined
    const decoded = decodeChunk(value, count)
    const found: Segment[] = []
    for (const id of decoded.segmentIds) {
      const segment = segments.load(id)
      if (segment === undefined) {
        this.#state.onEvent({ type: 'damaged', record: `${describeKey(key)}: segment ${id} is missing` })
        return undefined
      }
      found.push(segment)
    }
    const bodies = found.length === 0 ? decoded.inline : resolveRuns(count, decoded.runs, decoded.inline, found)
    const { tags, extras } = decoded
    const chunk = StoredChunk.stored(lane, keySeq(key), gapFrom, chunkKeyBytes(key), count, bodies, tags, extras)
    for (const segment of found) {
      chunk.segments.push(segment)
      segment.holders++
    }
    return chunk
  }

  #marksOf(lane: EmbeddedLane, chunk: StoredChunk): Map<number, Buffer> | null {
    const marks = new Map<number, Buffer>()
    const start = seqKey(table.mark, lane.id, chunk.firstSeq)
    const end = seqKey(table.mark, lane.id, Math.min(chunk.endSeq, MAX_SEQ))
    for (const { key, value } of entriesIn(this.#state.engine, { start, end })) {
      marks.set(keySeq(key) - chunk.firstSeq, value)
    }
    for (const group of this.#state.groups()) {
      const writes = group.marks.get(lane)
      if (writes === undefined) continue
      for (const [seq, bytes] of writes) {
        if (seq < chunk.firstSeq || seq >= chunk.endSeq) continue
        if (bytes === null) marks.delete(seq - chunk.firstSeq)
        else marks.set(seq - chunk.firstSeq, bytes)
      }
    }
    return marks.size === 0 ? null : marks
  }
}

/** Stands for a chunk whose shared bodies are gone: nothing of it waits, so readers go past it. On disk it stays as it is. */
function unreadable(lane: EmbeddedLane, key: Buffer, gapFrom: number): StoredChunk {
  const count = chunkKeyCount(key)
  const messages = new Array<Buffer>(count).fill(NOTHING)
  const chunk = StoredChunk.stored(lane, keySeq(key), gapFrom, chunkKeyBytes(key), count, messages, 0, null)
  chunk.restoreSettled(new Array<number>((count + 31) >>> 5).fill(-1), count, chunkKeyBytes(key))
  return chunk
}

function resolveRuns(
  count: number,
  runs: readonly number[],
  inline: PackedBodies,
  segments: readonly { bodies: Buffer[] | null }[],
): Buffer[] {
  const messages = new Array<Buffer>(count)
  let i = 0
  let nextInline = 0
  for (let r = 0; r < runs.length; r += 3) {
    const source = runs[r]!
    const index = runs[r + 1]!
    const end = i + runs[r + 2]!
    for (let k = 0; i < end; i++, k++) {
      const body = source === 0 ? inline.at(nextInline++) : segments[source - 1]!.bodies![index + k]
      if (body === undefined) throw corrupt('a chunk', new RangeError('body'))
      messages[i] = body
    }
  }
  return messages
}

/** How many chunks to bring in, by the size of the first: neighbours are mostly alike. */
function chunksAhead(first: Buffer | undefined): number {
  if (first === undefined) return READ_AHEAD_CHUNKS
  return Math.min(READ_AHEAD_CHUNKS, Math.max(1, Math.floor(READ_AHEAD_BYTES / Math.max(1, chunkKeyBytes(first)))))
}
