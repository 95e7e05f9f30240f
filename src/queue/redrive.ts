import type { Store } from '../store.ts'
import { walkLane } from './browse.ts'
import type { Entry } from './entry.ts'
import { BATCH_BYTES, type Course, type JobStep, Wait } from './jobs.ts'
import type { WorkQueue } from './queue.ts'
import { compileSelection, type Found, type Selection } from './selection.ts'
import type { Stripe } from './stripe.ts'
import { encodeTerms, PRIORITY_DEFAULT } from './terms.ts'

export interface RedriveParts {
  readonly store: Store
  commit(): Promise<void>
  /** The queue a message goes to. */
  target(name: string): Promise<WorkQueue>
  /** False: it has as many messages or bytes as it may have. */
  hasRoom(queue: WorkQueue): boolean
}

/** How far a redrive is. */
export interface RedriveProgress {
  /** Priority of each stripe, and the number before which it is looked at: what comes later stays, lest it go round for ever. */
  readonly ends: readonly (readonly [priority: number, end: number])[]
  /** Index among them. */
  readonly at: number
  /** Number in that stripe from which it goes on. */
  readonly from: number
}

interface Moving {
  readonly stripe: Stripe
  readonly entry: Entry
}

/**
 * Moves messages of a dead-letter queue (or any other) back to where they came from, with all their attempts before them.
 * Messages that a worker holds stay. The message there, a mark here and how far the job is are one group; it is settled here
 * when that is durable, so that a crash neither loses it nor makes two of it. It waits before a queue that is full.
 * @param to the queue all of them go to; absent: each to the queue in which its attempts were used up
 * @param begun where an earlier process had come; null: from the beginning
 * @throws SluiceError topic_filter_invalid
 */
export function redriveCourse(
  queue: WorkQueue,
  selection: Selection,
  to: string | undefined,
  parts: RedriveParts,
  begun: RedriveProgress | null,
): Course {
  const { store, commit, target, hasRoom } = parts
  const select = compileSelection(selection)
  let progress: RedriveProgress = begun ?? {
    ends: queue.stripes.map(({ priority, lane }) => [priority, lane.nextSeq]),
    at: 0,
    from: 1,
  }
  const nameOf = ({ terms }: Found): string => to ?? terms.deadLetter?.queue ?? queue.name
  const step: JobStep = async (max, note) => {
    const { ends, at, from } = progress
    if (at >= ends.length) return null
    const [priority, end] = ends[at]!
    const stripe = queue.stripes.find((one) => one.priority === priority)
    if (stripe === undefined) {
      progress = { ends, at: at + 1, from: 1 }
      return 0
    }
    const found: { found: Found; stored: Buffer }[] = []
    let bytes = 0
    const next = await walkLane(store, stripe.lane, from, (seq, chunk, i) => {
      if (found.length >= max || bytes >= BATCH_BYTES || seq >= end) return false
      const one = select(seq, chunk.message(i), chunk.extras?.[i] ?? null, (n) => stripe.idOf(n))
      if (one === null) return true
      found.push({ found: one, stored: chunk.message(i) })
      bytes += found.at(-1)!.stored.length
      return true
    })
    const targets = new Map<string, WorkQueue>()
    for (const { found: one } of found) {
      const name = nameOf(one)
      if (!targets.has(name)) targets.set(name, await target(name))
    }
    const moving: Moving[] = []
    let reached: RedriveProgress =
      next === null || next >= end ? { ends, at: at + 1, from: 1 } : { ends, at, from: next }
    let failure: unknown = null
    let full: Wait | null = null
    for (const { found: one, stored } of found) {
      const destination = targets.get(nameOf(one))!
      if (destination === queue) continue
      if (!hasRoom(destination)) {
        full = new Wait(`room in the queue ${destination.name}`)
        reached = { ends, at, from: one.seq }
        break
      }
      const entry = stripe.claim(one.seq)
      if (entry === null) continue
      try {
        move(store, stripe, entry, destination, one, stored)
      } catch (error) {
        // What was written before it is in the open group, whoever commits that.
        failure = error
        reached = { ends, at, from: one.seq }
        break
      }
      moving.push({ stripe, entry })
    }
    if (moving.length > 0) {
      note(reached, moving.length)
      await bury(moving, commit)
    }
    if (failure !== null) throw failure
    progress = reached
    return moving.length === 0 && full !== null ? full : moving.length
  }
  return { progress, step }
}

async function bury(moving: readonly Moving[], commit: () => Promise<void>): Promise<void> {
  try {
    await commit()
  } catch (error) {
    for (const { stripe, entry } of moving) stripe.book.revive(entry)
    throw error
  }
  for (const { stripe, entry } of moving) stripe.book.buried(entry)
  // They have arrived; what is settled stays so, and is written again when this fails.
  await commit().catch(() => {})
}

/** All of it or nothing. */
function move(
  store: Store,
  stripe: Stripe,
  entry: Entry,
  destination: WorkQueue,
  { id, terms }: Found,
  stored: Buffer,
): void {
  const { deadLetter, ...kept } = terms
  const priority = deadLetter?.priority ?? kept.priority ?? PRIORITY_DEFAULT
  let marked = false
  try {
    const lane = destination.laneOf(kept.key === undefined ? priority : PRIORITY_DEFAULT)
    const extra = encodeTerms({ ...kept, id, priority })
    stripe.book.markBuried(entry)
    marked = true
    store.append(stored, [{ lane, tag: 0, extra }])
  } catch (error) {
    stripe.book.revive(entry, marked)
    throw error
  }
}
