/** What rules would make of a message, without anything happening: `rule test`. */
import { isUtf8 } from 'node:buffer'
import { systemClock } from '../base/clock.ts'
import type { Random } from '../base/random.ts'
import { matches } from '../wire/topic.ts'
import { Candidate, type MessageFacts } from './candidate.ts'
import type { Envelope } from './envelope.ts'
import { Rule, type RuleConfig } from './rule.ts'

/** Samples everything: who tests a rule wants to see what it does. */
const certain: Random = { next: () => 0, below: () => 0, id: (bytes) => '0'.repeat(2 * bytes) }

export type EnvelopePreview = Omit<Envelope, 'id' | 'receipt' | 'attempt' | 'leasedUntil'>

export interface RuleTrial {
  rule: string
  /** `no match`: the Topic Filter is about other topics. `skip`: a condition does not hold. */
  outcome: 'keep' | 'skip' | 'refuse' | 'quarantine' | 'drop' | 'no match'
  /** Why not. */
  reason?: string
  /** Where it goes. */
  queue?: string
  /** Values of the named levels. */
  levels?: Record<string, string>
  /** Ordering key. */
  key?: string
  /** Idempotency key. */
  deduplicate?: string
  priority?: number
  /** ISO 8601. */
  deliverAt?: string
  /** ISO 8601. */
  expiresAt?: string
  /** What a worker would receive, apart from what comes with the delivery: id, receipt, attempt, lease. */
  envelope?: EnvelopePreview
  /** A share of such messages is kept, and the rate of the sender counts. */
  note?: string
}

/** Each rule by itself. A message enters a queue once: by the first plain rule that leads there, else by the first that keeps it. */
export function tryRules(configs: readonly RuleConfig[], facts: MessageFacts): RuleTrial[] {
  const candidate = new Candidate()
  candidate.describe(facts)
  return configs.map((config) => trial(new Rule(config, { clock: systemClock, random: certain }), candidate))
}

function trial(rule: Rule, candidate: Candidate): RuleTrial {
  const { filter, config } = rule
  if (!matches(filter.topicFilter, candidate.topic)) return { rule: rule.name, outcome: 'no match' }
  const result: RuleTrial = { rule: rule.name, outcome: 'skip' }
  const levels = namedLevels(rule, candidate.levels)
  if (Object.keys(levels).length > 0) result.levels = levels
  if (!rule.takesTopic(candidate)) return { ...result, reason: 'a condition on the topic does not hold' }
  const verdict = rule.judge(candidate)
  result.outcome = verdict.outcome
  if (verdict.reason !== '') result.reason = verdict.reason
  if (verdict.outcome === 'quarantine') result.queue = rule.quarantineQueue
  if (verdict.outcome !== 'keep') return result
  result.queue = rule.queue
  if (verdict.key !== null) result.key = verdict.key
  if (verdict.deduplicate !== null) result.deduplicate = verdict.deduplicate
  if (config.priority !== undefined) result.priority = config.priority
  if (config.delayMs !== undefined) result.deliverAt = iso(candidate.time + config.delayMs)
  if (config.ttlMs !== undefined) result.expiresAt = iso(candidate.time + config.ttlMs)
  result.envelope = previewOf(rule.queue, candidate, verdict.payload ?? candidate.payload)
  if (config.sample !== undefined || config.rate !== undefined)
    result.note = 'sampling and the rate of the sender are left out of the test'
  return result
}

function namedLevels({ filter }: Rule, levels: readonly string[]): Record<string, string> {
  const named: Record<string, string> = {}
  for (const [name, index] of filter.levels) named[name] = levels[index] ?? ''
  if (filter.rest !== null) named[filter.rest.name] = levels.slice(filter.rest.from).join('/')
  return named
}

function iso(ms: number): string {
  return new Date(ms).toISOString()
}

function previewOf(queue: string, candidate: Candidate, payload: Buffer): EnvelopePreview {
  const { topic, levels, clientId, userName, qos, retain, time, userProperties } = candidate
  const text = isUtf8(payload)
  return {
    v: 1,
    queue,
    topic,
    levels: [...levels],
    clientId,
    ...(userName !== undefined && { userName }),
    qos,
    retain,
    time: iso(time),
    encoding: text ? 'utf8' : 'base64',
    payload: payload.toString(text ? 'utf8' : 'base64'),
    ...(userProperties.length > 0 && { properties: { userProperties: [...userProperties] } }),
  }
}
