/**
 * Shared subscriptions: which member of a group gets this message? ([v5 4.8.2]: exactly one.)
 *
 * Whatever the strategy, members are tried in tiers, each only when the one before it has nobody:
 *
 *     (on this node and can take ──▶) online and can take ──▶ online ──▶ offline (its session keeps the message)
 *
 * so a message is never thrown away while the group has a member, and a full member costs only itself.
 */
import type { Random } from '../base/random.ts'
import { hashText, mixHash } from './text-hash.ts'

export interface ShareMember {
  /** Unique in the group and constant while the member is in it: the Client Identifier. */
  readonly key: string
  /** A connection serves the session. */
  readonly online: boolean
  /** A connection of this node. */
  readonly near: boolean
  /** Messages sent and not yet acknowledged. */
  readonly inflight: number
  /**
   * Room for one more. `sticky` and `hash` pass on a key only while this is false: a session that would rather keep
   * its keys than its neighbours' help says true as long as its backlog has room, not only its window.
   */
  readonly canTake: boolean
}

/**
 * - `round-robin`: each in turn;
 * - `random`: each with the same probability;
 * - `least-inflight`: fewest unacknowledged messages, in turn among equals;
 * - `sticky`: always the same for one publisher;
 * - `hash`: always the same for one topic.
 *
 * `sticky` and `hash` choose by rendezvous hashing (Thaler and Ravishankar, 1998): a member that leaves or comes moves
 * only its own share.
 */
export const shareStrategies = ['round-robin', 'random', 'least-inflight', 'sticky', 'hash'] as const
export type ShareStrategy = (typeof shareStrategies)[number]

const near = 0
const ready = 1
const online = 2
const offline = 3
type Tier = typeof near | typeof ready | typeof online | typeof offline

/** Draws before `random` gives up on luck and counts the members of the tier. */
const draws = 4

/** Says which members are left out. */
export type Excluded<M> = Pick<ReadonlySet<M>, 'has'>

/**
 * Adding and removing are O(1). `pick` is O(1) for round-robin and random while most members can take, else
 * O(members); it allocates nothing.
 */
export class SharedGroup<M extends ShareMember> {
  readonly strategy: ShareStrategy
  readonly #random: Random
  readonly #nearFirst: boolean
  readonly #members: M[] = []
  /** Hash of each member's key; parallel to `#members`. */
  readonly #hashes: number[] = []
  readonly #places = new Map<M, number>()
  /** Where the next turn starts. */
  #turn = 0

  /** @param nearFirst members connected to this node go before all others, as long as one of them can take it */
  constructor(strategy: ShareStrategy, random: Random, nearFirst = false) {
    this.#nearFirst = nearFirst
    this.strategy = strategy
    this.#random = random
  }

  get size(): number {
    return this.#members.length
  }

  /** Every member, in no order. The group must not change meanwhile. */
  members(): IterableIterator<M> {
    return this.#members.values()
  }

  has(member: M): boolean {
    return this.#places.has(member)
  }

  /** False when it was there already. */
  add(member: M): boolean {
    if (this.#places.has(member)) return false
    this.#places.set(member, this.#members.length)
    this.#members.push(member)
    this.#hashes.push(hashText(member.key))
    return true
  }

  /** False when it was not there. */
  remove(member: M): boolean {
    const place = this.#places.get(member)
    if (place === undefined) return false
    this.#places.delete(member)
    const last = this.#members.pop()!
    const lastHash = this.#hashes.pop()!
    if (last !== member) {
      this.#members[place] = last
      this.#hashes[place] = lastHash
      this.#places.set(last, place)
    }
    return true
  }

  /**
   * The member that gets the message, or null when the group is empty or all of it is in `exclude`: members whose
   * connection was lost with this message. (A message refused by a reason code goes to nobody else [v5 MQTT-4.8.2-6].)
   *
   * Offline members are chosen by hash of the topic (`sticky`: of the publisher), so that what one topic leaves behind
   * waits in one session and in order.
   */
  pick(publisherId: string, topic: string, exclude?: Excluded<M>): M | null {
    const beside = this.#nearFirst ? this.#place(near, publisherId, topic, exclude) : -1
    if (beside !== -1) return this.#members[beside]!
    const place = this.#place(ready, publisherId, topic, exclude)
    if (place !== -1) return this.#members[place]!
    const second = this.#place(online, publisherId, topic, exclude)
    if (second !== -1) return this.#members[second]!
    const third = this.#highest(offline, this.strategy === 'sticky' ? publisherId : topic, exclude)
    return third === -1 ? null : this.#members[third]!
  }

  #place(tier: Tier, publisherId: string, topic: string, exclude: Excluded<M> | undefined): number {
    switch (this.strategy) {
      case 'round-robin':
        return this.#next(tier, exclude)
      case 'random':
        return this.#any(tier, exclude)
      case 'least-inflight':
        return this.#least(tier, exclude)
      case 'sticky':
        return this.#highest(tier, publisherId, exclude)
      case 'hash':
        return this.#highest(tier, topic, exclude)
    }
  }

  #fits(place: number, tier: Tier, exclude: Excluded<M> | undefined): boolean {
    const member = this.#members[place]!
    if (exclude?.has(member)) return false
    if (tier === offline) return true
    if (tier === near && !member.near) return false
    return member.online && (tier === online || member.canTake)
  }

  #next(tier: Tier, exclude: Excluded<M> | undefined): number {
    const count = this.#members.length
    for (let i = 0; i < count; i++) {
      const place = (this.#turn + i) % count
      if (!this.#fits(place, tier, exclude)) continue
      this.#turn = place + 1
      return place
    }
    return -1
  }

  #any(tier: Tier, exclude: Excluded<M> | undefined): number {
    const count = this.#members.length
    if (count === 0) return -1
    for (let i = 0; i < draws; i++) {
      const place = this.#random.below(count)
      if (this.#fits(place, tier, exclude)) return place
    }
    let chosen = -1
    let seen = 0
    for (let place = 0; place < count; place++) {
      if (this.#fits(place, tier, exclude) && this.#random.below(++seen) === 0) chosen = place
    }
    return chosen
  }

  #least(tier: Tier, exclude: Excluded<M> | undefined): number {
    const count = this.#members.length
    let chosen = -1
    let fewest = Number.POSITIVE_INFINITY
    for (let i = 0; i < count; i++) {
      const place = (this.#turn + i) % count
      const { inflight } = this.#members[place]!
      if (inflight >= fewest || !this.#fits(place, tier, exclude)) continue
      chosen = place
      fewest = inflight
    }
    if (chosen !== -1) this.#turn = chosen + 1
    return chosen
  }

  #highest(tier: Tier, key: string, exclude: Excluded<M> | undefined): number {
    const keyHash = hashText(key)
    let chosen = -1
    let highest = -1
    for (let place = 0; place < this.#members.length; place++) {
      const score = mixHash(this.#hashes[place]! ^ keyHash)
      if (score < highest || !this.#fits(place, tier, exclude)) continue
      // Equal scores (one in 2^32) go by key, or the order of joining would decide.
      if (score === highest && this.#members[place]!.key > this.#members[chosen]!.key) continue
      chosen = place
      highest = score
    }
    return chosen
  }
}
