import type { Clock } from '../base/clock.ts'
import type { LaneTarget, Store } from '../store.ts'
import { walkLane } from './browse.ts'
import type { Intake } from './intake.ts'
import type { JobStep } from './jobs.ts'
import { compileSelection, type Found, type Selection } from './selection.ts'
import type { EntryTerms } from './terms.ts'

export interface ReplayParts {
  readonly store: Store
  readonly clock: Clock
  commit(): Promise<void>
  /** Where a replayed message goes. */
  targets(terms: EntryTerms): readonly LaneTarget[]
}

/**
 * Copies messages that a queue kept into a queue once more: with the id and the deduplication key of the first time, and
 * marked as replayed. Neither limits nor the deduplication window of the queue stand in their way.
 */
export function replayStep(
  intake: Intake,
  selection: Selection,
  { store, clock, commit, targets }: ReplayParts,
): JobStep {
  const select = compileSelection(selection)
  const { lane } = intake.retained
  // What comes while the job runs is not meant.
  const end = lane.nextSeq
  let from: number | null = 1
  return async (max) => {
    if (from === null) return null
    const found: { found: Found; stored: Buffer }[] = []
    const next = await walkLane(store, lane, from, (seq, chunk, i) => {
      if (found.length >= max || seq >= end) return false
      const one = select(seq, chunk.messages[i]!, chunk.extras?.[i] ?? null, () => '')
      if (one !== null) found.push({ found: one, stored: chunk.messages[i]! })
      return true
    })
    const now = clock.now()
    for (const { found: one, stored } of found) {
      // Its time is that of the first time: what was to wait or to expire then is neither now.
      const { deliverAt: _, expiresAt: __, ...terms } = one.terms
      store.append(stored, targets({ ...terms, id: one.id, replayedAt: now }))
    }
    if (found.length > 0) await commit()
    from = next === null || next >= end ? null : next
    return found.length
  }
}
