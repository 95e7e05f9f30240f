import type { Store } from '../store.ts'
import { walkLane } from './browse.ts'
import type { Entry } from './entry.ts'
import type { JobStep } from './jobs.ts'
import type { WorkQueue } from './queue.ts'
import { compileSelection, type Found, type Selection } from './selection.ts'
import type { Stripe } from './stripe.ts'
import { encodeTerms, PRIORITY_DEFAULT } from './terms.ts'

export interface RedriveParts {
  readonly store: Store
  commit(): Promise<void>
  /** The queue a message goes to. */
  target(name: string): Promise<WorkQueue>
}

interface Moving {
  readonly stripe: Stripe
  readonly entry: Entry
}

/**
 * Moves messages of a dead-letter queue (or any other) back to where they came from, with all their attempts before them.
 * Messages that a worker holds stay. The message there and a mark here are one group; it is settled here when that is
 * durable, so that a crash neither loses it nor makes two of it.
 * @param to the queue all of them go to; absent: each to the queue in which its attempts were used up
 */
export function redriveStep(
  queue: WorkQueue,
  selection: Selection,
  to: string | undefined,
  { store, commit, target }: RedriveParts,
): JobStep {
  const select = compileSelection(selection)
  const stripes = [...queue.stripes]
  // What comes while the job runs stays: it would go round for ever.
  const ends = stripes.map(({ lane }) => lane.nextSeq)
  let at = 0
  let from = 1
  return async (max) => {
    const stripe = stripes[at]
    if (stripe === undefined) return null
    const found: { found: Found; stored: Buffer }[] = []
    const next = await walkLane(store, stripe.lane, from, (seq, chunk, i) => {
      if (found.length >= max || seq >= ends[at]!) return false
      const one = select(seq, chunk.messages[i]!, chunk.extras?.[i] ?? null, (n) => stripe.idOf(n))
      if (one !== null) found.push({ found: one, stored: chunk.messages[i]! })
      return true
    })
    const targets = new Map<string, WorkQueue>()
    for (const { found: one } of found) {
      const name = to ?? one.terms.deadLetter?.queue ?? queue.name
      if (!targets.has(name)) targets.set(name, await target(name))
    }
    const moving: Moving[] = []
    for (const { found: one, stored } of found) {
      const name = to ?? one.terms.deadLetter?.queue ?? queue.name
      const destination = targets.get(name)!
      if (destination === queue) continue
      const entry = stripe.claim(one.seq)
      if (entry === null) continue
      append(store, destination, one, stored)
      stripe.book.markBuried(entry)
      moving.push({ stripe, entry })
    }
    try {
      await commit()
    } catch (error) {
      for (const { entry } of moving) stripe.book.revive(entry)
      throw error
    }
    for (const { entry } of moving) stripe.book.buried(entry)
    if (moving.length > 0) await commit()
    if (next === null || next >= ends[at]!) {
      at++
      from = 1
    } else {
      from = next
    }
    return moving.length
  }
}

function append(store: Store, destination: WorkQueue, { id, terms }: Found, stored: Buffer): void {
  const { deadLetter, ...kept } = terms
  const priority = deadLetter?.priority ?? kept.priority ?? PRIORITY_DEFAULT
  const lane = destination.laneOf(kept.key === undefined ? priority : PRIORITY_DEFAULT)
  store.append(stored, [{ lane, tag: 0, extra: encodeTerms({ ...kept, id, priority }) }])
}
