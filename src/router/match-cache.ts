import type { Match } from './match.ts'

/** Topics whose matches are remembered. */
const MATCHES_MAX = 16_384
/** What they may weigh in all: a receiver weighs 1, a topic 1 for each 64 bytes of its text and its key. */
const WEIGHT_MAX = 262_144
const BYTES_OF_WEIGHT = 64
/** Matches looked at for each one that is put: more than one, so that those that no longer hold run out. */
const LOOKED_AT = 2

/**
 * Matches by topic, the oldest going first. A match that no longer holds is forgotten sooner or later even if its topic is
 * never used again, because it keeps sessions that may have ended.
 */
export class MatchCache {
  readonly #matches = new Map<string, Match>()
  #weight = 0
  #rounds: IterableIterator<[string, Match]> | null = null

  get size(): number {
    return this.#matches.size
  }

  get(key: string): Match | undefined {
    return this.#matches.get(key)
  }

  /** @param holds whether a match is still right */
  put(key: string, match: Match, holds: (match: Match) => boolean): void {
    const known = this.#matches.get(key)
    if (known !== undefined) this.#weight -= weightOf(key, known)
    this.#matches.set(key, match)
    this.#weight += weightOf(key, match)
    for (let i = 0; i < LOOKED_AT; i++) this.#lookAtNext(holds)
    // One stays, however many sessions it has: it is the one in use.
    while ((this.#weight > WEIGHT_MAX || this.#matches.size > MATCHES_MAX) && this.#matches.size > 1) {
      const [oldest, old] = this.#matches.entries().next().value!
      if (old === match) {
        // It was known before, and stands first: to the end with it.
        this.#matches.delete(oldest)
        this.#matches.set(oldest, old)
      } else this.#forget(oldest, old)
    }
  }

  #lookAtNext(holds: (match: Match) => boolean): void {
    this.#rounds ??= this.#matches.entries()
    const next = this.#rounds.next()
    if (next.done === true) this.#rounds = null
    else if (!holds(next.value[1])) this.#forget(next.value[0], next.value[1])
  }

  #forget(key: string, match: Match): void {
    this.#matches.delete(key)
    this.#weight -= weightOf(key, match)
  }
}

function weightOf(key: string, match: Match): number {
  return 1 + match.receivers.length + match.groups.length + Math.floor((2 * key.length) / BYTES_OF_WEIGHT)
}
