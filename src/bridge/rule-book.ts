import { SluiceError } from '../errors.ts'
import type { Intake } from '../queue/intake.ts'
import { BridgeTarget, type Destination } from '../router/destinations.ts'
import type { TopicTree } from '../router/topic-tree.ts'
import type { Store } from '../store.ts'
import { Candidate } from './candidate.ts'
import { compileRule, compileRules, type Rule, type RuleConfig, type RuleCounters, type RuleParts } from './rule.ts'
import { ruleOf } from './rule-input.ts'
import { Underway, workOf } from './rule-work.ts'

/** Rules in force at one time. */
export const RULES_MAX = 10_000

const META_PREFIX = 'rule/'

/** What the store keeps of a rule that was applied or deleted while the broker ran. It stands above the config file. */
interface StoredRule {
  /** Null: the rule of this name in the config file is not in force. */
  rule: RuleConfig | null
}

export type RuleSource = 'config' | 'api'

export interface RuleBookOptions extends RuleParts {
  /** Of the config file. */
  readonly configured: readonly RuleConfig[]
  readonly store: Store
  readonly tree: TopicTree<Destination>
  /** Has the queue made, if it is not there, and resolves when it serves. */
  ensureQueue(name: string): Promise<unknown>
  intakeOf(queue: string): Intake
  /** Resolves when everything written in this turn is durable. */
  commit(): Promise<void>
  /** A rule that was stored does not compile any more. */
  report(where: string, error: unknown): void
}

interface Linked {
  readonly rule: Rule
  readonly source: RuleSource
  target: Destination | null
  /** In the keeper's tree. */
  kept: BridgeTarget | null
}

/**
 * The bridge rules in force: those of the config file, with what was applied and deleted over the API above them. A rule
 * is compiled and its queues made before it takes the place of an older one; that happens in one turn of the event loop, so
 * every message meets either the one or the other.
 */
export class RuleBook {
  readonly #o: RuleBookOptions
  readonly #rules = new Map<string, Linked>()
  readonly #underway: Underway
  readonly #topic = new Candidate()
  /** Where messages go when another node keeps the queues. */
  #elsewhere: ((rule: Rule) => Destination) | null = null
  #keeper: TopicTree<Destination> | null = null
  /** Changes are made one after the other. */
  #last: Promise<unknown> = Promise.resolve()

  /** @throws SluiceError config_invalid */
  constructor(options: RuleBookOptions) {
    this.#o = options
    this.#underway = new Underway(options.clock)
    for (const rule of compileRules(options.configured, options).rules) this.#put(rule, 'config')
  }

  /** Reads what the store knows. The store must be open; the queues that `queueNames` names come next, then `link`. */
  restore(prefix = META_PREFIX): void {
    for (const [key, value] of this.#o.store.meta(prefix)) {
      if (prefix !== META_PREFIX && key !== prefix) continue
      const name = key.slice(META_PREFIX.length)
      const { rule } = value as StoredRule
      this.#rules.delete(name)
      if (rule === null) continue
      try {
        this.#put(compileRule(rule, this.#o, `rule ${name}`), 'api')
      } catch (error) {
        this.#o.report(`the stored rule ${name}`, error)
      }
    }
  }

