import type { Clock } from '../base/clock.ts'
import type { RemoteNode } from '../nodes/remote-node.ts'
import { Loan } from '../session/loan.ts'
import { type Session, TAG_RETAIN, TAG_SHARED } from '../session/session.ts'
import type { Store } from '../store.ts'
import type { DropCause } from '../telemetry/events.ts'
import type { Waiter } from './commits.ts'
import { type Group, type Member, RemoteMember } from './destinations.ts'
import { Origin, originOf, secondsLeft } from './message.ts'
import { Publication } from './publication.ts'
import { pickWithRoom } from './room.ts'
import type { Publisher } from './router.ts'

/** The publisher of what another node sent. */
export const ELSEWHERE: Publisher = { session: null, origin: new Origin('', undefined) }

export interface SharingContext {
  readonly store: Store
  readonly commits: { schedule(): void; wait(waiter: Waiter): void; later(again: () => void): void }
  readonly clock: Clock
  dropped(session: Session | null, cause: DropCause, count: number): void
  remoteNode(nodeId: string): RemoteNode | undefined
}

/** Shared subscriptions ([v5 4.8.2]): one member of each gets the message, on whatever node it is. */
export class Sharing {
  readonly #c: SharingContext

  constructor(context: SharingContext) {
    this.#c = context
  }

  /**
   * One member of the group gets the message [v5 MQTT-4.8.2-4]. True: it does once the open group is durable.
   * @param done called when the message is acknowledged, or nobody can get it; not when this returns true
   */
  share(
    publication: Publication,
    topic: string,
    group: Group,
    publisher: Publisher,
    known: Buffer | null,
    done: (() => void) | null = null,
  ): boolean {
    const member = pickWithRoom(group, publisher.session?.clientId ?? '', topic, publication.qos)
    if (member === null) {
      this.#c.dropped(null, 'no_capacity', 1)
      done?.()
      return false
    }
    if (!(member instanceof RemoteMember)) return this.#shareWith(publication, member, publisher, known, done)
    const message = known ?? publication.store(publisher.origin, this.#c.clock.now())
    if (publication.qos === 0) {
      member.node.live(message, group.key)
      done?.()
      return false
    }
    this.#c.store.append(message, [{ lane: member.node.mailbox, tag: 0, extra: Buffer.from(group.key) }])
    return true
  }

  /** See `share`. */
  #shareWith(
    publication: Publication,
    member: Member,
    publisher: Publisher,
    known: Buffer | null,
    done: (() => void) | null,
  ): boolean {
    const { session, qos: maximum, retainAsPublished } = member.subscription
    const { group, prefix } = member
    const qos = Math.min(publication.qos, maximum)
    const retain = publication.retain && retainAsPublished
    const { origin } = publisher
    if (qos > 0 && !session.kept) {
      const loan = new Loan(group, qos, known, done)
      if (known === null) loan.keep(publication, origin, this.#c.clock.now())
      session.delivery.deliver(publication, qos, retain, prefix, loan)
      return false
    }
    if (qos === 0) {
      if (session.link !== null) session.delivery.deliver(publication, qos, retain, prefix, null)
      else if (session.node !== null)
        this.#c.remoteNode(session.node)?.live(known ?? this.#store(publication, origin), group.key)
      else this.#c.dropped(session, 'offline', 1)
      done?.()
      return false
    }
    if (!session.makesRoom()) {
      this.#c.dropped(session, 'session_full', 1)
      done?.()
      return false
    }
    const tag = qos | TAG_SHARED | (retain ? TAG_RETAIN : 0)
    const message = known ?? this.#store(publication, origin)
    this.#c.store.append(message, [{ lane: session.lane!, tag, extra: prefix }])
    return true
  }

  #store(publication: Publication, origin: Origin): Buffer {
    return publication.store(origin, this.#c.clock.now())
  }

  /**
   * A member of a shared subscription is gone: what it did not acknowledge goes to another. A QoS 2 message that was sent
   * to it does not [v5 MQTT-4.8.2-5].
   */
  redistribute(loans: Iterable<Loan>): void {
    for (const { group, message, qos, sent, done } of loans) {
      if (qos === 2 && sent) done?.()
      else this.#pass(group, message, done, { session: null, origin: originOf(message) })
    }
  }

  /** Somebody of the group gets the stored message. It is not done with before it is durable where it went. */
  #pass(group: Group, message: Buffer, done: (() => void) | null, publisher: Publisher): void {
    const { commits, clock, dropped } = this.#c
    const now = clock.now()
    // [v5 MQTT-3.3.2-5]
    if (secondsLeft(message, now) <= 0) {
      dropped(null, 'expired', 1)
      done?.()
      return
    }
    const publication = new Publication()
    publication.load(message, now)
    if (!this.share(publication, publication.topic, group, publisher, message, done)) return
    if (done === null) return commits.schedule()
    const notCommitted = (): void => commits.later(() => this.#pass(group, message, done, publisher))
    commits.wait({ committed: done, notCommitted })
  }

  /** A message of which a member here is to get a copy, from another node. See `Router.receive`. */
  receive(publication: Publication, group: Group, message: Buffer, done: (() => void) | null): void {
    const qos = publication.qos
    const notHere = (member: Member | RemoteMember): boolean =>
      member instanceof RemoteMember ||
      member.subscription.session.link === null ||
      (qos > 0 && member.subscription.session.kept)
    const member = group.members.pick('', publication.topic, { has: notHere })
    // Its members may have left meanwhile: somebody else of the group gets it.
    if (member === null || member instanceof RemoteMember) this.#pass(group, message, done, ELSEWHERE)
    else this.#shareWith(publication, member, ELSEWHERE, message, done)
  }
}
