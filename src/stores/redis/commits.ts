/**
 * The life of a group: closed, sent as one script, answered.
 *
 *     open ──commit()──▶ under way ──answer──▶ durable: onCommitted of its chunks, then commit() resolves
 *                          │  ▲
 *                          │  └─ connection came back: asked which group was the last; sent again what was not applied
 *                          ├──▶ refused: nothing of it is in Redis; settlements are written by the repair
 *                          └──▶ given up (no answer in time): commit() rejects; `doubtful` until Redis answers again. Was it
 *                               applied, what it appended is settled; was it not, its settlements are written by the repair
 *
 * As in the embedded store, a failure takes every group under way, the open one, and all commits until the turn is over.
 */
import { setImmediate as atTurnEnd } from 'node:timers'
import { setImmediate } from 'node:timers/promises'
import { SluiceError } from '../../errors.ts'
import { carryOver, durable, type GroupAnswer, parseAnswer, takeBack, undo } from './answers.ts'
import type { RedisChunk } from './chunk.ts'
import { Group } from './group.ts'
import { GroupEncoder } from './group-bytes.ts'
import type { RedisLane } from './lane.ts'
import { type Link, type Reply, refusal } from './link.ts'
import type { MessageCodec } from './message-codec.ts'
import type { State } from './state.ts'

const UNDER_WAY_MAX = 2
/** How often groups under way are looked at, in ms. */
const WATCH_MS = 100
/** Pause before a group that Redis could not take just now (loading, failing over) is sent again, in ms. */
const AGAIN_MS = 50
/** Error replies that pass: Redis is loading, failing over, busy, or does not know the script any more. */
const PASSING = new Set(
  'NOSCRIPT GROUP_GAP GROUP_STALE LOADING READONLY CLUSTERDOWN MASTERDOWN TRYAGAIN MOVED ASK BUSY UNBLOCKED NOREPLICAS'.split(' '),
)

export interface CommitOptions {
  /** How long a commit may take before it is refused. */
  readonly commitTimeoutMs: number
  /** How long a connection may be silent before it is given up for another. */
  readonly answerTimeoutMs: number
  /** Replicas that must have a group, and how: see decision 6. */
  readonly replicas: { readonly count: number; readonly aof: boolean }
  /** Changes kept for nodes that fall behind. */
  readonly changesKept: number
}

export class Commits {
  readonly #state: State
  readonly #link: Link
  readonly #options: CommitOptions
  readonly #encoder: GroupEncoder
  readonly #catchUp: (lane: RedisLane) => void
  readonly #doomed: (lanes: number) => void
  readonly #underWay: Group[] = []
  #doubtful: Group[] = []
  #repair: Group | null = null
  open = new Group()
  /** Number of the last group known to be applied, and of the last one sent. */
  #applied = 0
  #sent = 0
  /** Raised when answers of earlier commands are no longer to be believed. */
  #session = 0
  /** It is known which group was applied last: groups may be sent. */
  #synced = false
  #awaySince = 0
  #lately: SluiceError | null = null
  #failures = 0
  #fenced = false
  #closing = false
  #watching = false
  #closed = false
  pendingBytes = 0
  commits = 0
  lastCommitMs = 0

  constructor(
    state: State,
    link: Link,
    options: CommitOptions,
    codec: MessageCodec | null,
    on: { catchUp: (lane: RedisLane) => void; doomed: (lanes: number) => void },
  ) {
    this.#state = state
    this.#link = link
    this.#options = options
    this.#encoder = new GroupEncoder(codec)
    this.#catchUp = on.catchUp
    this.#doomed = on.doomed
  }

