import type { Clock } from '../base/clock.ts'
import type { LaneTarget, Store } from '../store.ts'
import { walkLane } from './browse.ts'
import type { Intake } from './intake.ts'
import type { Course, JobStep } from './jobs.ts'
import { compileSelection, type Found, type Selection } from './selection.ts'
import type { EntryTerms } from './terms.ts'

export interface ReplayParts {
  readonly store: Store
  readonly clock: Clock
  commit(): Promise<void>
  /** Where a replayed message goes. */
  targets(terms: EntryTerms): readonly LaneTarget[]
}

/** How far a replay is. */
export interface ReplayProgress {
  /** Number among what is kept from which it goes on. */
  readonly from: number
  /** And before which it ends: what comes while it runs is not meant. */
  readonly end: number
}

/**
 * Copies messages that a queue kept into a queue once more: with the id and the deduplication key of the first time, and
 * marked as replayed. Neither limits nor the deduplication window of the queue stand in their way. The copies and how far the
 * job is are one group, so that a crash makes none of them twice.
 * @param begun where an earlier process had come; null: from the beginning
 * @throws SluiceError topic_filter_invalid
 */
export function replayCourse(
  intake: Intake,
  selection: Selection,
  { store, clock, commit, targets }: ReplayParts,
  begun: ReplayProgress | null,
): Course {
  const select = compileSelection(selection)
  const { lane } = intake.retained
  let progress: ReplayProgress = begun ?? { from: 1, end: lane.nextSeq }
  const step: JobStep = async (max, note) => {
    const { from, end } = progress
    if (from >= end) return null
    const found: { found: Found; stored: Buffer }[] = []
    const next = await walkLane(store, lane, from, (seq, chunk, i) => {
      if (found.length >= max || seq >= end) return false
      const one = select(seq, chunk.message(i), chunk.extras?.[i] ?? null, () => '')
      if (one !== null) found.push({ found: one, stored: chunk.message(i) })
      return true
    })
    const now = clock.now()
    let reached: ReplayProgress = { from: next ?? end, end }
    let count = 0
    let failure: unknown = null
    for (const { found: one, stored } of found) {
      // Its time is that of the first time: what was to wait or to expire then is neither now.
      const { deliverAt: _, expiresAt: __, ...terms } = one.terms
      try {
        store.append(stored, targets({ ...terms, id: one.id, replayedAt: now }))
      } catch (error) {
        // What was written before it is in the open group, whoever commits that.
        failure = error
        reached = { from: one.seq, end }
        break
      }
      count++
    }
    if (count > 0) {
      note(reached, count)
      await commit()
    }
    if (failure !== null) throw failure
    progress = reached
    return count
  }
  return { progress, step }
}
