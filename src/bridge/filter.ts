/**
 * Topic Filters of bridge rules: those of MQTT, in which a level may have a name. `site/{site}/device/{device}/+` is
 * `site/+/device/+/+`; `logs/{rest...}` is `logs/#` with a name for all levels that follow.
 */
import { isPlainFilter } from '../wire/topic.ts'

export interface NamedFilter {
  /** As MQTT writes it. */
  readonly topicFilter: string
  /** Index of the level, by name. */
  readonly levels: ReadonlyMap<string, number>
  /** The name of the levels under `#` and the index of the first of them, or null. */
  readonly rest: { readonly name: string; readonly from: number } | null
}

const NAMED = /^\{([A-Za-z_][A-Za-z0-9_-]*)(\.\.\.)?\}$/

/** @throws Error in words, for whoever knows the place */
export function parseNamedFilter(text: string): NamedFilter {
  if (text.startsWith('$share/') || text.startsWith('$queue/'))
    throw new Error(`${JSON.stringify(text)} is a shared subscription; a queue is shared by its workers`)
  const levels = new Map<string, number>()
  let rest: NamedFilter['rest'] = null
  const parts = text.split('/')
  const plain = parts.map((part, index) => {
    const named = NAMED.exec(part)
    if (named === null) {
      if (/[{}]/.test(part))
        throw new Error(`${JSON.stringify(part)} is neither text nor a named level such as {device} or {rest...}`)
      return part
    }
    const name = named[1]!
    if (levels.has(name) || rest?.name === name) throw new Error(`two levels are named {${name}}`)
    if (named[2] === undefined) {
      levels.set(name, index)
      return '+'
    }
    if (index !== parts.length - 1) throw new Error(`{${name}...} stands for all levels that follow and must be last`)
    rest = { name, from: index }
    return '#'
  })
  const topicFilter = plain.join('/')
  if (!isPlainFilter(topicFilter))
    throw new Error(`${JSON.stringify(text)} is not a valid Topic Filter [v5 MQTT-4.7.1-1, -2]`)
  return { topicFilter, levels, rest }
}

/** How a rule names a level: by its name in the filter, or by its place (`0` is the first). */
export type LevelReader = (levels: readonly string[]) => string | undefined

/** Null when the filter has no such level. */
export function levelReader(filter: NamedFilter, name: string): LevelReader | null {
  const index = filter.levels.get(name)
  if (index !== undefined) return (levels) => levels[index]
  if (filter.rest?.name === name) {
    const { from } = filter.rest
    return (levels) => (levels.length > from ? levels.slice(from).join('/') : undefined)
  }
  if (!/^\d{1,4}$/.test(name)) return null
  const place = Number(name)
  return (levels) => levels[place]
}

/** The names a rule may use for levels, for messages about those that are none. */
export function levelNames(filter: NamedFilter): string[] {
  return filter.rest === null ? [...filter.levels.keys()] : [...filter.levels.keys(), filter.rest.name]
}
