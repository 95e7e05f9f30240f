import type { Clock } from '../base/clock.ts'
import type { LaneTarget, Store } from '../store.ts'
import { walkLane } from './browse.ts'
import type { Intake } from './intake.ts'
import { BATCH_BYTES, type Course, type JobStep, Wait } from './jobs.ts'
import { compileSelection, type Found, type Selection } from './selection.ts'
import type { EntryTerms } from './terms.ts'

export interface ReplayParts {
  readonly store: Store
  readonly clock: Clock
  commit(): Promise<void>
  /** Where a replayed message goes. */
  targets(terms: EntryTerms): readonly LaneTarget[]
  /** What is full of where it goes: a queue's name; null: it has room. */
  full(): string | null
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
 * marked as replayed. The deduplication window of the queue does not stand in their way; before a queue that is full they wait. The
 * copies and how far the job is are one group, so that a crash makes none of them twice.
 * @param begun where an earlier process had come; null: from the beginning
 * @throws SluiceError topic_filter_invalid
 */
export function replayCourse(
  intake: Intake,
  selection: Selection,
  { store, clock, commit, targets, full }: ReplayParts,
  begun: ReplayProgress | null,
): Course {
  const select = compileSelection(selection)
  const { lane } = intake.retained
  let progress: ReplayProgress = begun ?? { from: 1, end: lane.nextSeq }
  const step: JobStep = async (max, note) => {
    const { from, end } = progress
    if (from >= end) return null
    const found: { found: Found; stored: Buffer }[] = []
    let bytes = 0
    const next = await walkLane(store, lane, from, (seq, chunk, i) => {
      if (found.length >= max || bytes >= BATCH_BYTES || seq >= end) return false
      const one = select(seq, chunk.message(i), chunk.extras?.[i] ?? null, () => '')
      if (one === null) return true
      found.push({ found: one, stored: chunk.message(i) })
      bytes += found.at(-1)!.stored.length
      return true
    })
    const now = clock.now()
    let reached: ReplayProgress = { from: next ?? end, end }
    let count = 0
    let failure: unknown = null
    let wait: Wait | null = null
    for (const { found: one, stored } of found) {
      const queue = full()
      if (queue !== null) {
        wait = new Wait(`room in the queue ${queue}`)
        reached = { from: one.seq, end }
        break
      }
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
    return count === 0 && wait !== null ? wait : count
  }
  return { progress, step }
}
