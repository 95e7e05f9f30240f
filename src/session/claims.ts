import type { Cluster } from '../cluster.ts'
import { SluiceError } from '../errors.ts'
import type { Lane, Store, StoredSession } from '../store.ts'
import type { Session } from './session.ts'

export interface ClaimsContext {
  readonly cluster: Cluster
  readonly store: Store
  readonly commits: { done(): Promise<void>; later(again: () => void): void }
  /** Whether the session may become that of a client of this user; undefined: nobody was checked. */
  mayHave(session: Session | undefined, user: string | undefined): boolean
  readonly sessions: {
    find(clientId: string): Session | undefined
    adopt(stored: StoredSession): Session
    forget(session: Session): void
  }
}

/**
 * Which Client Identifiers this node serves, where there are several nodes. What happens to one identifier happens in a
 * line: connecting, surrendering it to another node, letting go of it.
 *
 *     elsewhere ──claim, read the session──▶ ours ──a client connects──▶ served
 *         ▲                                   │                            │
 *         └───────── nobody connected ────────┴── connection closed, durable, or surrendered
 */
export class Claims {
  readonly #c: ClaimsContext
  /** The last step in the line of each identifier. */
  readonly #lines = new Map<string, Promise<void>>()
  readonly #ours = new Set<string>()

  constructor(context: ClaimsContext) {
    this.#c = context
  }

  /**
   * Calls `go` once this node serves the identifier and the session in memory is as the store has it; the connection has
   * to own the session when `go` returns, or nobody does.
   * @param user who connects, when that was checked
   */
  obtain(clientId: string, user: string | undefined, go: () => void, failed: (error: unknown) => void): void {
    this.#inLine(clientId, async () => {
      try {
        await this.#claim(clientId, user ?? null)
      } catch (error) {
        failed(error)
        return
      }
      go()
      if (this.#isUnserved(clientId)) await this.#letGoInTime(clientId, null)
    }).catch(failed)
  }

  /** Takes the session as the store has it, to end it. False: another node serves it. */
  async obtainVacant(clientId: string, go: () => void): Promise<boolean> {
    let vacant = false
    await this.#inLine(clientId, async () => {
      vacant = this.#isUnserved(clientId) && (await this.#c.cluster.claimVacant(clientId))
      if (!vacant) return
      await this.#c.store.shared!.current()
      this.#ours.add(clientId)
      await this.#adopt(clientId)
      go()
      await this.#letGoInTime(clientId, null)
    })
    return vacant
  }

  /**
   * Another node's client connects with the identifier. Resolves when what happened here is durable. Rejects when that is not known:
   * the other node passes this one over then.
   */
  surrender(clientId: string, user: string | null): Promise<void> {
    return this.#inLine(clientId, async () => {
      const session = this.#c.sessions.find(clientId)
      if (this.#ours.has(clientId) && !this.#c.mayHave(session, user ?? undefined))
        throw new SluiceError('not_authorized', 'the session of this Client Identifier belongs to another user')
      session?.owner?.takenOver()
      await this.#letGo(clientId, session?.lane ?? null)
    })
  }

  /** The connection closed, or the session ended. Lets go of the identifier once that is durable. */
  left(clientId: string, lane: Lane | null): void {
    if (!this.#ours.has(clientId)) return
    void this.#inLine(clientId, async () => {
      // Another connection may have come before this step.
      if (this.#isUnserved(clientId)) await this.#letGoInTime(clientId, lane)
    })
  }

  /**
   * Another node took the identifier although this one had not let go of it: what is known of it here is old, and nothing of
   * that may be written any more.
   */
  async passedOver(clientId: string): Promise<void> {
    const { sessions, store } = this.#c
    // Not in line: what is in it may wait for the store, which refuses everything until this is over.
    this.#ours.delete(clientId)
    const session = sessions.find(clientId)
    const owner = session?.owner ?? null
    if (session !== undefined) sessions.forget(session)
    if (owner !== null) {
      // Its will is what the other node knows of it.
      owner.hasWill = false
      owner.takenOver()
    }
    const stored = await store.shared!.session(clientId)
    // The client may have come back here meanwhile.
    if (stored !== null && !this.#ours.has(clientId) && this.#isUnserved(clientId)) sessions.adopt(stored)
  }

  /** True while what this node has in memory of the session is the truth. */
  serves(clientId: string): boolean {
    return this.#ours.has(clientId)
  }

  /** Resolves when every line is empty. */
  async idle(): Promise<void> {
    while (this.#lines.size > 0) await Promise.all(this.#lines.values())
  }

  /** Every identifier this node thought it served: others have declared it dead. */
  reset(): void {
    this.#ours.clear()
  }

  #isUnserved(clientId: string): boolean {
    return (this.#c.sessions.find(clientId)?.owner ?? null) === null
  }

  async #claim(clientId: string, user: string | null): Promise<void> {
    if (this.#ours.has(clientId)) return
    await this.#c.cluster.claim(clientId, user)
    // Once it is ours, what is heard of it and of its will is passed over: everything up to here has to be known.
    await this.#c.store.shared!.current()
    this.#ours.add(clientId)
    await this.#adopt(clientId)
  }

  async #adopt(clientId: string): Promise<void> {
    const { store, sessions } = this.#c
    const stored = await store.shared!.session(clientId)
    const known = sessions.find(clientId)
    if (stored !== null) {
      const session = sessions.adopt(stored)
      const { lane } = session
      if (lane !== null) await store.shared!.keep(lane)
      // The node that served it died: whatever waits may have been sent.
      if (lane !== null && stored.session.disconnectedAt === 0) session.maybeSentBefore = lane.nextSeq
    } else if (known !== undefined) {
      sessions.forget(known)
    }
  }

  /** Lets go of it, now or when the store is back. */
  async #letGoInTime(clientId: string, lane: Lane | null): Promise<void> {
    try {
      await this.#letGo(clientId, lane)
    } catch {
      // The store says itself what is wrong with it.
      this.#c.commits.later(() => this.left(clientId, lane))
    }
  }

  /** Rejects when it is not known what of it is durable: then nobody may go on from here yet. */
  async #letGo(clientId: string, lane: Lane | null): Promise<void> {
    if (!this.#ours.has(clientId)) return
    const shared = this.#c.store.shared!
    await this.#c.commits.done()
    await shared.certain()
    if (lane !== null) await shared.release(lane)
    // Until then what is heard of the session may be older than what is known of it.
    await shared.seen(shared.newestChange)
    this.#ours.delete(clientId)
    this.#c.cluster.release(clientId)
  }

  #inLine(clientId: string, step: () => Promise<void>): Promise<void> {
    const before = this.#lines.get(clientId) ?? Promise.resolve()
    const mine = before.then(step)
    const tail: Promise<void> = mine
      .catch(() => {})
      .then(() => {
        if (this.#lines.get(clientId) === tail) this.#lines.delete(clientId)
      })
    this.#lines.set(clientId, tail)
    return mine
  }
}