  /** All groups that are not answered, oldest first. */
  get unanswered(): Group[] {
    return [...this.#doubtful, ...this.#underWay, ...(this.#repair === null ? [] : [this.#repair]), this.open]
  }

  /** The node joined anew: what others refused may be written again. */
  joined(): void {
    this.#fenced = false
  }

  commit(): Promise<void> {
    const { open } = this
    if (this.#lately !== null) {
      this.#failOpen(this.#lately)
      return Promise.reject(this.#lately)
    }
    if (!open.touched && this.#repair === null) return this.#underWay.at(-1)?.done ?? Promise.resolve()
    open.closeWanted = true
    this.#closeIfPossible()
    return open.done
  }

  async finish(): Promise<void> {
    while (this.#lately !== null) await setImmediate()
    await this.commit().finally(() => {
      this.#closed = true
    })
  }

  /** The connection stands (again): finds out what was applied, then goes on. */
  async synchronise(): Promise<void> {
    const session = ++this.#session
    this.#synced = false
    let found: Reply[]
    try {
      found = (await this.#link.run('sync', this.#state.keys.writer(this.#state.writer), session)) as Reply[]
      if (this.#applied < Number(found[0] ?? 0) && this.#copies) await this.#replicated(session)
    } catch {
      // The connection is gone again, or Redis is not ready: the watch or the next connection tries again.
      if (session === this.#session && this.#link.ready) this.#state.clock.after(AGAIN_MS, () => this.#again(session))
      return
    }
    if (session !== this.#session) return
    const last = Number(String(found[0] ?? 0))
    const answerOf = (group: Group): GroupAnswer | null => {
      const reply = group.sent && group.number <= last && group.number > last - 2 ? found[1 + (group.number % 2)] : null
      return reply == null ? null : parseAnswer(String(reply))
    }
    if (last < this.#applied) this.#state.onEvent({ type: 'rolled-back', groups: this.#applied - last })
    this.#applied = last
    this.#sent = last
    this.#settleDoubts(answerOf)
    const waiting = [...this.#underWay]
    const answers = waiting.map(answerOf)
    this.#synced = true
    if (this.#awaySince > 0) {
      this.#state.onEvent({ type: 'back', awayMs: this.#state.clock.monotonic() - this.#awaySince })
      this.#awaySince = 0
    }
    this.#submitRepair()
    for (const [i, group] of waiting.entries()) {
      const answer = answers[i] ?? null
      if (answer === null) this.#send(group)
      else this.#durable(group, answer)
    }
    this.#closeIfPossible()
  }

  /** The connection is gone. */
  away(): void {
    this.#session++
    this.#synced = false
    if (this.#awaySince > 0 || this.#closed) return
    this.#awaySince = this.#state.clock.monotonic()
    this.#state.onEvent({ type: 'away' })
  }

  #again(session: number): void {
    if (session === this.#session && this.#link.ready) void this.synchronise()
  }

  #settleDoubts(answerOf: (group: Group) => GroupAnswer | null): void {
    let entries = 0
    for (const group of this.#doubtful) {
      const answer = answerOf(group)
      this.#repair ??= newRepair()
      if (answer === null) for (const writes of group.lanes) carryOver(writes, this.#repair)
      else entries += takeBack(this.#state, group, answer, this.#repair)
    }
    this.#doubtful = []
    if (this.#repair !== null && !this.#repair.touched) this.#repair = null
    if (entries > 0) this.#state.onEvent({ type: 'taken-back', entries })
  }

  #closeIfPossible(): void {
    const group = this.open
    if (!group.closeWanted || this.#underWay.length >= UNDER_WAY_MAX) return
    if (this.#repair !== null) {
      this.#submitRepair()
      if (this.#underWay.length >= UNDER_WAY_MAX) return
    }
    this.open = new Group()
    for (const { lane } of group.lanes) lane.open = null
    this.#submit(group)
  }

  /** See the embedded store: what a turn wrote is durable, or refused, as a whole. */
  #closeAtTurnEnd(): void {
    if (this.#closing || !this.open.closeWanted) return
    this.#closing = true
    atTurnEnd(() => {
      this.#closing = false
      this.#closeIfPossible()
    })
  }

  #submitRepair(): void {
    const repair = this.#repair
    if (repair === null || !this.#synced || this.#underWay.length >= UNDER_WAY_MAX) return
    this.#repair = null
    this.#submit(repair)
  }

  #submit(group: Group): void {
    const { clock } = this.#state
    group.closedAt = clock.monotonic()
    this.#underWay.push(group)
    const away = this.#awaySince > 0 && group.closedAt - this.#awaySince > this.#options.commitTimeoutMs
    if (this.#fenced) this.#fail(fenced())
    else if (away) this.#fail(unavailable('it is away'), true)
    else if (this.#synced) this.#send(group)
    this.#watch()
  }

  #send(group: Group): void {
    const { keys, writer, node, incarnation } = this.#state
    group.number = ++this.#sent
    group.sent = true
    group.encoded ??= this.#encoder.encode(group)
    const session = this.#session
    const { changesKept } = this.#options
    const grows = group.grows ? 1 : 0
    const args = [keys.prefix, keys.aedes, writer, node, incarnation, group.number, grows, changesKept]
    const answer = this.#link.evaluate('group', keys.writer(writer), [...args, group.encoded, session])
    const copied = this.#copies ? this.#replicated(session) : null
    const outcome = copied === null ? answer : Promise.all([answer, copied]).then(([reply]) => reply)
    outcome.then(
      (reply) => {
        if (session === this.#session) this.#durable(group, parseAnswer(String(reply)))
      },
      (error: unknown) => {
        if (session === this.#session) this.#refused(error)
      },
    )
  }

  /** Replicas have to have what is written. */
  get #copies(): boolean {
    return this.#options.replicas.count > 0 || this.#options.replicas.aof
  }

  /** Waits until as many replicas as asked for have everything sent so far, or the connection is given up. */
  async #replicated(session: number): Promise<void> {
    const { count, aof } = this.#options.replicas
    const { client } = this.#link
    const wanted = String(count)
    while (session === this.#session) {
      const reply = await (aof ? client.call('WAITAOF', '1', wanted, '1000') : client.call('WAIT', wanted, '1000'))
      const [local, copies] = Array.isArray(reply) ? (reply as number[]) : [1, reply as number]
      if (local! >= 1 && copies! >= count) return
    }
  }

  #durable(group: Group, answer: GroupAnswer): void {
    const state = this.#state
    this.#underWay.splice(this.#underWay.indexOf(group), 1)
    this.#applied = Math.max(this.#applied, group.number)
    this.pendingBytes -= group.bytes
    const chunks: RedisChunk[] = []
    for (const [i, writes] of group.lanes.entries()) {
      const of = answer.lanes[i]!
      const chunk = durable(state, writes, of)
      if (chunk === 'gap') this.#catchUp(writes.lane)
      else if (chunk !== null) chunks.push(chunk)
      if (of.lost) this.lost(writes.lane)
    }
    for (const [key, value] of group.metaPut) {
      if (value === undefined) state.meta.delete(key)
      else state.meta.set(key, value)
    }
    this.#noteChanges(group, answer.newestChange)
    if (!group.repairs) this.commits++
    this.lastCommitMs = state.clock.monotonic() - group.closedAt
    this.#closeAtTurnEnd()
    for (const chunk of chunks) announce(chunk)
    group.resolve()
    state.trimCache()
    if (answer.doomed > 0) this.#doomed(answer.doomed)
  }

  /** Another process keeps the lane. */
  lost(lane: RedisLane): void {
    if (!lane.kept) return
    lane.kept = false
    this.#state.letGoOfLane(lane)
    this.#state.watcher?.lost(lane)
  }

  #noteChanges(group: Group, newest: number): void {
    if (group.changes.length === 0) return
    this.#state.newestChange = newest
    if (this.#state.watcher === null) return
    const first = newest - group.changes.length + 1
    for (const [i, change] of group.changes.entries()) this.#state.ownChanges.set(first + i, change)
  }

  #refused(error: unknown): void {
    const why = refusal(error)
    const { message } = error as Error
    if (why === 'NODE_FENCED') {
      this.#fenced = true
      this.#fail(fenced())
      this.#state.watcher?.fenced()
    } else if (why === 'OOM') {
      this.#fail(new SluiceError('store_full', `Redis has no memory left: ${message}`))
    } else if (why !== null && !PASSING.has(why)) {
      this.#fail(unavailable(message))
    } else if (this.#link.ready) {
      // Nothing is known about what was sent: find out.
      this.#synced = false
      const session = ++this.#session
      if (why === 'READONLY' || why === null) this.#link.break()
      this.#state.clock.after(AGAIN_MS, () => this.#again(session))
    }
  }

  /** Refuses all groups under way and the open one. Those that were sent and got no answer stay in doubt. */
  #fail(error: SluiceError, doubtful = false): void {
    const groups = this.#underWay.splice(0)
    this.#sent = this.#applied
    this.#session++
    let repairFailed = true
    for (const group of groups) {
      repairFailed &&= group.repairs
      const unknown = doubtful && group.sent
      if (unknown) this.#doubtful.push(group)
      else this.#repair ??= newRepair()
      undo(group, unknown ? null : this.#repair)
      this.#reject(group, error)
    }
    if (!repairFailed) {
      this.#failOpen(error)
      this.#remember(error)
    }
    if (this.#repair !== null && !this.#repair.touched) this.#repair = null
    // A repair that failed alone waits for the next group: at once it would go on for ever.
    if (!repairFailed) this.#submitRepair()
  }

  #reject(group: Group, error: SluiceError): void {
    this.pendingBytes -= group.bytes
    if (!group.repairs) this.#state.onEvent({ type: 'commit-failed', error, bytes: group.bytes })
    group.reject(error)
  }

  #failOpen(error: SluiceError): void {
    const group = this.open
    if (!group.touched) return
    this.open = new Group()
    for (const { lane } of group.lanes) lane.open = null
    this.#repair ??= newRepair()
    undo(group, this.#repair)
    if (!this.#repair.touched) this.#repair = null
    this.#reject(group, error)
  }

  #remember(error: SluiceError): void {
    this.#lately = error
    const current = ++this.#failures
    void (async () => {
      await setImmediate()
      await setImmediate()
      if (this.#failures === current) this.#lately = null
    })()
  }

  /** Looks now and then whether what is under way takes too long. */
  #watch(): void {
    if (this.#watching) return
    this.#watching = true
    this.#state.clock.after(WATCH_MS, () => {
      this.#watching = false
      const oldest = this.#underWay[0]
      if (oldest === undefined) return
      const ageMs = this.#state.clock.monotonic() - oldest.closedAt
      if (ageMs >= this.#options.commitTimeoutMs) {
        this.#fail(unavailable('no answer in time'), true)
        this.#synced = false
        this.#link.break()
      } else if (ageMs >= this.#options.answerTimeoutMs && !this.#copies && this.#link.ready) this.#link.break()
      if (this.#underWay.length > 0) this.#watch()
    })
  }
}

export function announce(chunk: RedisChunk): void {
  const listener = chunk.lane.onCommitted
  if (listener === null || chunk.lane.dropped || chunk.unsettled === 0) return
  chunk.handedOut = true
  try {
    listener(chunk)
  } catch (error) {
    // The group is durable whatever its listeners do: their bug must not reach the publishers.
    queueMicrotask(() => {
      throw error
    })
  }
}

function newRepair(): Group {
  const group = new Group()
  group.repairs = true
  return group
}

const unavailable = (why: string): SluiceError => new SluiceError('store_unavailable', `Redis did not store it: ${why}`)
const fenced = (): SluiceError => new SluiceError('node_fenced', 'Other nodes declared this node dead.')
