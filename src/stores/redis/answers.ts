/** What becomes of a lane's writes when their group is answered, refused, or found applied after it had been given up. */
import { CHUNK_BYTES_MAX, CHUNK_ENTRIES_MAX, RedisChunk } from './chunk.ts'
import { type Group, LaneWrites } from './group.ts'
import type { RedisLane } from './lane.ts'
import type { State } from './state.ts'

/** The reply of the script `group` for one lane. */
export interface LaneAnswer {
  firstSeq: number
  entries: number
  bytes: number
  lost: boolean
}

export interface GroupAnswer {
  /** Its place among the replies: see `Link.evaluate`. */
  place: number
  lanes: LaneAnswer[]
  newestChange: number
  doomed: number
}

export function parseAnswer(text: string, place: number): GroupAnswer {
  const numbers = text.split(' ')
  const lanes: LaneAnswer[] = []
  for (let i = 0; i + 4 < numbers.length; i += 4) {
    lanes.push({
      firstSeq: Number(numbers[i]),
      entries: Number(numbers[i + 1]),
      bytes: Number(numbers[i + 2]),
      lost: numbers[i + 3] === '1',
    })
  }
  return {
    place,
    lanes,
    newestChange: Number(numbers[numbers.length - 2]),
    doomed: Number(numbers[numbers.length - 1]),
  }
}

/** The lane's numbers follow the answer. */
function hear(state: State, writes: LaneWrites, answer: LaneAnswer, place: number): void {
  const { lane } = writes
  remove(lane.unanswered, writes)
  if (writes.drops) state.dropped(lane.name, -1)
  lane.settledEntries -= writes.countedEntries
  lane.settledBytes -= writes.countedBytes
  lane.heard++
  lane.count(answer.entries, answer.bytes, place)
  lane.last = Math.max(lane.last, answer.firstSeq + writes.messages.length - 1)
  if (!lane.dropped && writes.messages.length > 0) state.laneNames.add(lane.name)
}

/**
 * The writes are durable.
 * @returns what `onCommitted` is to be told; 'gap': entries of others lie before and have to be read first
 */
export function durable(
  state: State,
  writes: LaneWrites,
  answer: LaneAnswer,
  place: number,
): readonly RedisChunk[] | 'gap' {
  const { lane } = writes
  const count = writes.messages.length
  lane.pendingEntries -= count
  lane.pendingBytes -= writes.bytes
  hear(state, writes, answer, place)
  if (count === 0 || lane.dropped || !lane.kept) return NOTHING
  const next = answer.firstSeq + count
  if (lane.fetching) return 'gap'
  if (lane.onCommitted !== null && lane.told + 1 < answer.firstSeq) return 'gap'
  lane.told = Math.max(lane.told, next - 1)
  const chunks = chunksOf(writes, answer.firstSeq)
  for (const chunk of chunks) {
    settleEarly(lane, chunk)
    for (const { marks } of [writes, ...lane.unanswered]) overlayMarks(chunk, marks)
    if (chunk.unsettled > 0) state.keepChunk(chunk)
  }
  return lane.onCommitted === null ? NOTHING : chunks
}

const NOTHING: readonly RedisChunk[] = []

/** What was appended, in chunks of a size that is handed on at a time. */
function chunksOf({ lane, messages, tags, extras, shared }: LaneWrites, firstSeq: number): RedisChunk[] {
  const ids = shared?.map((body) => body?.id ?? null) ?? null
  const chunks: RedisChunk[] = []
  let from = 0
  let bytes = 0
  for (let i = 0; i < messages.length; i++) {
    bytes += messages[i]!.length
    const end = i + 1
    if (end < messages.length && end - from < CHUNK_ENTRIES_MAX && bytes < CHUNK_BYTES_MAX) continue
    const part = <T>(list: T[]): T[] => (from === 0 && end === messages.length ? list : list.slice(from, end))
    const partOf = <T>(list: T[] | null): T[] | null => (list === null ? null : part(list))
    chunks.push(new RedisChunk(lane, firstSeq + from, part(messages), part(tags), partOf(extras), partOf(ids)))
    from = end
    bytes = 0
  }
  return chunks
}

function settleEarly(lane: RedisLane, chunk: RedisChunk): void {
  if (lane.early === null) return
  for (const seq of lane.early) {
    if (seq >= chunk.endSeq) continue
    lane.early.delete(seq)
    const i = seq - chunk.firstSeq
    if (i < 0) continue
    const bytes = chunk.settle(i)
    for (const writes of lane.unanswered)
      if (writes.nowKnown(seq, bytes, chunk.shared?.[i] ?? '')) lane.settledBytes += bytes
  }
  if (lane.early.size === 0) lane.early = null
}