  /** Puts the rules into the topic tree: from now on they take messages. */
  link(): void {
    for (const linked of this.#rules.values()) this.#link(linked)
  }

  /**
   * From now on all that rules take goes to this place; null: into the queues.
   * @param keeper tree of what leaves that place for the queues; null: another node sees to it
   */
  linkTo(elsewhere: ((rule: Rule) => Destination) | null, keeper: TopicTree<Destination> | null): void {
    for (const name of this.#rules.keys()) this.#unlink(name)
    this.#elsewhere = elsewhere
    this.#keeper = keeper
    this.link()
  }

  /** Another node applied or deleted the rule: does as the store says now. */
  changed(name: string): void {
    this.#unlink(name)
    this.#rules.delete(name)
    const configured = this.#o.configured.find((config) => nameOf(config) === name)
    if (configured !== undefined) this.#put(compileRule(configured, this.#o, `rule ${name}`), 'config')
    this.restore(META_PREFIX + name)
    const linked = this.#rules.get(name)
    if (linked !== undefined) this.#link(linked)
  }

  /** Whether a record of the store with this key is a rule's; its name, or null. */
  static ruleOfKey(key: string): string | null {
    return key.startsWith(META_PREFIX) ? key.slice(META_PREFIX.length) : null
  }

  /** Every queue that a rule leads to, once. */
  get queueNames(): string[] {
    return [...new Set([...this.#rules.values()].flatMap(({ rule }) => rule.queueNames))]
  }

  get size(): number {
    return this.#rules.size
  }

  /** What the rules that look at messages counted. */
  samples(): { name: string; counters: RuleCounters }[] {
    const looking = [...this.#rules.values()].filter(({ rule }) => !rule.plain)
    return looking.map(({ rule }) => ({ name: rule.name, counters: rule.counters }))
  }

  /** In the order in which they came. */
  *[Symbol.iterator](): IterableIterator<{ readonly rule: Rule; readonly source: RuleSource }> {
    yield* this.#rules.values()
  }

  /** @throws SluiceError rule_unknown */
  get(name: string): { readonly rule: Rule; readonly source: RuleSource } {
    const linked = this.#rules.get(name)
    if (linked === undefined) throw new SluiceError('rule_unknown', `there is no rule named ${JSON.stringify(name)}`)
    return linked
  }

  /**
   * Puts a rule into force, in place of the one of this name if there is one. Resolves when it is durable and takes
   * messages.
   * @throws SluiceError rule_invalid; store_unavailable, store_full: the rules are as they were
   */
  apply(name: string, input: unknown): Promise<Rule> {
    return this.#oneByOne(async () => {
      const named = typeof input === 'object' && input !== null ? { ...input, name } : input
      const given = (input as { name?: unknown } | null)?.name
      if (given !== undefined && given !== name)
        throw new SluiceError('rule_invalid', `name: is ${JSON.stringify(given)} and would be applied as ${name}`)
      const rule = ruleOf(named, this.#o, '')
      if (!this.#rules.has(name) && this.#rules.size >= RULES_MAX)
        throw new SluiceError('quota_exceeded', `there are ${RULES_MAX} rules; delete one first`)
      for (const queue of rule.queueNames) await this.#o.ensureQueue(queue)
      this.#o.store.putMeta(META_PREFIX + name, { rule: rule.config } satisfies StoredRule)
      await this.#o.commit()
      const linked = this.#put(rule, 'api')
      this.#link(linked)
      return rule
    })
  }

  /**
   * Takes a rule out of force; one of the config file stays out, until it is applied again. Its queues stay. Resolves when
   * that is durable.
   * @throws SluiceError rule_unknown; store_unavailable, store_full: the rules are as they were
   */
  delete(name: string): Promise<void> {
    return this.#oneByOne(async () => {
      this.get(name)
      const inConfig = this.#o.configured.some((config) => nameOf(config) === name)
      if (inConfig) this.#o.store.putMeta(META_PREFIX + name, { rule: null } satisfies StoredRule)
      else this.#o.store.deleteMeta(META_PREFIX + name)
      await this.#o.commit()
      this.#unlink(name)
      this.#rules.delete(name)
    })
  }

  #put(rule: Rule, source: RuleSource): Linked {
    const linked: Linked = { rule, source, target: null, kept: null }
    this.#unlink(rule.name)
    this.#rules.set(rule.name, linked)
    return linked
  }

  #link(linked: Linked): void {
    const { rule } = linked
    const { tree, intakeOf } = this.#o
    const { topicFilter } = rule.filter
    if (this.#elsewhere !== null) {
      linked.target = this.#elsewhere(rule)
      tree.add(topicFilter, linked.target)
      if (this.#keeper === null) return
    }
    const work = rule.plain ? null : workOf(rule, this.#underway, intakeOf)
    const takesTopic = rule.hasTopicConditions ? (topic: string) => this.#takesTopic(rule, topic) : null
    const target = new BridgeTarget(intakeOf(rule.queue), work, takesTopic)
    if (this.#elsewhere === null) {
      linked.target = target
      tree.add(topicFilter, target)
    } else {
      linked.kept = target
      this.#keeper!.add(topicFilter, target)
    }
  }

  #unlink(name: string): void {
    const known = this.#rules.get(name)
    if (known === undefined || known.target === null) return
    const { topicFilter } = known.rule.filter
    this.#o.tree.remove(topicFilter, known.target)
    known.target = null
    if (known.kept !== null) this.#keeper?.remove(topicFilter, known.kept)
    known.kept = null
  }

  #takesTopic(rule: Rule, topic: string): boolean {
    this.#topic.describe({ topic, payload: NOTHING, clientId: '', qos: 0, retain: false, time: 0 })
    return rule.takesTopic(this.#topic)
  }

  #oneByOne<T>(change: () => Promise<T>): Promise<T> {
    const result = this.#last.then(change, change)
    this.#last = result.catch(() => {})
    return result
  }
}

const NOTHING = Buffer.alloc(0)

function nameOf({ name, topicFilter, queue }: RuleConfig): string {
  return name ?? `${topicFilter} > ${queue}`
}
