/** A look at what is on disk and in memory, for tests and diagnosis. */
import { type Table, table, tableRange } from './keys.ts'
import type { State } from './state.ts'

export interface StoreInspection {
  lanes: number
  chunks: number
  settled: number
  marks: number
  segments: number
  refs: number
  doomed: number
  /** Records of sessions, subscriptions and inbound packet identifiers together. */
  session: number
  residentSegments: number
  cachedChunks: number
  cachedBytes: number
}

/** Walks every key. */
export function inspect({ engine, segments, cache }: State): StoreInspection {
  const count = (of: Table): number => {
    const range = tableRange(of)
    return engine.keys(range.start, range.end, Number.MAX_SAFE_INTEGER).length
  }
  return {
    lanes: count(table.lane),
    chunks: count(table.chunk),
    settled: count(table.settled),
    marks: count(table.mark),
    segments: count(table.segment),
    refs: count(table.refs),
    doomed: count(table.doomed),
    session: count(table.session),
    residentSegments: segments.size,
    cachedChunks: cache.count,
    cachedBytes: cache.bytes,
  }
}
