/**
 * The life of a group: handed to the engine when it is closed, then durable or undone.
 *
 *     open ──commit()──▶ closed, under way ──▶ durable: onCommitted of its chunks, then commit() resolves
 *       │                                 └──▶ failed:  what it appended is gone; what was settled or dropped in it
 *       │                                              stays so in memory and is written with the next group
 *       ├── while a group is under way, commit() waits and the open group goes on growing; a large one waits only
 *       │   for its turn among `underWayMax`
 *       └── a group before it fails: it fails too
 *
 * Settlements survive a failure because they are facts: the subscriber has acknowledged. Appends, marks and records do not:
 * their caller is told, and has promised nobody anything yet. What survives is tried at once in a group of its own, the
 * repair: on a full disk it makes room, where together with new messages it would fail again and again.
 *
 * Anybody's commit() closes the group for all. Whoever writes and calls commit() at the end of the turn must hear of it when a
 * part of the writes went into a group that was closed before and has failed. So a failure takes the open group with it, and
 * every commit() until the turn is over: an error too many costs a retry, one too few a message.
 */
import { setImmediate as atTurnEnd } from 'node:timers'
import { setImmediate } from 'node:timers/promises'
import { SluiceError } from '../../errors.ts'
import { Group } from './group.ts'
import { GroupWriter } from './group-writer.ts'
import type { State } from './state.ts'
import type { Sweeper } from './sweeper.ts'
import { undoGroup } from './undo.ts'

/** Pause between two commits that only sweep, and after one of them has failed. */
const SWEEP_PAUSE_MS = 2
const SWEEP_RETRY_MS = 1000

export class Commits {
  readonly #state: State
  readonly #sweeper: Sweeper
  readonly #writer: GroupWriter
  /** A group has failed and others are still under way: nothing is handed to the engine until they have come back. */
  #failing = false
  #repairNow = false
  /** `#closeAtTurnEnd` is on its way. */
  #closing = false
  /** The failure of a group, until the turn after it is over. */
  #lately: SluiceError | null = null
  #failures = 0
  #broken = false
  #stopSweep: (() => void) | null = null
  #closed = false
  pendingBytes = 0
  commits = 0
  lastCommitMs = 0

  constructor(state: State, sweeper: Sweeper) {
    this.#state = state
    this.#sweeper = sweeper
    this.#writer = new GroupWriter(state)
  }

