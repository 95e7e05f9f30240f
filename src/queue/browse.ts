import type { Chunk, Lane, Store } from '../store.ts'
import type { EntryState, Failure } from './entry.ts'
import { decodeFailures } from './marks.ts'
import type { WorkQueue } from './queue.ts'
import { compileSelection, type Found, type Selection } from './selection.ts'
import { priorityOf, refOf, type Stripe, seqOf } from './stripe.ts'

/** Entries looked at for one page; a page may be short or empty when little of them is meant. */
const LOOKED_MAX = 100_000

/** A message as people see it, without taking it. */
export interface Seen extends Found {
  readonly priority: number
  readonly state: EntryState
  /** Deliveries so far. */
  readonly attempts: number
  /** Failures in this queue, oldest first. */
  readonly failures: Failure[]
}

export interface Page<T> {
  messages: T[]
  /** Where the next page begins; absent: this was the last one. */
  next?: number
}

/** Entries of a lane from `seq` on, as committed. Stops after `LOOKED_MAX` entries, with the number to go on from. */
export async function walkLane(
  store: Store,
  lane: Lane,
  seq: number,
  each: (seq: number, chunk: Chunk, index: number) => boolean,
): Promise<number | null> {
  let chunk: Chunk | null
  let looked = 0
  for (let from = seq; ; from = chunk.firstSeq + chunk.count) {
    chunk = await store.read(lane, from)
    if (chunk === null) return null
    if (looked >= LOOKED_MAX) return Math.max(from, chunk.firstSeq)
    for (let i = Math.max(0, from - chunk.firstSeq); i < chunk.count; i++) {
      looked++
      if (!chunk.isSettled(i) && !each(chunk.firstSeq + i, chunk, i)) return chunk.firstSeq + i
    }
  }
}

/**
 * A page of the messages of a queue, highest priority first, then in the order in which they came.
 * @param cursor `next` of the page before; absent: from the beginning
 * @throws SluiceError topic_filter_invalid
 */
export async function browseQueue(
  queue: WorkQueue,
  store: Store,
  selection: Selection,
  limit: number,
  cursor?: number,
): Promise<Page<Seen>> {
  const select = compileSelection(selection)
  const messages: Seen[] = []
  const start = cursor === undefined ? null : priorityOf(cursor)
  for (const stripe of queue.stripes) {
    if (start !== null && stripe.priority > start) continue
    const from = stripe.priority === start ? seqOf(cursor!) : 1
    const next = await walkLane(store, stripe.lane, from, (seq, chunk, i) => {
      if (messages.length >= limit) return false
      const found = select(seq, chunk.message(i), chunk.extras?.[i] ?? null, (n) => stripe.idOf(n))
      if (found !== null) messages.push(seen(stripe, found))
      return true
    })
    if (next !== null) return { messages, next: refOf(stripe.priority, next) }
  }
  return { messages }
}

/** A page of what a lane keeps that nobody works on: messages kept for replay. */
export async function browseLane(
  store: Store,
  lane: Lane,
  idOf: (seq: number) => string,
  selection: Selection,
  limit: number,
  cursor = 1,
): Promise<Page<Found>> {
  const select = compileSelection(selection)
  const messages: Found[] = []
  const next = await walkLane(store, lane, cursor, (seq, chunk, i) => {
    if (messages.length >= limit) return false
    const found = select(seq, chunk.message(i), chunk.extras?.[i] ?? null, idOf)
    if (found !== null) messages.push(found)
    return true
  })
  return next === null ? { messages } : { messages, next }
}

function seen(stripe: Stripe, found: Found): Seen {
  const entry = stripe.book.entries.get(found.seq)
  return {
    ...found,
    priority: stripe.priority,
    state: entry?.state ?? 'ready',
    attempts: entry?.attempt ?? 0,
    failures: [...(found.terms.deadLetter?.failures ?? []), ...decodeFailures(entry?.history ?? null)],
  }
}
