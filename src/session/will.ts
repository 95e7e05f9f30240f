import type { Clock } from '../base/clock.ts'
import { ownMemory } from '../base/own-memory.ts'
import type { Commits } from '../router/commits.ts'
import { decodeMessage, encodeMessage, Origin } from '../router/message.ts'
import { Publication } from '../router/publication.ts'
import type { Publisher, Router } from '../router/router.ts'
import type { Store, WillRecord } from '../store.ts'
import type { Events } from '../telemetry/events.ts'
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

/**
 * Will Messages ([v5 3.1.2.5] [v3 3.1.2.5]). A will is durable before its CONNACK, so that it is published after a crash
 * of the broker too. It is published and deleted in one commit: once, whatever happens.
 *
 *     set ──DISCONNECT──▶ gone
 *      │ └──connection lost, no delay──▶ published
 *      └────connection lost, delay──▶ due later ──time, or end of the session──▶ published
 *                                        └──the client is back──▶ gone
 */
export class Wills {
  readonly #c: WillsContext
  readonly #wills = new Map<string, WillRecord>()
  readonly #delays = new Map<string, () => void>()

  constructor(context: WillsContext) {
    this.#c = context
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
    this.#wills.set(record.clientId, record)
    this.#c.store.putWill(record)
    this.#c.commits.scheduleLazily()
  }

  /** The client said goodbye, or is back before the delay was over. */
  discard(clientId: string): void {
    if (!this.#wills.delete(clientId)) return
    this.#cancelDelay(clientId)
    this.#c.store.deleteWill(clientId)
    this.#c.commits.scheduleLazily()
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
    this.#wills.delete(clientId)
    this.#cancelDelay(clientId)
    const message = decodeMessage(record.message)
    const publication = new Publication()
    publication.load(encodeMessage({ ...message, time: this.#c.clock.now() }), this.#c.clock.now())
    // A client's will is its own message: No Local keeps it from its session [v5 MQTT-3.8.3-3].
    const session = this.#c.session(clientId) ?? null
    const publisher: Publisher = { session, origin: new Origin(message.clientId, message.userName) }
    const match = this.#c.router.match(publication.topicBuf, publication.topicStart, publication.topicEnd)
    this.#c.router.publish(publication, match, publisher)
    this.#c.store.deleteWill(clientId)
    this.#c.commits.schedule()
    this.#c.events.emit('willPublished', { clientId, topic: message.topic })
    this.#c.published(publication)
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
      const will = new Publication()
      will.load(record.message, clock.now())
      if (!(await allowed(will))) {
        this.discard(record.clientId)
        continue
      }
      if (record.dueAt === 0) {
        record.dueAt = clock.now() + record.delaySeconds * 1000
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
