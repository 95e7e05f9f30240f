import type { RetainedIndex } from '../router/retained.ts'
import type { Claims } from '../session/claims.ts'
import type { Sessions } from '../session/sessions.ts'
import type { Subscriptions } from '../session/subscriptions.ts'
import type { Wills } from '../session/will.ts'
import type { Change, Store } from '../store.ts'
import { Interest } from './interest.ts'
import type { RemoteNode } from './remote-node.ts'

export interface FollowerContext {
  readonly store: Store
  readonly sessions: Sessions
  readonly subscriptions: Subscriptions
  readonly retained: RetainedIndex
  readonly wills: Wills
  readonly claims: Claims
  readonly interest: Interest
}

/** Keeps what this node has in memory of the shared store as the store has it. */
export class Follower {
  readonly #c: FollowerContext
  readonly #remoteOf: (nodeId: string) => RemoteNode | undefined
  /** Changes that came while everything was being read. Null: nothing is. */
  #held: Change[] | null = null

  constructor(context: FollowerContext, remoteOf: (nodeId: string) => RemoteNode | undefined) {
    this.#c = context
    this.#remoteOf = remoteOf
  }

  get holding(): boolean {
    return this.#held !== null
  }

  /** Everything is about to be read: what changes meanwhile is applied afterwards. */
  hold(): void {
    this.#held ??= []
  }

  changed(change: Change): void {
    if (this.#held !== null) this.#held.push(change)
    else this.#apply(change)
  }

  /** Sessions that this node serves are as it has them: what is heard of them is older. */
  #apply(change: Change): void {
    const { sessions, subscriptions, wills, claims, interest } = this.#c
    switch (change.is) {
      case 'session':
        if (!claims.serves(change.record.clientId)) sessions.changed(change.record)
        break
      case 'sessionDeleted': {
        const session = claims.serves(change.clientId) ? undefined : sessions.find(change.clientId)
        if (session?.kept) sessions.forget(session)
        break
      }
      case 'subscription':
      case 'subscriptionDeleted': {
        const session = claims.serves(change.clientId) ? undefined : sessions.find(change.clientId)
        if (session === undefined || !session.kept) break
        if (change.is === 'subscription') subscriptions.restore(session, change.record)
        else subscriptions.forget(session, change.topicFilter)
        break
      }
      case 'retained':
        this.#retained(change)
        break
      case 'will':
        if (!change.own && !claims.serves(change.record.clientId)) wills.heard(change.record)
        break
      case 'willDeleted':
        if (!change.own && !claims.serves(change.clientId)) wills.forget(change.clientId)
        break
      case 'meta':
        if (Interest.isInterest(change.key)) interest.changed(change.key, change.value, this.#remoteOf)
        else if (!change.own) sessions.metaChanged(change.key, change.value)
    }
  }

  /**
   * Everybody applies all changes in one order, so all end with the same message. Own ones are applied again when they are
   * heard: another node's may have come before them.
   */
  #retained({ topic, message }: Extract<Change, { is: 'retained' }>): void {
    if (message === null) this.#c.retained.delete(topic)
    else this.#c.retained.set(topic, message)
  }

  /** Applies what was held. */
  release(): void {
    const held = this.#held ?? []
    this.#held = null
    for (const change of held) this.#apply(change)
  }

  /** Reads everything again; what this node serves is as it has it. */
  async readAgain(): Promise<void> {
    if (this.#held !== null) return
    this.#held = []
    const { store, sessions, retained, wills, claims, interest } = this.#c
    const stored = new Set<string>()
    for await (const session of store.sessions()) {
      const { clientId } = session.session
      stored.add(clientId)
      if (!claims.serves(clientId)) sessions.adopt(session)
    }
    for (const session of [...sessions.values()])
      if (session.kept && !stored.has(session.clientId) && !claims.serves(session.clientId)) sessions.forget(session)
    const topics = new Set<string>()
    for await (const { topic, message } of store.retained()) {
      topics.add(topic)
      retained.set(topic, message)
    }
    const surplus: string[] = []
    retained.match('#', (topic) => {
      if (!topics.has(topic)) surplus.push(topic)
    })
    for (const topic of surplus) retained.delete(topic)
    for await (const record of store.wills()) if (!claims.serves(record.clientId)) wills.heard(record)
    interest.forgetAll()
    interest.restore(this.#remoteOf)
    this.release()
  }
}
