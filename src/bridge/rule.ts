/**
 * Bridge rules: what is published to a topic that matches the Topic Filter is kept in the named durable queue. A
 * message enters a queue once by plain rules, however many lead there. Rules that look into the message or give it a
 * key judge it each by itself, in this order:
 *
 *     Topic Filter ─▶ when ─▶ sample ─▶ rate ─▶ schema ─▶ transform ─▶ keys ─▶ the queue's limits
 *                      └── skipped ──┴────┘       └────┬────┘
 *                                          refused, quarantined or dropped
 */
import { type Clock, systemClock } from '../base/clock.ts'
import { type Random, systemRandom } from '../base/random.ts'
import { SluiceError } from '../errors.ts'
import { matches } from '../wire/topic.ts'
import { type Candidate, NOT_JSON } from './candidate.ts'
import { type Condition, type ConditionConfig, compileCondition } from './condition.ts'
import { type NamedFilter, parseNamedFilter } from './filter.ts'
import { type RateConfig, SenderRate } from './rate.ts'
import { compileTemplate, type Template } from './template.ts'
import { compileTransform, type Transform, type TransformConfig } from './transform.ts'
import { compileValidation, type Validation } from './validation.ts'

/** One rule as in the config file; src/config/bridge.ts says what the keys mean. */
export interface RuleConfig {
  name?: string
  topicFilter: string
  queue: string
  when?: readonly ConditionConfig[]
  sample?: number
  rate?: RateConfig & { by: string }
  schema?: object
  invalid?: 'refuse' | 'quarantine' | 'drop'
  quarantineQueue?: string
  transform?: TransformConfig
  key?: string
  deduplicate?: string
  priority?: number
  delayMs?: number
  ttlMs?: number
}

/** What a rule made of a message. Reused by the next `judge`. */
export interface Verdict {
  outcome: 'keep' | 'skip' | 'refuse' | 'quarantine' | 'drop'
  /** Why not, in words; empty when kept. */
  reason: string
  /** What the queue gets instead of the payload; null: the message as it came. */
  payload: Buffer | null
  /** Ordering key. */
  key: string | null
  /** Idempotency key. */
  deduplicate: string | null
}

/** Since the rule was made. */
export class RuleCounters {
  /** Put into the queue. */
  kept = 0
  /** A condition did not hold, or sampling or the rate left it out. */
  skipped = 0
  quarantined = 0
  refused = 0
  /** Not valid, and `invalid` says drop. */
  dropped = 0
}

export interface RuleParts {
  readonly clock: Clock
  readonly random: Random
}

const systemParts: RuleParts = { clock: systemClock, random: systemRandom }

export class Rule {
  readonly config: RuleConfig
  readonly name: string
  readonly filter: NamedFilter
  readonly queue: string
  readonly quarantineQueue: string
  readonly counters = new RuleCounters()
  readonly #parts: RuleParts
  /** Decided by the topic alone. */
  readonly #topicConditions: readonly Condition[]
  readonly #conditions: readonly Condition[]
  readonly #rateBy: Template | null
  readonly #rate: SenderRate | null
  readonly #validation: Validation | null
  readonly #transform: Transform | null
  readonly #key: Template | null
  readonly #deduplicate: Template | null
  readonly #verdict: Verdict = { outcome: 'keep', reason: '', payload: null, key: null, deduplicate: null }

  /** @throws Error whose message begins with the key that is wrong */
  constructor(config: RuleConfig, parts: RuleParts) {
    this.config = config
    this.#parts = parts
    const filter = under('topicFilter', () => parseNamedFilter(config.topicFilter))
    this.filter = filter
    this.name = config.name ?? `${config.topicFilter} > ${config.queue}`
    if (config.queue === '') throw new Error('queue: the name of the queue is empty')
    this.queue = config.queue
    this.quarantineQueue = config.quarantineQueue ?? `${config.queue}.invalid`
    const conditions = (config.when ?? []).map((one, i) => under(`when[${i}]`, () => compileCondition(one, filter)))
    this.#topicConditions = conditions.filter((condition) => condition.fromTopic)
    this.#conditions = conditions.filter((condition) => !condition.fromTopic)
    const { rate, schema, transform, key, deduplicate } = config
    this.#rateBy = rate === undefined ? null : plainTemplate('rate.by', rate.by, filter)
    this.#rate = rate === undefined ? null : new SenderRate(rate, parts.clock)
    this.#validation = schema === undefined ? null : under('schema', () => compileValidation(schema))
    this.#transform = transform === undefined ? null : under('transform', () => compileTransform(transform, filter))
    this.#key = key === undefined ? null : plainTemplate('key', key, filter)
    this.#deduplicate =
      deduplicate === undefined ? null : under('deduplicate', () => compileTemplate(deduplicate, filter))
    if (config.quarantineQueue === config.queue)
      throw new Error('quarantineQueue: a queue cannot quarantine its own messages')
    if (config.quarantineQueue !== undefined && !this.#mayFail)
      throw new Error('quarantineQueue: nothing is ever quarantined without schema or transform')
  }

  /** Messages go into the queue as they are, without a look at more than the topic. */
  get plain(): boolean {
    const { sample, priority, delayMs, ttlMs } = this.config
    const looks = this.#conditions.length > 0 || sample !== undefined || this.#rate !== null || this.#mayFail
    const adds = this.#key !== null || this.#deduplicate !== null
    return !looks && !adds && priority === undefined && delayMs === undefined && ttlMs === undefined
  }

  get #mayFail(): boolean {
    return this.#validation !== null || this.#transform !== null
  }

