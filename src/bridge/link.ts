import type { Intake } from '../queue/intake.ts'
import { BridgeTarget, type Destination } from '../router/destinations.ts'
import type { TopicTree } from '../router/topic-tree.ts'
import type { Rules } from './rule.ts'

/** Puts the bridge's rules into the topic tree. */
export function linkRules(rules: Rules, intakeOf: (queue: string) => Intake, tree: TopicTree<Destination>): void {
  for (const { topicFilter, queue } of rules.rules) tree.add(topicFilter, new BridgeTarget(intakeOf(queue)))
}
