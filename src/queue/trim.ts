import type { Chunk, Lane, Store } from '../store.ts'

/** Entries looked at between two commits. */
const SLICE = 10_000

export interface TrimParts {
  readonly store: Store
  commit(): Promise<void>
}

/**
 * Settles entries of a lane from its oldest on, as long as `over` says so.
 * @param over asked before each waiting entry, with its message; false ends the walk
 * @param spare entries that must stay, such as those with a worker
 * @returns how many were settled; durable
 */
export async function trimLane(
  { store, commit }: TrimParts,
  lane: Lane,
  over: (message: Buffer) => boolean,
  spare: (seq: number) => boolean,
): Promise<number> {
  let settled = 0
  let looked = 0
  let chunk: Chunk | null
  walk: for (let from = 1; ; from = chunk.firstSeq + chunk.count) {
    chunk = await store.read(lane, from)
    if (chunk === null) break
    for (let i = 0; i < chunk.count; i++) {
      if (chunk.isSettled(i)) continue
      if (!over(chunk.message(i))) break walk
      const seq = chunk.firstSeq + i
      if (spare(seq)) continue
      store.settle(lane, seq)
      settled++
    }
    looked += chunk.count
    if (looked >= SLICE) {
      looked = 0
      await commit()
    }
  }
  if (settled > 0) await commit()
  return settled
}
