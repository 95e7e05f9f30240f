/** What a group that will not be written leaves in memory: taken back where it can be, else handed to the repair. */
import type { Group } from './group.ts'
import { seqKey, table } from './keys.ts'
import type { State } from './state.ts'

/** Undoes the group's appends and marks; what it settled and dropped goes into `into`. */
export function undoGroup(state: State, group: Group, into: Group): void {
  if (group.closedAt >= 0) state.waitingGiven -= group.waiting
  undoAppends(state, group, into)
  into.waiting += group.waiting
  // What other groups subtract may have been added here.
  if (into.waiting !== 0) into.touched = true
  undoMarks(state, group, into)
  carryOver(group, into)
  state.idsChanged = true
}

function undoAppends(state: State, group: Group, into: Group): void {
  for (const segment of group.segments) segment.refs = 0
  for (const chunk of group.chunks) {
    const lane = chunk.lane
    if (!lane.dropped) {
      lane.waitingEntries -= chunk.unsettled
      state.waiting -= chunk.unsettled
      group.waiting -= chunk.unsettled
      lane.waitingTotal -= chunk.bytes - chunk.settledBytes
      // Its sequence numbers are not used again.
      into.laneNames.add(lane.name)
      into.touched = true
    }
    chunk.state = 'gone'
    state.discard(chunk)
  }
}

function undoMarks(state: State, group: Group, into: Group): void {
  for (const [lane, writes] of group.marks) {
    if (lane.dropped) continue
    for (const seq of writes.keys()) {
      const chunk = lane.resident.holding(seq) ?? lane.evicted.holding(seq)
      if (chunk === undefined) continue
      const i = seq - chunk.firstSeq
      if (chunk.isSettled(i)) {
        into.setMark(lane, seq, null)
        continue
      }
      const pending = state.pendingMark(lane, seq)
      const bytes = pending === undefined ? state.engine.get(seqKey(table.mark, lane.id, seq)) : (pending ?? undefined)
      if (bytes === undefined) chunk.marks?.delete(i)
      else {
        chunk.marks ??= new Map()
        chunk.marks.set(i, bytes)
      }
    }
  }
}

/** What stays true in memory is still to be written. */
function carryOver(group: Group, into: Group): void {
  for (const chunk of group.settledWritten) {
    chunk.pins--
    if (chunk.dirty) continue
    chunk.dirty = true
    into.settled.push(chunk)
  }
  // Of a group that was not written: its chunks are still marked as listed.
  if (group.closedAt < 0) into.settled.push(...group.settled)
  if (into.settled.length > 0) into.touched = true
  for (const chunk of group.removing) {
    if (chunk.state === 'gone') continue
    into.removing.push(chunk)
    into.touched = true
  }
  for (const segment of group.counted) into.count(segment)
  for (const name of group.laneNames) into.laneNames.add(name)
  into.droppedNames.push(...group.droppedNames)
  into.doomed.push(...group.doomed)
  into.undoomed.push(...group.undoomed)
  into.removedKeys.push(...group.removedKeys)
  for (const { scope, key } of group.ended) {
    into.write(scope, key, null)
    into.ended.push({ scope, key })
  }
  if (into.laneNames.size + into.doomed.length + into.undoomed.length + into.removedKeys.length > 0) into.touched = true
}