  commit(): Promise<void> {
    const { open, underWay, repair } = this.#state
    if (this.#lately !== null) {
      this.#failOpen(this.#lately)
      return Promise.reject(this.#lately)
    }
    if (!open.touched && repair === null) {
      const last = underWay[underWay.length - 1]
      return last === undefined ? Promise.resolve() : last.done
    }
    open.closeWanted = true
    this.#closeIfPossible()
    return open.done
  }

  /** Lets sweeping go on by itself. */
  keepSweeping(): void {
    this.#scheduleSweep(SWEEP_PAUSE_MS)
  }

  /** Commits what is open and waits for everything under way. */
  async finish(): Promise<void> {
    this.#closed = true
    this.#stopSweep?.()
    while (this.#lately !== null) await setImmediate()
    await this.commit()
  }

  /** Cleaning up can wait; what others commit cannot wait for it. */
  #sweep(group: Group): void {
    try {
      this.#sweeper.sweep(group)
    } catch (error) {
      if (!(error instanceof SluiceError)) throw error
      this.#scheduleSweep(SWEEP_RETRY_MS)
    }
  }

  #closeIfPossible(): void {
    const state = this.#state
    const group = state.open
    if (!group.closeWanted || this.#failing) return
    if (state.repair !== null) this.#submitRepair()
    if (state.underWay.length >= state.engine.underWayMax) return
    // A repair goes ahead of a group and not instead of it: it would be tried again and again, and the group never.
    if (group.bytes < state.engine.overlapBytes && state.underWay.some(({ repairs }) => !repairs)) return
    if (this.#sweeper.busy && !this.#closed) this.#sweep(group)
    state.open = new Group()
    this.#submit(group)
  }

  /**
   * The group that waited is closed where turns end, not between two writes of one turn: what a turn wrote is durable, or
   * refused, as a whole.
   */
  #closeAtTurnEnd(): void {
    if (this.#closing || !this.#state.open.closeWanted) return
    this.#closing = true
    atTurnEnd(() => {
      this.#closing = false
      this.#closeIfPossible()
    })
  }

  #submit(group: Group): void {
    const state = this.#state
    group.closedAt = state.clock.monotonic()
    for (const { closed } of group.watchers) closed()
    const batch = this.#writer.write(group)
    state.underWay.push(group)
    state.engine.commit(batch, (failure) => {
      if (failure === null) this.#durable(group)
      else this.#failed(group, failure)
    })
  }

  #durable(group: Group): void {
    const state = this.#state
    state.underWay.splice(state.underWay.indexOf(group), 1)
    for (const chunk of group.chunks) {
      if (chunk.state !== 'underWay') continue
      chunk.state = 'durable'
      if (chunk.lane.dropped) state.discard(chunk)
      else state.cache.add(chunk)
    }
    for (const chunk of group.settledWritten) chunk.pins--
    for (const chunk of group.removing) {
      chunk.state = 'gone'
      state.discard(chunk)
    }
    this.#unpin(group)
    for (const name of group.droppedNames) {
      const left = (state.droppedNames.get(name) ?? 1) - 1
      if (left === 0) state.droppedNames.delete(name)
      else state.droppedNames.set(name, left)
    }
    this.#sweeper.add(group.doomed)
    for (const { chunks } of group.undoomed) state.onEvent({ type: 'lane-removed', chunks })
    this.#settle(group)
    for (const { decided } of group.watchers) decided(null)
    if (state.underWay.length === 0) this.#failing = false
    this.commits++
    this.lastCommitMs = state.clock.monotonic() - group.closedAt
    this.#closeAtTurnEnd()
    this.#announce(group)
    group.resolve()
    for (const chunk of group.chunks) {
      // Whoever reads a lane that is longer than the cache comes to this chunk when it is long gone from there.
      const far = !chunk.lane.dropped && chunk.lane.waitingBytes > state.cache.bytesMax
      if (far && chunk.memory > 0 && chunk.evictable) state.evicted(chunk)
    }
    state.cache.evict(state.evicted)
    if (this.#sweeper.busy) this.#scheduleSweep(SWEEP_PAUSE_MS)
  }

  #announce(group: Group): void {
    for (const chunk of group.chunks) {
      const listener = chunk.lane.onCommitted
      if (listener === null || chunk.lane.dropped || chunk.unsettled === 0) continue
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
  }

  #failed(group: Group, error: SluiceError): void {
    const state = this.#state
    state.underWay.splice(state.underWay.indexOf(group), 1)
    this.#failing = state.underWay.length > 0
    this.#undo(group, error)
    if (!group.repairs) {
      this.#failOpen(error)
      this.#remember(error)
    }
    const { broken } = state.engine
    if (broken && !this.#broken) {
      this.#broken = true
      state.onEvent({ type: 'broken', error: broken })
    }
    // A repair that failed alone goes ahead of the next group; trying it again at once would go on for ever.
    this.#repairNow ||= !group.repairs
    if (!this.#failing) {
      if (this.#repairNow && state.repair !== null) this.#submitRepair()
      this.#repairNow = false
    }
    this.#closeIfPossible()
    if (this.#sweeper.busy) this.#scheduleSweep(SWEEP_RETRY_MS)
  }

  #failOpen(error: SluiceError): void {
    const state = this.#state
    const group = state.open
    if (!group.touched) return
    state.open = new Group()
    this.#undo(group, error)
  }

  /** Lets commits fail until whoever wrote before now has had the end of the turn to call commit(). */
  #remember(error: SluiceError): void {
    this.#lately = error
    const current = ++this.#failures
    void (async () => {
      await setImmediate()
      await setImmediate()
      if (this.#failures === current) this.#lately = null
    })()
  }

  #undo(group: Group, error: SluiceError): void {
    const state = this.#state
    state.repair ??= new Group()
    undoGroup(state, group, state.repair)
    for (const { decided } of group.watchers) decided(error)
    if (!state.repair.touched) state.repair = null
    this.#unpin(group)
    this.#settle(group)
    if (!group.repairs) state.onEvent({ type: 'commit-failed', error, bytes: group.bytes })
    group.reject(error)
  }

  #submitRepair(): void {
    const repair = this.#state.repair!
    this.#state.repair = null
    repair.repairs = true
    this.#submit(repair)
  }

  #unpin(group: Group): void {
    const { segments } = this.#state
    for (const segment of group.segments) {
      segment.pins--
      segments.letGo(segment)
    }
    for (const segment of group.counted) {
      segment.pins--
      segments.letGo(segment)
    }
  }

  #settle(group: Group): void {
    this.pendingBytes -= group.bytes
    if (group.arena !== null) this.#writer.arenas.give(group.arena)
    group.arena = null
  }

  #scheduleSweep(ms: number): void {
    if (this.#stopSweep !== null || this.#closed) return
    this.#stopSweep = this.#state.clock.after(ms, () => {
      this.#stopSweep = null
      if (!this.#sweeper.busy || this.#closed) return
      this.#state.open.touched = true
      this.commit().catch(() => {})
    })
  }
}
