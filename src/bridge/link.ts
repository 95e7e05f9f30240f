import { BridgeTarget, type Destination } from '../router/destinations.ts'
import type { TopicTree } from '../router/topic-tree.ts'
import type { LaneTarget, Store } from '../store.ts'
import type { Rules } from './rule.ts'

/** Puts the bridge's rules into the topic tree; rules that lead to one queue share its target. */
export function linkRules(rules: Rules, store: Store, tree: TopicTree<Destination>): void {
  const targets = new Map<string, LaneTarget>()
  for (const { topicFilter, queue } of rules.rules) {
    let target = targets.get(queue)
    if (target === undefined) {
      target = { lane: store.lane(`q/${queue}`), tag: 0, extra: null }
      targets.set(queue, target)
    }
    tree.add(topicFilter, new BridgeTarget(target))
  }
}
