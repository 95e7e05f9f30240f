/**
 * Bridge rules: what is published to a topic that matches the Topic Filter is kept in the named durable queue. A
 * message enters a queue once, however many rules lead there.
 */
import { SluiceError } from '../errors.ts'
import { isPlainFilter, matches } from '../wire/topic.ts'

/** One rule as in the config file. */
export interface RuleConfig {
  topicFilter: string
  queue: string
}

export interface Rule {
  readonly topicFilter: string
  readonly queue: string
}

export class Rules {
  /** In the order of the config file; rules that say the same are one. */
  readonly rules: readonly Rule[]
  /** Every queue that a rule leads to, once. */
  readonly queueNames: readonly string[]

  constructor(rules: readonly Rule[]) {
    this.rules = rules
    this.queueNames = [...new Set(rules.map((rule) => rule.queue))]
  }

  /** The queues that a message on this topic enters, each once. Looks at every rule: for reports and tests. */
  queuesFor(topic: string): string[] {
    const matching = this.rules.filter((rule) => matches(rule.topicFilter, topic))
    return [...new Set(matching.map((rule) => rule.queue))]
  }
}

/** @throws SluiceError config_invalid, naming the rule */
export function compileRules(configs: readonly RuleConfig[]): Rules {
  const byKey = new Map<string, Rule>()
  for (const [i, { topicFilter, queue }] of configs.entries()) {
    if (topicFilter.startsWith('$share/') || topicFilter.startsWith('$queue/'))
      throw invalid(
        i,
        'topicFilter',
        `${quote(topicFilter)} is a shared subscription; a queue is shared by its workers`,
      )
    if (!isPlainFilter(topicFilter))
      throw invalid(i, 'topicFilter', `${quote(topicFilter)} is not a valid Topic Filter [v5 MQTT-4.7.1-1, -2]`)
    if (queue === '') throw invalid(i, 'queue', 'the name of the queue is empty')
    byKey.set(`${queue}\n${topicFilter}`, { topicFilter, queue })
  }
  return new Rules([...byKey.values()])
}

function invalid(index: number, key: string, text: string): SluiceError {
  return new SluiceError('config_invalid', `bridge[${index}].${key}: ${text}`)
}

function quote(text: string): string {
  return JSON.stringify(text)
}