export function overlayMarks(chunk: RedisChunk, marks: LaneWrites['marks']): void {
  for (const [seq, { bytes }] of marks ?? []) {
    const i = seq - chunk.firstSeq
    if (i < 0 || i >= chunk.count || chunk.isSettled(i)) continue
    chunk.marks ??= new Map()
    if (bytes === null) chunk.marks.delete(i)
    else chunk.marks.set(i, bytes)
  }
}

/**
 * The group was refused: what it appended and marked is undone in memory.
 * @param keep takes over what was settled and dropped; null: it may be durable, which is not known yet
 */
export function undo(group: Group, keep: Group | null): void {
  for (const writes of group.lanes) {
    const { lane } = writes
    lane.pendingEntries -= writes.messages.length
    lane.pendingBytes -= writes.bytes
    if (writes.messages.length > 0) lane.early = null
    for (const [seq, { before, chunk }] of writes.marks ?? []) {
      if (chunk === undefined || chunk.isSettled(seq - chunk.firstSeq)) continue
      if (before === undefined) chunk.marks?.delete(seq - chunk.firstSeq)
      else chunk.marks?.set(seq - chunk.firstSeq, before)
    }
    if (keep === null) writes.doubted = writes.marks
    writes.marks = null
    if (keep !== null) carryOver(writes, keep)
  }
}

/** Puts what was settled and dropped into the group that repairs. */
export function carryOver(writes: LaneWrites, into: Group): void {
  const { lane } = writes
  const at = lane.unanswered.indexOf(writes)
  const rest = writes.onlySettlements()
  // Numbers beyond what the lane gave belonged to entries that never came to be.
  rest.keepOnly((seq) => seq <= lane.last)
  lane.settledEntries -= writes.countedEntries - rest.countedEntries
  lane.settledBytes -= writes.countedBytes - rest.countedBytes
  if (rest.settled.length === 0 && !rest.drops) {
    if (at >= 0) lane.unanswered.splice(at, 1)
    return
  }
  if (at >= 0) lane.unanswered[at] = rest
  else lane.unanswered.push(rest)
  lane.note(rest)
  into.lanes.push(rest)
  into.touched = true
}

/**
 * A group that had been given up was applied after all: what it appended is settled again by `into`, marks become what they are in
 * memory.
 * @param stays of a message: it was acknowledged all the same
 * @returns how many entries
 */
export function takeBack(
  state: State,
  group: Group,
  answer: GroupAnswer,
  into: Group,
  stays: (message: Buffer, lane: RedisLane) => boolean,
): number {
  let taken = 0
  for (const [i, writes] of group.lanes.entries()) {
    const of = answer.lanes[i]!
    hear(state, writes, of, answer.place)
    const back = new LaneWrites(writes.lane)
    for (const [k, message] of writes.messages.entries())
      if (!stays(message, writes.lane)) back.settle(of.firstSeq + k, message.length, writes.shared?.[k]?.id ?? '', true)
    for (const [seq, { chunk }] of writes.doubted ?? []) {
      if (chunk === undefined || chunk.isSettled(seq - chunk.firstSeq)) continue
      back.marks ??= new Map()
      const bytes = chunk.markOf(seq - chunk.firstSeq) ?? null
      back.marks.set(seq, { bytes, before: bytes ?? undefined, chunk })
    }
    if (back.settled.length === 0 && back.marks === null) continue
    writes.lane.settledEntries += back.countedEntries
    writes.lane.settledBytes += back.countedBytes
    writes.lane.addWrites(back)
    into.lanes.push(back)
    into.touched = true
    taken += back.settled.length
  }
  return taken
}

/** Tells the lane's listener. */
export function announce(chunk: RedisChunk): void {
  const listener = chunk.lane.onCommitted
  if (listener === null || chunk.lane.dropped || chunk.unsettled === 0) return
  chunk.handedOut = true
  try {
    listener(chunk)
  } catch (error) {
    // The group is durable whatever its listeners do: their bug must not reach the publishers.
    queueMicrotask(() => {
      throw error
    })
  }
}

function remove<T>(list: T[], item: T): void {
  const at = list.indexOf(item)
  if (at >= 0) list.splice(at, 1)
}
