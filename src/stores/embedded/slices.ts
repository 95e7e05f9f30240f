/** Walks ranges of an engine a slice at a time, so that memory does not grow with what lies in them. */
import type { Engine, Entry } from './engine.ts'

export interface Range {
  readonly start: Buffer
  /** Not in the range. */
  readonly end: Buffer
}

const SLICE = 1000

export function* keysIn(engine: Engine, { start, end }: Range): Generator<Buffer> {
  for (let from = start; ; ) {
    const slice = engine.keys(from, end, SLICE)
    const last = slice.at(-1)
    if (last === undefined) return
    yield* slice
    from = behind(last)
  }
}

export function* entriesIn(engine: Engine, { start, end }: Range): Generator<Entry> {
  for (let from = start; ; ) {
    const slice = engine.entries(from, end, SLICE)
    const last = slice.at(-1)
    if (last === undefined) return
    yield* slice
    from = behind(last.key)
  }
}

/** The first key after this one. */
const behind = (key: Buffer): Buffer => Buffer.concat([key, Buffer.from([0])])
