import { SluiceError } from '../errors.ts'
import { groupQueue, parentName } from './groups.ts'
import type { QueueRecords } from './records.ts'
import { defaultQueueSettings, type QueueSettings } from './settings.ts'

const DEAD = '.dead'

/** What holds for each queue: given while it ran, or by the config file, or by the queue whose group it is, or by default. */
export class SettingsBook {
  readonly #configured: ReadonlyMap<string, QueueSettings>
  readonly #records: QueueRecords
  /** Names under which dead letters arrive: their messages stay, however often they fail, unless settings say otherwise. */
  readonly #deadNames = new Set<string>()

  /** @throws SluiceError config_invalid: a queue is its own dead-letter queue */
  constructor(configured: Readonly<Record<string, QueueSettings>>, records: QueueRecords) {
    this.#configured = new Map(Object.entries(configured))
    this.#records = records
    for (const [name, settings] of this.#configured) this.check(name, settings)
  }

  /** Queues that have settings of their own. */
  get names(): string[] {
    const recorded = [...this.#records.all].filter(([, { settings }]) => settings !== undefined)
    return [...this.#configured.keys(), ...recorded.map(([name]) => name)]
  }

  of(name: string): QueueSettings {
    const own = this.#own(name)
    if (own !== undefined) return own
    const parent = this.parentOf(name)
    return parent === null ? defaultQueueSettings : { ...this.of(parent), groups: [] }
  }

  /** As the queue uses them: dead letters wait for ever, unless the settings of their queue say otherwise. */
  effective(name: string): QueueSettings {
    const settings = this.of(name)
    const takesDead = this.#deadNames.has(name) || name.endsWith(DEAD)
    return takesDead && settings === defaultQueueSettings
      ? { ...settings, maxAttempts: Number.POSITIVE_INFINITY }
      : settings
  }

  deadLetterQueueOf(name: string): string {
    return this.of(name).deadLetterQueue ?? name + DEAD
  }

  /** Names of the consumer groups, configured or made later. */
  groupsOf(name: string): string[] {
    return [...new Set([...(this.#own(name)?.groups ?? []), ...(this.#records.all.get(name)?.groups ?? [])])]
  }

  /** The queue of which this one is a consumer group; null: it stands for itself. */
  parentOf(name: string): string | null {
    return parentName(name, (queue) => this.groupsOf(queue))
  }

  /** The queue and its consumer groups. */
  membersOf(name: string): string[] {
    return [name, ...this.groupsOf(name).map((group) => groupQueue(name, group))]
  }

  /** Queues that have to be there when this one is: itself, its groups, and what takes its overflow. */
  needs(name: string): string[] {
    const { overflowQueue } = this.of(name).limits
    return overflowQueue === undefined ? this.membersOf(name) : [...this.membersOf(name), overflowQueue]
  }

  /**
   * Takes notice of settings that are to count.
   * @throws SluiceError config_invalid
   */
  check(name: string, { deadLetterQueue }: QueueSettings): void {
    const text = `queues.${name}.deadLetterQueue: a queue cannot take its own dead letters`
    if (deadLetterQueue === name) throw new SluiceError('config_invalid', text)
    if (deadLetterQueue !== undefined) this.takesDead(deadLetterQueue)
  }

  /** Dead letters arrive under this name. */
  takesDead(name: string): void {
    this.#deadNames.add(name)
  }

  #own(name: string): QueueSettings | undefined {
    return this.#records.all.get(name)?.settings ?? this.#configured.get(name)
  }
}
