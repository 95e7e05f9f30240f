import type { Clock } from '../base/clock.ts'
import { ownMemory } from '../base/own-memory.ts'
import type { Commits } from '../router/commits.ts'
import { decodeMessage, encodeMessage, Origin } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import type { Publisher, Router } from '../router/router.ts'
import { UndoJournal } from '../router/undo-journal.ts'
import type { Store, WillRecord } from '../store.ts'
import type { Events } from '../telemetry/events.ts'
import { attempt } from './expiry.ts'
import type { Session } from './session.ts'

export interface WillsContext {
  readonly store: Store
  readonly commits: Commits
  readonly clock: Clock
  readonly events: Events
  readonly router: Router
  /** The client's session, where it outlived the connection. */
  session(clientId: string): Session | undefined
  /** Hears of each will that was published. */
  published(publication: Publication): void
}

/** After a commit that failed, before what it held is tried again, in ms. */
const RETRY_MS = 1000

/**
 * Will Messages ([v5 3.1.2.5] [v3 3.1.2.5]). A will is durable before its CONNACK, so that it is published after a crash
 * of the broker too. It is published and deleted in one commit: once, whatever happens.
 *
 *     set ──DISCONNECT──▶ gone
 *      │ └──connection lost, no delay──▶ published
 *      └────connection lost, delay──▶ due later ──time, or end of the session──▶ published
 *                                        └──the client is back──▶ gone
 *
 * When the commit of a step fails, the step before holds again, with two exceptions: who said goodbye has said it, and a will
 * that was due stays due. Both are tried again until the store takes them.
 */
export class Wills {
  readonly #c: WillsContext
  readonly #wills = new Map<string, WillRecord>()
  readonly #delays = new Map<string, () => void>()
  readonly #undo: UndoJournal<WillRecord | undefined>
  /** Published, and a failed commit took it back. */
  readonly #owed = new WeakSet<WillRecord>()

  /** What has to be added to times in the store when it is restored, in ms (`ClockShift`). */
  storedShiftMs = 0

  constructor(context: WillsContext) {
    this.#c = context
    this.#undo = new UndoJournal(context.store, (clientId, before) => this.#takeBack(clientId, before))
  }

  values(): IterableIterator<WillRecord> {
    return this.#wills.values()
  }

  get(clientId: string): WillRecord | undefined {
    return this.#wills.get(clientId)
  }

  set(record: WillRecord): void {
    this.discard(record.clientId)
    record.message = ownMemory(record.message)
    this.#undo.note(record.clientId, undefined)
    this.#wills.set(record.clientId, record)
    this.#c.store.putWill(record)
    this.#c.commits.scheduleLazily()
  }

