import type { Subscription } from '../router/destinations.ts'
import type { TextTable } from '../router/text-table.ts'

/** The subscriptions of a session, by Topic Filter, `$share/…` included. */
export type SubscriptionsOfSession = Pick<TextTable<Subscription>, 'get' | 'has' | 'size' | 'values'>

/** The subscriptions of a session that has one. */
export class OnlySubscription implements SubscriptionsOfSession {
  readonly size = 1
  readonly #subscription: Subscription

  constructor(subscription: Subscription) {
    this.#subscription = subscription
  }

  get(topicFilter: string): Subscription | undefined {
    return this.#subscription.topicFilter === topicFilter ? this.#subscription : undefined
  }

  has(topicFilter: string): boolean {
    return this.#subscription.topicFilter === topicFilter
  }

  *values(): Generator<Subscription> {
    yield this.#subscription
  }
}
