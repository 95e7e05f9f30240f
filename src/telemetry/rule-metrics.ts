/** What bridge rules made of messages, read at each scrape. */
import { Counter, type Registry } from 'prom-client'

export interface RuleSample {
  readonly name: string
  readonly counters: Readonly<Record<'kept' | 'skipped' | 'quarantined' | 'refused' | 'dropped', number>>
}

/**
 * Plain rules look at no message and count none: what they keep shows in their queues. A rule that was applied anew counts
 * from zero, as Prometheus' counters may.
 */
export function ruleMetrics(registry: Registry, sample: () => Iterable<RuleSample>): void {
  registry.registerMetric(
    new Counter({
      name: 'sluicemq_rule_messages_total',
      help: 'Messages that bridge rules looked at, by rule and outcome.',
      labelNames: ['rule', 'outcome'],
      registers: [],
      collect() {
        this.reset()
        for (const { name, counters } of sample())
          for (const [outcome, count] of Object.entries(counters)) this.inc({ rule: name, outcome }, count)
      },
    }),
  )
}
