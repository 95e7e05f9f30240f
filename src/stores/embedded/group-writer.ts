/**
 * Turns a group into the batch the engine commits. What it writes about older chunks, segments and lanes is their present
 * state, not a change to it: writing it again after a failure is harmless.
 */
import { Arenas } from './arenas.ts'
import { SEAL_BYTES, sealAt } from './checksum.ts'
import type { StoredChunk } from './chunk.ts'
import { WriteBatch } from './engine.ts'
import { chunkBytesMax, encodeChunk, encodeSegment, encodeSettled, segmentBytesMax } from './formats.ts'
import type { Group } from './group.ts'
import { chunkKey, idKey, nameKey, seqKey, table, writeUint48 } from './keys.ts'
import { encodeLane } from './lane-record.ts'
import { encodeRefs, type Segment } from './segment.ts'
import type { State } from './state.ts'

const NOTHING = Buffer.alloc(0)
export const idsKey = Buffer.from([table.internal, ...Buffer.from('ids')])
/** How many entries wait in all lanes: kept, because counting them would read the whole backlog. */
export const waitingKey = Buffer.from([table.internal, ...Buffer.from('waiting')])

export class GroupWriter {
  readonly arenas = new Arenas()
  readonly #state: State

  constructor(state: State) {
    this.#state = state
  }

  write(group: Group): WriteBatch {
    const batch = new WriteBatch(this.#state.seals)
    this.#closeChunks(group)
    this.#putNew(group, batch)
    this.#putSettled(group, batch)
    this.#removeChunks(group, batch)
    for (const segment of group.counted) putCount(segment, batch)
    this.#putMarks(group, batch)
    for (const writes of group.tables.values()) {
      for (const { key, value } of writes.values()) {
        if (value === null) batch.remove(key)
        else batch.put(key, value)
      }
    }
    this.#putLanes(group, batch)
    for (const id of group.doomed) batch.put(idKey(table.doomed, id), NOTHING)
    for (const { id } of group.undoomed) batch.remove(idKey(table.doomed, id))
    for (const key of group.removedKeys) batch.remove(key)
    if (this.#state.idsChanged) {
      this.#state.idsChanged = false
      batch.put(idsKey, encodeIds(this.#state))
    }
    if (group.waiting !== 0) {
      this.#state.waitingGiven += group.waiting
      // What is damaged may have been counted, or not.
      batch.put(waitingKey, encodeCount(Math.max(0, this.#state.waitingGiven)))
    }
    return batch
  }

  /** Decides which chunks of the group are written at all, and counts what they refer to. */
  #closeChunks(group: Group): void {
    const kept: StoredChunk[] = []
    for (const chunk of group.chunks) {
      const lane = chunk.lane
      if (lane.open === chunk) lane.open = null
      if (lane.dropped || chunk.unsettled === 0) {
        chunk.state = 'gone'
        this.#state.discard(chunk)
        if (!lane.dropped) group.laneNames.add(lane.name)
        continue
      }
      chunk.state = 'underWay'
      for (const segment of chunk.segments) segment.refs++
      kept.push(chunk)
    }
    group.chunks = kept
  }

  #putNew(group: Group, batch: WriteBatch): void {
    let bytes = 0
    for (const chunk of group.chunks) bytes += chunkBytesMax(chunk) + SEAL_BYTES
    for (const segment of group.segments) if (segment.refs > 0) bytes += segmentBytesMax(segment) + SEAL_BYTES
    if (bytes === 0) return
    const arena = this.arenas.take(bytes)
    group.arena = arena
    const { seals } = this.#state
    let at = 0
    for (const chunk of group.chunks) {
      const key = keyOf(chunk)
      let end = encodeChunk(chunk, arena, at)
      if (seals) end = sealAt(key, arena, at, end)
      batch.putAsIs(key, arena.subarray(at, end))
      at = end
    }
    for (const segment of group.segments) {
      if (segment.refs === 0) continue
      const key = idKey(table.segment, segment.id)
      let end = encodeSegment(segment, arena, at)
      if (seals) end = sealAt(key, arena, at, end)
      batch.putAsIs(key, arena.subarray(at, end))
      at = end
    }
  }

  #putSettled(group: Group, batch: WriteBatch): void {
    for (const chunk of group.settled) {
      chunk.dirty = false
      if (chunk.state === 'gone' || chunk.state === 'removing' || chunk.lane.dropped) continue
      if (chunk.unsettled > 0) {
        chunk.hasSettledRecord = true
        chunk.lane.settledEnd = Math.max(chunk.lane.settledEnd, chunk.firstSeq + 1)
        chunk.pins++
        group.settledWritten.push(chunk)
        batch.put(seqKey(table.settled, chunk.lane.id, chunk.firstSeq), encodeSettled(chunk))
        continue
      }
      chunk.state = 'removing'
      group.removing.push(chunk)
      for (const segment of chunk.segments) {
        segment.refs--
        group.count(segment)
      }
      // The lane's record takes over from its last chunk the knowledge of how far it got.
      if (chunk.endSeq === chunk.lane.seq) group.laneNames.add(chunk.lane.name)
    }
  }

  #removeChunks(group: Group, batch: WriteBatch): void {
    for (const chunk of group.removing) {
      batch.remove(keyOf(chunk))
      if (chunk.hasSettledRecord) batch.remove(seqKey(table.settled, chunk.lane.id, chunk.firstSeq))
    }
  }

  #putMarks(group: Group, batch: WriteBatch): void {
    for (const [lane, writes] of group.marks) {
      if (lane.dropped) continue
      for (const [seq, bytes] of writes) {
        const key = seqKey(table.mark, lane.id, seq)
        if (bytes === null) batch.remove(key)
        else batch.put(key, bytes)
      }
    }
  }

  #putLanes(group: Group, batch: WriteBatch): void {
    for (const name of group.laneNames) {
      const lane = this.#state.lanes.get(name)
      if (lane !== undefined && lane.id !== 0) batch.put(nameKey(table.lane, name), encodeLane(lane))
      else batch.remove(nameKey(table.lane, name))
    }
  }
}

function putCount(segment: Segment, batch: WriteBatch): void {
  const refs = idKey(table.refs, segment.id)
  if (segment.refs > 0) {
    batch.put(refs, encodeRefs(segment.refs))
    return
  }
  batch.remove(idKey(table.segment, segment.id))
  batch.remove(refs)
}

function keyOf(chunk: StoredChunk): Buffer {
  return chunkKey(chunk.lane.id, chunk.firstSeq, chunk.count, chunk.bytes, chunk.segments.length > 0)
}

export function encodeCount(count: number): Buffer {
  const value = Buffer.allocUnsafe(6)
  writeUint48(value, 0, count)
  return value
}

function encodeIds(state: State): Buffer {
  const value = Buffer.allocUnsafe(12)
  writeUint48(value, 0, state.nextLaneId)
  writeUint48(value, 6, state.nextSegmentId)
  return value
}
