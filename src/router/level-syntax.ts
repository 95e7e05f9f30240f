/** How a text is split, and which levels are wildcards, as UTF-16 codes; -1 where there is none. */
export interface LevelSyntax {
  readonly separator: number
  readonly one: number
  readonly some: number
  /** Whether the one-level wildcard takes an empty level, as MQTT demands. */
  readonly matchEmptyLevels: boolean
}

/** `/`, `+` and `#`, empty levels count [v5 MQTT-4.7.1-1, -2; v3 MQTT-4.7.1-2, -3]. */
export const mqttSyntax: LevelSyntax = { separator: 0x2f, one: 0x2b, some: 0x23, matchEmptyLevels: true }

/**
 * Whether the rest of `filter` matches the rest of `topic`. `f` and `t` point just behind two levels that matched:
 * at a separator or at the end; -1 and -1 compare from the start. Linear, allocates nothing.
 */
export function restMatches(syntax: LevelSyntax, filter: string, f: number, topic: string, t: number): boolean {
  const { separator, one, some } = syntax
  const filterEnd = filter.length
  const topicEnd = topic.length
  for (;;) {
    if (f >= filterEnd) return t >= topicEnd
    f++
    // `a/#` includes `a` itself [v5 MQTT-4.7.1-1 and the note below it].
    if (f === filterEnd - 1 && filter.charCodeAt(f) === some) return true
    if (t >= topicEnd) return false
    t++
    if (filter.charCodeAt(f) === one && (f + 1 === filterEnd || filter.charCodeAt(f + 1) === separator)) {
      const start = t
      while (t < topicEnd && topic.charCodeAt(t) !== separator) t++
      if (t === start && !syntax.matchEmptyLevels) return false
      f++
    } else {
      while (f < filterEnd) {
        const code = filter.charCodeAt(f)
        if (code === separator) break
        if (t >= topicEnd || topic.charCodeAt(t) !== code) return false
        f++
        t++
      }
      if (t < topicEnd && topic.charCodeAt(t) !== separator) return false
    }
  }
}
