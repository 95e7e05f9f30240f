import { SluiceError } from '../errors.ts'
import type { Group } from '../router/destinations.ts'
import { offsets } from '../router/message.ts'
import type { Chunk, Lane, Store } from '../store.ts'
import type { Events } from '../telemetry/events.ts'
import { matches } from '../wire/topic.ts'
import { Loan } from './loan.ts'
import { type Session, TAG_QOS, TAG_SHARED } from './session.ts'

const META = 'drain/'
/** Beside an entry that went to another member. Any mark means that it goes to nobody else [v5 MQTT-4.8.2-5]. */
const MOVED = Buffer.from([0])

export interface LaneDrainContext {
  readonly store: Store
  readonly nodeId: string
  readonly subscriptions: { groupOf(key: string): Group | null; groupLeft(group: Group): void }
  redistribute(loans: Iterable<Loan>): void
  dropped(session: Session | null, cause: 'session_ended', count: number): void
  readonly events: Events
  readonly commits: { scheduleLazily(): void; done(): Promise<void>; later(again: () => void): void }
}

/** What the store keeps of a drain until it is over. */
interface DrainRecord {
  /** Shared subscriptions the session was a member of, as `$share/name/filter`. */
  readonly groups: readonly string[]
  /** See `SessionRecord.maybeSentBefore`. */
  readonly maybeSentBefore: number
  /** The node that does it, where nodes share the store. */
  readonly node: string
}

/**
 * Passes on what a persistent member of shared subscriptions leaves behind when its session ends, then drops its lane.
 *
 *     waiting ──appended elsewhere and marked, one commit──▶ moved ──settled, with a later commit──▶ gone
 *
 * A commit that fails takes back the copy and the mark, and the entry is moved again; a process that dies leaves the record
 * of the drain, and the next one goes on.
 */
export class LaneDrain {
  readonly #c: LaneDrainContext
  /** Lanes that are being emptied, here or on another node. */
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

  /** Another node began or ended one. */
  changed(key: string, value: unknown): void {
    if (!key.startsWith(META)) return
    const name = key.slice(META.length)
    if (value === undefined) this.#names.delete(name)
    else this.#names.add(name)
  }

  /** Goes on with those that were interrupted. @param isThere whether that other node goes on with its own */
  resume(isThere: (nodeId: string) => boolean): void {
    const { store, nodeId } = this.#c
    for (const [key, value] of store.meta(META)) {
      const name = key.slice(META.length)
      const record = value as DrainRecord | 1
      // Builds before this one kept no groups.
      const { groups, maybeSentBefore, node } = record === 1 ? { groups: [], maybeSentBefore: 0, node: nodeId } : record
      const mine = store.shared === null || node === nodeId
      if (mine ? this.#names.has(name) : isThere(node)) {
        this.#names.add(name)
        continue
      }
      const drain: DrainRecord = { groups, maybeSentBefore, node: nodeId }
      if (!mine) store.putMeta(key, drain)
      this.#begin(name, drain, null)
    }
  }

  start(lane: Lane, groups: readonly Group[], session: Session): void {
    const { maybeSentBefore } = session
    const record: DrainRecord = { groups: groups.map(({ key }) => key), maybeSentBefore, node: this.#c.nodeId }
    this.#c.store.putMeta(META + lane.name, record)
    this.#begin(lane.name, record, session)
  }

  #begin(name: string, record: DrainRecord, session: Session | null): void {
    this.#names.add(name)
    this.#run(name, record, session).catch((error: unknown) => {
      // The store reports its own failures.
      if (!(error instanceof SluiceError)) this.#c.events.emit('internalError', { where: 'emptying a session', error })
      else if (error.retryable) this.#c.commits.later(() => this.#begin(name, record, session))
    })
  }

  async #run(name: string, { groups, maybeSentBefore }: DrainRecord, session: Session | null): Promise<void> {
    const { store, commits } = this.#c
    const lane = store.lane(name)
    // What is on its way to the lane has to be there before it is read.
    await commits.done()
    await store.shared?.keep(lane)
    for (let next = 1; ; ) {
      const chunk = await store.read(lane, next)
      if (chunk === null) break
      this.#move(lane, chunk, groups, maybeSentBefore)
      await commits.done()
      for (let i = 0; i < chunk.count; i++) {
        if ((chunk.tags[i]! & TAG_SHARED) !== 0) store.settle(lane, chunk.firstSeq + i)
      }
      next = chunk.firstSeq + chunk.count
      commits.scheduleLazily()
    }
    if (lane.waiting > 0) this.#c.dropped(session, 'session_ended', lane.waiting)
    store.dropLane(lane)
    store.deleteMeta(META + name)
    await commits.done()
    this.#names.delete(name)
  }

  #move(lane: Lane, chunk: Chunk, keys: readonly string[], maybeSentBefore: number): void {
    const { store, subscriptions, redistribute } = this.#c
    const groups = keys.map((key) => subscriptions.groupOf(key)).filter((group) => group !== null)
    try {
      for (let i = 0; i < chunk.count; i++) {
        const seq = chunk.firstSeq + i
        if (chunk.isSettled(i) || (chunk.tags[i]! & TAG_SHARED) === 0 || chunk.markOf(i) !== undefined) continue
        const loan = loanOf(chunk.message(i), chunk.tags[i]!, groups, seq < maybeSentBefore)
        if (loan !== null) redistribute([loan])
        store.mark(lane, seq, MOVED)
      }
    } finally {
      // Those without members were made for this.
      for (const group of groups) subscriptions.groupLeft(group)
    }
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
