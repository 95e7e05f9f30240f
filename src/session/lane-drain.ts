import type { Group } from '../router/destinations.ts'
import { offsets } from '../router/message.ts'
import type { Lane, SessionRecord, Store } from '../store.ts'
import { matches } from '../wire/topic.ts'
import { Loan } from './loan.ts'
import { TAG_QOS, TAG_SHARED } from './session.ts'

const META = 'drain/'

export interface LaneDrainContext {
  readonly store: Store
  redistribute(loans: Iterable<Loan>): void
  readonly commits: { scheduleLazily(): void; done(): Promise<void> }
}

/**
 * Passes on what a persistent member of shared subscriptions leaves behind when its session ends, then drops its lane.
 * Entry by entry: each is appended elsewhere and settled here in one commit, so a crash in the middle neither loses nor
 * doubles one; what is left of the lane is then dropped at the next start.
 */
export class LaneDrain {
  readonly #c: LaneDrainContext
  readonly #names = new Set<string>()

  constructor(context: LaneDrainContext) {
    this.#c = context
  }

  /** A lane name that no drain uses: the client may be back before its old lane is gone. */
  freeName(name: string): string {
    let free = name
    for (let n = 2; this.#names.has(free); n++) free = `${name}\u0000${n}`
    return free
  }

  /** Drops lanes whose drain was interrupted. */
  restore(): void {
    const { store } = this.#c
    for (const key of store.meta(META).keys()) {
      store.dropLane(store.lane(key.slice(META.length)))
      store.deleteMeta(key)
    }
  }

  /** @param lost hears of messages that nobody else gets */
  start(lane: Lane, groups: readonly Group[], record: SessionRecord, lost: (count: number) => void): void {
    this.#names.add(lane.name)
    this.#c.store.putMeta(META + lane.name, 1)
    this.#run(lane, groups, record, lost).catch(() => {
      // The store reports its own failures; the lane is dropped at the next start.
    })
  }

  async #run(
    lane: Lane,
    groups: readonly Group[],
    record: SessionRecord,
    lost: (count: number) => void,
  ): Promise<void> {
    const { store } = this.#c
    // What is on its way to the lane has to be there before it is read.
    await this.#c.commits.done()
    let next = 1
    for (;;) {
      const chunk = await store.read(lane, next)
      if (chunk === null) break
      for (let i = 0; i < chunk.count; i++) {
        const seq = chunk.firstSeq + i
        if (chunk.isSettled(i) || (chunk.tags[i]! & TAG_SHARED) === 0) continue
        const loan = loanOf(chunk.messages[i]!, chunk.tags[i]!, groups, seq < record.maybeSentBefore)
        if (loan !== null && chunk.markOf(i) === undefined) this.#c.redistribute([loan])
        store.settle(lane, seq)
      }
      next = chunk.firstSeq + chunk.count
      this.#c.commits.scheduleLazily()
    }
    if (lane.waiting > 0) lost(lane.waiting)
    store.dropLane(lane)
    store.deleteMeta(META + lane.name)
    this.#names.delete(lane.name)
    this.#c.commits.scheduleLazily()
  }
}

function loanOf(message: Buffer, tag: number, groups: readonly Group[], sent: boolean): Loan | null {
  const { topicStart, propsStart } = offsets(message)
  const topic = message.toString('utf8', topicStart, propsStart)
  const group = groups.find(({ topicFilter }) => matches(topicFilter, topic))
  if (group === undefined) return null
  const loan = new Loan(group, tag & TAG_QOS, message, null)
  loan.sent = sent
  return loan
}
