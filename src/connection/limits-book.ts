import type { ConnectionLimits, LimitOverride } from '../config/connection-limits.ts'
import type { Limits } from '../config/schema.ts'
import type { Peer } from '../transport.ts'

interface Rule {
  readonly listener: Peer['protocol'] | undefined
  /** Null: all users, and clients without a name. */
  readonly user: RegExp | null
  readonly limits: Partial<ConnectionLimits>
}

/**
 * Which limits are in force for a client: those of `limits`, and over them every entry of `limitOverrides` that fits, in
 * their order. Clients that the same entries fit share one object.
 */
export class LimitsBook {
  readonly #limits: Limits
  readonly #rules: readonly Rule[]
  /** By which rules fit: a character each. */
  readonly #made = new Map<string, Limits>()

  constructor(limits: Limits, overrides: readonly LimitOverride[]) {
    this.#limits = limits
    this.#rules = overrides.map((override) => ({
      listener: override.listener,
      user: override.user === undefined ? null : patternOf(override.user),
      limits: override.limits,
    }))
  }

  /**
   * @param protocol null for a session that no connection serves: entries for a listener do not fit it
   * @param user the user name, where it counts; undefined: none
   */
  of(protocol: Peer['protocol'] | null, user: string | undefined): Limits {
    const rules = this.#rules
    if (rules.length === 0) return this.#limits
    const fits = (rule: Rule): boolean =>
      (rule.listener === undefined || rule.listener === protocol) &&
      (rule.user === null || (user !== undefined && rule.user.test(user)))
    const key = rules.map((rule) => (fits(rule) ? '1' : '0')).join('')
    let limits = this.#made.get(key)
    if (limits === undefined) {
      limits = Object.assign({}, this.#limits, ...rules.filter(fits).map((rule) => rule.limits)) as Limits
      this.#made.set(key, limits)
    }
    return limits
  }

  /** True when clients may have different limits. */
  get varies(): boolean {
    return this.#rules.length > 0
  }

  /** The largest value that any client may be given. */
  highest(name: 'packetBytesMax' | 'topicLevelsMax' | 'topicBytesMax'): number {
    return Math.max(this.#limits[name], ...this.#rules.map(({ limits }) => limits[name] ?? 0))
  }

  /** True when any client may be given a value of the limit for which `test` holds. */
  some<K extends keyof ConnectionLimits>(name: K, test: (value: ConnectionLimits[K]) => boolean): boolean {
    if (test(this.#limits[name])) return true
    return this.#rules.some(({ limits }) => {
      const value = limits[name]
      return value !== undefined && test(value as ConnectionLimits[K])
    })
  }
}

/** `*` stands for any characters, everything else for itself. */
function patternOf(user: string): RegExp {
  const literal = user.split('*').map((part) => part.replace(/[.+?^${}()|[\]\\]/g, '\\$&'))
  return new RegExp(`^${literal.join('.*')}$`, 'su')
}