  /** The client is back before the delay was over. */
  discard(clientId: string): void {
    const record = this.#wills.get(clientId)
    if (record === undefined) return
    // Its connection was lost and its time had come: that the client is back changes nothing.
    if (this.#owed.has(record)) return this.publish(clientId)
    this.#undo.note(clientId, record)
    this.#remove(clientId)
    this.#c.commits.scheduleLazily()
  }

  /**
   * The client is back in its session. A will whose delay runs is not sent [v5 MQTT-3.1.3-9]; one of a connection that was lost with
   * the node that served it is due, unless it has a delay.
   */
  returned(clientId: string, nodeId: string): void {
    const record = this.#wills.get(clientId)
    const lostWithNode = this.#c.store.shared !== null && record?.dueAt === 0 && record.node !== nodeId
    if (lostWithNode && record.delaySeconds === 0) this.publish(clientId)
    else this.discard(clientId)
  }

  /** The client said goodbye [v5 MQTT-3.14.4-3] [v3 MQTT-3.1.2-10]. */
  withdraw(clientId: string): void {
    if (!this.#wills.has(clientId)) return
    this.#remove(clientId)
    this.#c.commits.scheduleLazily()
    const decided = (failure: unknown): void => {
      if (failure !== null)
        this.#delays.set(
          clientId,
          this.#c.clock.after(RETRY_MS, () => this.#withdrawAgain(clientId)),
        )
    }
    this.#c.store.watchGroup(() => {}, decided)
  }

  #withdrawAgain(clientId: string): void {
    this.#delays.delete(clientId)
    if (this.#wills.has(clientId)) return
    this.#c.store.deleteWill(clientId)
    this.#c.commits.wait({
      committed: () => {},
      notCommitted: () =>
        this.#delays.set(
          clientId,
          this.#c.clock.after(RETRY_MS, () => this.#withdrawAgain(clientId)),
        ),
    })
  }

  #remove(clientId: string): void {
    this.#wills.delete(clientId)
    this.#cancelDelay(clientId)
    this.#c.store.deleteWill(clientId)
  }

  /** The commit failed: the will as it was before. One that was due is published once the store takes writes again. */
  #takeBack(clientId: string, before: WillRecord | undefined): void {
    this.#cancelDelay(clientId)
    if (before === undefined) {
      this.#wills.delete(clientId)
      return
    }
    this.#wills.set(clientId, before)
    const now = this.#c.clock.now()
    if (before.dueAt > now + RETRY_MS) this.#delay(before)
    else this.#owe(before)
  }

  /** It was to be published, and the store did not take it. */
  #owe(record: WillRecord): void {
    const { clientId } = record
    this.#owed.add(record)
    this.#cancelDelay(clientId)
    this.#delays.set(
      clientId,
      this.#c.clock.after(RETRY_MS, () => this.#publishWhenStored(record)),
    )
  }

  /** What it says goes out to subscribers at once, so it is not said again before the store is asked. */
  #publishWhenStored(record: WillRecord): void {
    const { clientId } = record
    this.#delays.delete(clientId)
    record.dueAt = this.#c.clock.now()
    this.#c.store.putWill(record)
    this.#c.commits.wait({
      committed: () => {
        if (this.#wills.get(clientId) === record) this.publish(clientId)
      },
      notCommitted: () => {
        if (this.#wills.get(clientId) === record)
          this.#delays.set(
            clientId,
            this.#c.clock.after(RETRY_MS, () => this.#publishWhenStored(record)),
          )
      },
    })
  }

  /**
   * The connection is gone without DISCONNECT [v5 MQTT-3.1.2-8] [v3 MQTT-3.1.2-8].
   * @param delaySeconds the smaller of Will Delay and Session Expiry [v5 3.1.3.2.2]
   */
  connectionLost(clientId: string, delaySeconds: number): void {
    const record = this.#wills.get(clientId)
    if (record === undefined) return
    if (delaySeconds <= 0) {
      this.publish(clientId)
      return
    }
    record.dueAt = this.#c.clock.now() + delaySeconds * 1000
    this.#c.store.putWill(record)
    this.#c.commits.scheduleLazily()
    this.#delay(record)
  }

  /** Publishes it now and forgets it. */
  publish(clientId: string): void {
    const record = this.#wills.get(clientId)
    if (record === undefined) return
    this.#undo.note(clientId, record)
    const message = decodeMessage(record.message)
    const publication = new Publication()
    publication.load(encodeMessage({ ...message, time: this.#c.clock.now() }), this.#c.clock.now())
    // A client's will is its own message: No Local keeps it from its session [v5 MQTT-3.8.3-3].
    const session = this.#c.session(clientId) ?? null
    const publisher: Publisher = { session, origin: new Origin(message.clientId, message.userName) }
    const match = this.#c.router.match(publication.topicBuf, publication.topicStart, publication.topicEnd)
    if (!attempt(() => this.#c.router.publish(publication, match, publisher))) {
      this.#owe(record)
      return
    }
    this.#remove(clientId)
    this.#c.commits.schedule()
    this.#c.events.emit('willPublished', { clientId, topic: message.topic })
    this.#c.published(publication)
  }

  /** Another node keeps this will, or looks after it now. */
  heard(record: WillRecord): void {
    this.forget(record.clientId)
    this.#wills.set(record.clientId, { ...record, message: ownMemory(record.message) })
  }

  /** Another node has published or discarded it. */
  forget(clientId: string): void {
    this.#wills.delete(clientId)
    this.#cancelDelay(clientId)
  }

  /** Client Identifiers of wills whose nodes are gone: their connections were lost with them. */
  orphans(isThere: (nodeId: string) => boolean): string[] {
    return [...this.#wills.values()].filter(({ node }) => !isThere(node)).map(({ clientId }) => clientId)
  }

  /** Looks after a will whose node is gone; no node may serve the client meanwhile. */
  inherit(clientId: string, isThere: (nodeId: string) => boolean, nodeId: string): void {
    const record = this.#wills.get(clientId)
    if (record === undefined || isThere(record.node)) return
    record.node = nodeId
    const now = this.#c.clock.now()
    if (record.dueAt === 0) {
      const { expirySeconds = 0 } = this.#c.session(clientId) ?? {}
      record.dueAt = now + Math.min(record.delaySeconds, expirySeconds) * 1000
    }
    this.#c.store.putWill(record)
    if (record.dueAt <= now) this.publish(clientId)
    else this.#delay(record)
    this.#c.commits.scheduleLazily()
  }

  /**
   * After the start: wills of connections that the last process took with it are due.
   * @param allowed asked about each; those it says no to are discarded
   */
  async restore(allowed: (will: Publication) => Promise<boolean>): Promise<void> {
    const { clock } = this.#c
    const due: string[] = []
    for await (const record of this.#c.store.wills()) {
      this.#wills.set(record.clientId, record)
      // Where nodes share the store, the one that leads looks after what no living node does.
      if (this.#c.store.shared !== null) continue
      const will = new Publication()
      will.load(record.message, clock.now())
      if (!(await allowed(will))) {
        this.discard(record.clientId)
        continue
      }
      const latest = clock.now() + record.delaySeconds * 1000
      const dueAt = record.dueAt === 0 ? latest : Math.min(latest, record.dueAt + this.storedShiftMs)
      if (dueAt !== record.dueAt) {
        record.dueAt = dueAt
        this.#c.store.putWill(record)
      }
      if (record.dueAt <= clock.now()) due.push(record.clientId)
      else this.#delay(record)
    }
    for (const clientId of due) this.publish(clientId)
  }

  stop(): void {
    for (const cancel of this.#delays.values()) cancel()
    this.#delays.clear()
  }

  #delay(record: WillRecord): void {
    const left = Math.max(0, record.dueAt - this.#c.clock.now())
    // A timer holds at most 2^31 - 1 ms.
    const wait = Math.min(left, 0x7fffffff)
    this.#delays.set(
      record.clientId,
      this.#c.clock.after(wait, () => {
        this.#delays.delete(record.clientId)
        if (wait < left) this.#delay(record)
        else this.publish(record.clientId)
      }),
    )
  }

  #cancelDelay(clientId: string): void {
    this.#delays.get(clientId)?.()
    this.#delays.delete(clientId)
  }
}
