/**
 * The life of a group: closed, sent as one script, answered. Size: one state machine with all ways out of it.
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
import { announce, carryOver, durable, type GroupAnswer, takeBack, undo } from './answers.ts'
import type { RedisChunk } from './chunk.ts'
import { Group } from './group.ts'
import type { RedisLane } from './lane.ts'
import type { Link } from './link.ts'
import type { MessageCodec } from './message-codec.ts'
import { judge, unavailable } from './refusals.ts'
import { Sender, type SenderOptions } from './sender.ts'
import type { State } from './state.ts'

const UNDER_WAY_MAX = 2
/** How often groups under way are looked at, in ms. */
const WATCH_MS = 100
/** Pause before a group that Redis could not take just now (loading, failing over) is sent again, in ms. */
const AGAIN_MS = 50
/** Lanes of work queues. */
const QUEUE = /^q\d*\//
export interface CommitOptions extends SenderOptions {
  /** How long a commit may take before it is refused. */
  readonly commitTimeoutMs: number
  /** How long a connection may be silent before it is given up for another. */
  readonly answerTimeoutMs: number
}

export class Commits {
  readonly #state: State
  readonly #link: Link
  readonly #options: CommitOptions
  readonly #sender: Sender
  readonly #codec: MessageCodec | null
  readonly #catchUp: (lane: RedisLane) => void
  readonly #doomed: (lanes: number) => void
  readonly #underWay: Group[] = []
  #doubtful: Group[] = []
  /** Client Identifiers that other nodes took without this one's letting go, when the doubtful groups were asked about. */
  #passed: ReadonlySet<string> = new Set()
  #repair: Group | null = null
  open = new Group()
  #awaySince = 0
  #lately: SluiceError | null = null
  #failures = 0
  #fenced: SluiceError | null = null
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
    this.#codec = codec
    this.#sender = new Sender(state, link, options, codec)
    this.#catchUp = on.catchUp
    this.#doomed = on.doomed
  }

  /** All groups that are not answered, oldest first. */
  get unanswered(): Group[] {
    return [...this.#doubtful, ...this.#underWay, ...(this.#repair === null ? [] : [this.#repair]), this.open]
  }

  /** The node joined anew: what others refused may be written again. */
  joined(): void {
    this.#fenced = null
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

  /** See `Shared.certain`. */
  async certain(): Promise<void> {
    while (this.#doubtful.length > 0 || this.#repair !== null || this.#underWay.some(({ repairs }) => repairs)) {
      this.open.touched = true
      await this.commit()
    }
  }

  async finish(): Promise<void> {
    while (this.#lately !== null) await setImmediate()
    await this.commit().finally(() => {
      this.#closed = true
    })
  }

  /** See `Sender.checkCopies`. */
  checkCopies(): Promise<void> {
    return this.#sender.checkCopies()
  }

  /** The connection stands (again): finds out what was applied, then goes on. */
  async synchronise(): Promise<void> {
    try {
      const answerOf = await this.#sender.synchronise(async () => {
        if (this.#doubtful.length > 0) this.#passed = await this.#sender.passedOver()
      })
      if (answerOf !== null) this.#resume(answerOf)
    } catch {
      // The connection is gone again, or Redis is not ready.
      this.#again()
    }
  }

  #resume(answerOf: (group: Group) => GroupAnswer | null): void {
    this.#settleDoubts(answerOf)
    if (this.#awaySince > 0) {
      this.#state.onEvent({ type: 'back', awayMs: this.#state.clock.monotonic() - this.#awaySince })
      this.#awaySince = 0
    }
    const waiting = [...this.#underWay]
    const answers = waiting.map(answerOf)
    for (const [i, group] of waiting.entries()) {
      const answer = answers[i] ?? null
      if (answer === null) this.#send(group)
      else this.#durable(group, answer)
    }
    this.#submitRepair()
    this.#closeIfPossible()
  }

  /** The connection is gone. */
  away(): void {
    this.#sender.forget()
    if (this.#awaySince > 0 || this.#closed) return
    this.#awaySince = this.#state.clock.monotonic()
    this.#state.onEvent({ type: 'away' })
  }

  /** Tries again in a moment, unless a new connection has begun to by then. */
  #again(): void {
    const generation = this.#sender.forget()
    this.#state.clock.after(AGAIN_MS, () => {
      if (this.#sender.current(generation) && this.#link.ready) void this.synchronise()
    })
  }

  /**
   * Whose messages of QoS 2 stay: those of publishers that went on on another node, which found their Packet Identifiers (they are in
   * this group) and has acknowledged them; and those of publishers that were told nothing and send them again. What was only
   * moved into a queue is moved again by who moved it.
   */
  #staysOf(group: Group): ReadonlySet<string> {
    const publishers = new Set<string>()
    for (const [clientId, packetIds] of packetIdsOf(group)) {
      const stays = this.#passed.has(clientId) || (!this.#sentAnew(clientId) && this.#foundDone(clientId, packetIds))
      if (stays) publishers.add(clientId)
    }
    return publishers
  }

  #foundDone(clientId: string, packetIds: readonly number[]): boolean {
    return this.#state.watcher?.foundDone(clientId, packetIds) ?? false
  }

  /** Its PUBLISH packets are in a group that is not decided yet. */
  #sentAnew(clientId: string): boolean {
    return [...this.#underWay, this.open].some(({ tables }) =>
      tables.some(({ op, key }) => op === 'I' && key === clientId),
    )
  }

  /** See `#staysOf`. */
  #staysIn(publishers: ReadonlySet<string>): (message: Buffer, lane: RedisLane) => boolean {
    return (message, lane) => {
      const parts = publishers.size === 0 || QUEUE.test(lane.name) ? null : (this.#codec?.parts(message) ?? null)
      return parts !== null && parts.qos === 2 && publishers.has(parts.clientId)
    }
  }

  #settleDoubts(answerOf: (group: Group) => GroupAnswer | null): void {
    let entries = 0
    for (const group of this.#doubtful) {
      const answer = answerOf(group)
      this.#repair ??= newRepair()
      if (answer === null) {
        for (const writes of group.lanes) carryOver(writes, this.#repair)
        // A repair that got lost: what it was to take out is still there.
        if (group.repairs)
          for (const { op, key, value } of group.tables)
            if (!this.#isPutAnew(key, value)) this.#repair.takeOut(op, key, value)
        continue
      }
      const publishers = this.#staysOf(group)
      entries += takeBack(this.#state, group, answer, this.#repair, this.#staysIn(publishers))
      this.#takeBackPacketIds(group, publishers, this.#repair)
      // What stays has not been told to the lane's keeper.
      if (publishers.size > 0) for (const { lane } of group.lanes) if (lane.kept) this.#catchUp(lane)
    }
    this.#doubtful = []
    if (this.#repair !== null && !this.#repair.touched) this.#repair = null
    if (entries > 0) this.#state.onEvent({ type: 'taken-back', entries })
  }

  /** Else the PUBLISH that was refused would be taken for stored when it is sent again, to another node. */
  #takeBackPacketIds({ tables }: Group, stay: ReadonlySet<string>, into: Group): void {
    for (const { op, key, value } of tables) {
      if (op !== 'I' || stay.has(key)) continue
      if (!this.#isPutAnew(key, value)) into.takeOut('i', key, value)
    }
  }

  /** The Packet Identifier is in a group that is not decided yet. */
  #isPutAnew(clientId: string, packetId: string | Buffer): boolean {
    return [...this.#underWay, this.open].some(({ tables }) =>
      tables.some(({ op, key, value }) => op === 'I' && key === clientId && value === packetId),
    )
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
    if (repair === null || !this.#sender.synced || this.#underWay.length >= UNDER_WAY_MAX) return
    this.#repair = null
    this.#submit(repair)
  }

  #submit(group: Group): void {
    const { clock } = this.#state
    group.closedAt = clock.monotonic()
    for (const { closed } of group.watchers) closed()
    this.#underWay.push(group)
    const away = this.#awaySince > 0 && group.closedAt - this.#awaySince > this.#options.commitTimeoutMs
    if (this.#fenced !== null) this.#fail(this.#fenced)
    else if (away) this.#fail(unavailable('it is away'), true)
    else if (this.#sender.synced) this.#send(group)
    this.#watch()
  }

  #send(group: Group): void {
    this.#sender.send(
      group,
      (answer) => this.#durable(group, answer),
      (error) => this.#refused(error),
    )
  }

  #durable(group: Group, answer: GroupAnswer): void {
    const state = this.#state
    this.#underWay.splice(this.#underWay.indexOf(group), 1)
    this.pendingBytes -= group.bytes
    const chunks: RedisChunk[] = []
    for (const [i, writes] of group.lanes.entries()) {
      const of = answer.lanes[i]!
      const told = durable(state, writes, of, answer.place)
      if (told === 'gap') this.#catchUp(writes.lane)
      else for (const chunk of told) chunks.push(chunk)
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
    for (const { decided } of group.watchers) decided(null)
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
    const judged = judge(error)
    if (judged instanceof SluiceError) {
      if (judged.code === 'node_fenced') this.#fenced = judged
      this.#fail(judged)
      if (judged === this.#fenced) this.#state.watcher?.fenced()
    } else if (judged === 'passed over') {
      this.#fail(unavailable('other nodes took over sessions that this one did not let go of'))
      this.#state.watcher?.passedOver()
    } else {
      if (judged === 'elsewhere') this.#link.break()
      this.#again()
    }
  }

  /** Refuses all groups under way and the open one. Those that were sent and got no answer stay in doubt. */
  #fail(error: SluiceError, doubtful = false): void {
    const groups = this.#underWay.splice(0)
    this.#sender.restart()
    let repairFailed = true
    for (const group of groups) {
      repairFailed &&= group.repairs
      const unknown = doubtful && group.sent
      if (unknown) this.#doubtful.push(group)
      else this.#repair ??= newRepair()
      undo(group, unknown ? null : this.#repair)
      if (group.repairs && !unknown)
        for (const { op, key, value } of group.tables) this.#repair?.takeOut(op, key, value)
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
    for (const { decided } of group.watchers) decided(error)
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
        this.#sender.forget()
        this.#link.break()
      } else if (ageMs >= this.#options.answerTimeoutMs && !this.#sender.copies && this.#link.ready) {
        this.#link.break()
      }
      if (this.#underWay.length > 0) this.#watch()
    })
  }
}

/** Packet Identifiers of QoS 2 PUBLISH packets in the group, by client. */
function packetIdsOf({ tables }: Group): Map<string, number[]> {
  const found = new Map<string, number[]>()
  for (const { op, key, value } of tables) {
    if (op !== 'I') continue
    const known = found.get(key)
    if (known === undefined) found.set(key, [Number(value)])
    else known.push(Number(value))
  }
  return found
}

function newRepair(): Group {
  const group = new Group()
  group.repairs = true
  return group
}