  /** Every queue it may put messages into. */
  get queueNames(): string[] {
    return this.#mayFail && (this.config.invalid ?? 'quarantine') === 'quarantine'
      ? [this.queue, this.quarantineQueue]
      : [this.queue]
  }

  /** False: it takes messages of every topic that matches its filter. */
  get hasTopicConditions(): boolean {
    return this.#topicConditions.length > 0
  }

  /** Whether it takes messages of this topic, as far as the topic decides. */
  takesTopic(candidate: Candidate): boolean {
    return this.#topicConditions.every((condition) => condition.holds(candidate))
  }

  /** What becomes of a message whose topic it takes. */
  judge(candidate: Candidate): Verdict {
    const verdict = this.#verdict
    verdict.payload = null
    verdict.key = null
    verdict.deduplicate = null
    for (const condition of this.#conditions) if (!condition.holds(candidate)) return this.#end('skip', condition.text)
    const { sample } = this.config
    if (sample !== undefined && this.#parts.random.next() >= sample) return this.#end('skip', 'sample')
    if (this.#rate !== null && !this.#rate.admits(this.#rateBy!.fill(candidate) ?? '')) return this.#end('skip', 'rate')
    if (this.#mayFail) {
      const fault = this.#work(candidate, verdict)
      if (fault !== null) return this.#end(this.config.invalid ?? 'quarantine', fault)
    }
    if (this.#key !== null) verdict.key = this.#key.fill(candidate) ?? null
    if (this.#deduplicate !== null) verdict.deduplicate = this.#deduplicate.fill(candidate) ?? null
    return this.#end('keep', '')
  }

  /** Idempotency keys are `{retransmission}`: only what is sent again can be a duplicate. */
  get deduplicatesRetransmissions(): boolean {
    return this.#deduplicate?.retransmission === true
  }

  #work(candidate: Candidate, verdict: Verdict): string | null {
    if (this.#validation !== null) {
      const fault = this.#fault(this.#validation, candidate)
      if (fault !== null) return fault
    }
    if (this.#transform === null) return null
    const { json } = candidate
    if (this.#transform.needsObject && (json === NOT_JSON || typeof json !== 'object' || json === null))
      return 'the payload is not a JSON object'
    try {
      verdict.payload = this.#transform.apply(candidate)
      return null
    } catch (error) {
      return (error as Error).message
    }
  }

  /** A payload so deep that the validator runs out of stack is as invalid as any. */
  #fault(validation: Validation, candidate: Candidate): string | null {
    try {
      return validation.fault(candidate.json)
    } catch (error) {
      return `the payload cannot be validated: ${(error as Error).message}`
    }
  }

  #end(outcome: Verdict['outcome'], reason: string): Verdict {
    this.#verdict.outcome = outcome
    this.#verdict.reason = reason
    return this.#verdict
  }
}

/** A template that is not `{retransmission}`. */
function plainTemplate(key: string, text: string, filter: NamedFilter): Template {
  return under(key, () => {
    const template = compileTemplate(text, filter)
    if (template.retransmission) throw new Error('{retransmission} tells nothing apart here; it is for deduplicate')
    return template
  })
}

function under<T>(key: string, compile: () => T): T {
  try {
    return compile()
  } catch (error) {
    throw new Error(`${key}: ${(error as Error).message}`)
  }
}

export class Rules {
  /** In the order of the config file; rules of one name are one. */
  readonly rules: readonly Rule[]

  constructor(rules: readonly Rule[]) {
    this.rules = rules
  }

  /** Every queue that a rule leads to, once. */
  get queueNames(): string[] {
    return [...new Set(this.rules.flatMap((rule) => rule.queueNames))]
  }

  /** The queues that a message on this topic may enter, each once. Looks at every rule: for reports and tests. */
  queuesFor(topic: string): string[] {
    const matching = this.rules.filter((rule) => matches(rule.filter.topicFilter, topic))
    return [...new Set(matching.map((rule) => rule.queue))]
  }
}

/** @throws SluiceError config_invalid, naming the rule and the key */
export function compileRules(configs: readonly RuleConfig[], parts = systemParts): Rules {
  const byName = new Map<string, Rule>()
  for (const [i, config] of configs.entries()) {
    const rule = compileRule(config, parts, `bridge[${i}]`)
    const known = byName.get(rule.name)
    if (known !== undefined && JSON.stringify(known.config) !== JSON.stringify(config))
      throw new SluiceError(
        'config_invalid',
        `bridge[${i}].name: ${JSON.stringify(rule.name)} is another rule's name too`,
      )
    byName.set(rule.name, rule)
  }
  return new Rules([...byName.values()])
}

/**
 * @param place what the rule is called in messages: `bridge[0]`, or empty
 * @throws SluiceError config_invalid
 */
export function compileRule(config: RuleConfig, parts: RuleParts, place: string): Rule {
  try {
    return new Rule(config, parts)
  } catch (error) {
    const dot = place === '' ? '' : `${place}.`
    throw new SluiceError('config_invalid', `${dot}${(error as Error).message}`, { cause: error })
  }
}
